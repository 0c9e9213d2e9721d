"""Optimal control problems in Bolza form."""

from .checking import check_not_empty, check_shape, check_state
from .problem import Batch, Problem
from .projection import Projection
from .sample import Sample
from .solved import SolvedProblem


__all__ = [
    "Batch",
    "check_not_empty",
    "check_shape",
    "check_state",
    "Problem",
    "Projection",
    "Sample",
    "SolvedProblem",
]
