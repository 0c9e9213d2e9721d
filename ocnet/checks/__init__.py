"""What can be wrong with the functions that a user writes, each check one function.

`solve`, `compare`, `train` and `ocnet.testing` share them. A check returns findings; it may refute
what the library assumes, never confirm it.
"""

from .derivatives import Mismatch as Mismatch, mismatches as mismatches
from .finding import (
    Finding as Finding,
    naming as naming,
    place as place,
    Point as Point,
    ProblemError as ProblemError,
    refuse as refuse,
    written as written,
)
from .kinks import Evaluation as Evaluation, kinks as kinks
from .members import misspelt as misspelt
from .mixing import (
    mixing_for_solve as mixing_for_solve,
    mixing_in_training as mixing_in_training,
)
from .start import moving_the_start as moving_the_start, sampled as sampled
