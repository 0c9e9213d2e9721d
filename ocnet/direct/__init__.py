"""Second-order, constrained, batched optimal control with an optimality certificate."""

from ..certificate import Certificate
from .answer.saving import load_solution, save_solution
from .answer.solution import Solution
from .certificate import certify
from .compiled import UnsafeCache, Unsupported
from .continuation import continue_in, refine
from .first_order.first_order import Adam, LBFGS
from .first_order.successive_approximation import SuccessiveApproximation
from .interior_point.interior_point import InteriorPoint
from .method import Method
from .solving import solve


__all__ = [
    "Adam",
    "Certificate",
    "certify",
    "continue_in",
    "InteriorPoint",
    "LBFGS",
    "load_solution",
    "Method",
    "refine",
    "save_solution",
    "Solution",
    "solve",
    "SuccessiveApproximation",
    "UnsafeCache",
    "Unsupported",
]
