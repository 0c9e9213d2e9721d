"""Analyses of problems, controls and networks: numbers and tables, no pictures."""

from .bounds import average_bound, Bound, Bounds, loss_bounds, objective_bound
from .comparison import Comparison, Curve, Difference, Row, WorkPoint
from .depth import depth_profile, DepthProfile, Turnpike
from .early_exit import calibrate, EarlyExit, ExitPrediction
from .growth import grow, monotone
from .measurement import compare
from .memory import expected_memory, LiveMemory, Memory
from .pruning import (
    at_random,
    last,
    least_cost,
    prune,
    Pruning,
    Removal,
    remove_blocks,
    Size,
    smallest_depth,
)
from .runs import read_run, RunRecord


__all__ = [
    "at_random",
    "average_bound",
    "Bound",
    "Bounds",
    "calibrate",
    "compare",
    "Comparison",
    "Curve",
    "depth_profile",
    "DepthProfile",
    "Difference",
    "EarlyExit",
    "ExitPrediction",
    "expected_memory",
    "grow",
    "last",
    "least_cost",
    "LiveMemory",
    "loss_bounds",
    "Memory",
    "monotone",
    "objective_bound",
    "WorkPoint",
    "prune",
    "Pruning",
    "read_run",
    "Removal",
    "remove_blocks",
    "Row",
    "RunRecord",
    "Size",
    "smallest_depth",
    "Turnpike",
]
