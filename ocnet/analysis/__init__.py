"""Analyses of problems, controls and networks: numbers and tables, no pictures."""

from .bounds import average_bound, Bound, Bounds, loss_bounds, objective_bound
from .comparison import Comparison, Curve, Difference, Row, WorkPoint
from .criteria import (
    at_random,
    last,
    least_angle,
    least_cost,
    least_distance,
    least_readout,
    tried,
)
from .depth import depth_profile, DepthProfile, Turnpike
from .early_exit import calibrate, EarlyExit, ExitPrediction
from .growth import grow, monotone
from .measurement import compare
from .memory import expected_memory, LiveMemory, Memory
from .pruning import prune, Pruning, Size, smallest_depth
from .removal import Removal, remove_blocks
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
    "least_angle",
    "least_cost",
    "least_distance",
    "least_readout",
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
    "tried",
    "Turnpike",
]
