"""Second-order, constrained, batched optimal control with an optimality certificate."""

from ..certificate import Certificate
from .answer.solution import Solution
from .compiled import UnsafeCache, Unsupported
from .first_order.first_order import Adam, LBFGS
from .first_order.successive_approximation import SuccessiveApproximation
from .interior_point.interior_point import InteriorPoint
from .method import Method
from .solving import solve


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
