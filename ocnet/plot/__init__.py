"""Pictures; the only package that imports matplotlib.

Each function takes what an analysis found and returns a figure; the rest is the look they share.
"""

from .comparison import controls, differences, histories, trajectories, work_precision
from .depth import depth_changes, depth_outputs, turnpike
from .history import training, validation
from .optimum import solution
from .path import states_and_controls
from .pruning import bounds, pruning_depths, removal_table, removals
from .scaling import BACKWARD, diagnosis, FORWARD
from .style import axes, COLORS, legend_below, look
from .trained import training_effect


__all__ = [
    "axes",
    "BACKWARD",
    "bounds",
    "COLORS",
    "controls",
    "depth_changes",
    "depth_outputs",
    "diagnosis",
    "differences",
    "FORWARD",
    "histories",
    "legend_below",
    "look",
    "pruning_depths",
    "removal_table",
    "removals",
    "solution",
    "training",
    "training_effect",
    "trajectories",
    "states_and_controls",
    "turnpike",
    "validation",
    "work_precision",
]
