"""Training: one visible loop, and the plain objects that make it last and scale."""

from .average import Average as Average
from .batches import Batches as Batches, endless as endless
from .engine import choose_device as choose_device, Engine as Engine
from .failure import NonFiniteCost as NonFiniteCost
from .history import History as History, Record as Record
from .loop import train as train, training as training
from .measure import measure as measure
from .penalty import Penalty as Penalty
from .schedule import (
    ConstantSchedule as ConstantSchedule,
    CosineSchedule as CosineSchedule,
    Schedule as Schedule,
    StepSchedule as StepSchedule,
)
from .stopping import Stopping as Stopping
from .weighting import GammaSchedule as GammaSchedule
