"""Second-order, constrained, batched optimal control with an optimality certificate."""

from ..certificate import Certificate
from .compiled import UnsafeCache, Unsupported
from .first_order import Adam, LBFGS
from .interior_point import InteriorPoint
from .method import Method
from .solution import Solution
from .solving import solve
from .successive_approximation import SuccessiveApproximation


__all__ = [
    "Adam",
    "Certificate",
    "InteriorPoint",
    "LBFGS",
    "Method",
    "Solution",
    "solve",
    "SuccessiveApproximation",
    "UnsafeCache",
    "Unsupported",
]
