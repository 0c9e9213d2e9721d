"""Training: one visible loop, and the plain objects that make it last and scale."""

from .average import Average
from .batches import Batches, endless
from .devices import choose_device
from .engine import Engine
from .failure import NonFiniteCost
from .history import History, Record, Validated
from .loop import train, training
from .penalty import Penalty
from .schedule import (
    ConstantSchedule,
    CosineSchedule,
    Schedule,
    StepSchedule,
)
from .scores import measure
from .stopping import Stopping
from .weighting import GammaSchedule


__all__ = [
    "Average",
    "Batches",
    "choose_device",
    "ConstantSchedule",
    "CosineSchedule",
    "endless",
    "Engine",
    "GammaSchedule",
    "History",
    "measure",
    "NonFiniteCost",
    "Penalty",
    "Record",
    "Schedule",
    "StepSchedule",
    "Stopping",
    "train",
    "training",
    "Validated",
]
