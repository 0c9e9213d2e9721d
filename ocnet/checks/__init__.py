"""Checks of the functions that a user writes; each check is one function.

`solve`, `compare`, `train` and `ocnet.testing` share them. A check returns findings; it can refute
what the library assumes, but not confirm it.
"""

from .bends import Bend, first_bend, first_infinite
from .derivatives import Mismatch, mismatches
from .differentiable import differentiating
from .finding import (
    Finding,
    naming,
    place,
    Point,
    ProblemError,
    refuse,
    written,
)
from .members import misspelt
from .mixing import (
    mixing_for_solve,
    mixing_in_training,
)
from .nonsmooth import Evaluation, kinks
from .start import moving_the_start, sampled


__all__ = [
    "Bend",
    "differentiating",
    "Evaluation",
    "Finding",
    "first_bend",
    "first_infinite",
    "kinks",
    "Mismatch",
    "mismatches",
    "misspelt",
    "mixing_for_solve",
    "mixing_in_training",
    "moving_the_start",
    "naming",
    "place",
    "Point",
    "ProblemError",
    "refuse",
    "sampled",
    "written",
]
