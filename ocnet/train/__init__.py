"""Training: one visible loop, and the plain objects that make it last and scale."""

from .average import Average as Average
from .batches import Batches as Batches, endless as endless
from .engine import choose_device as choose_device, Engine as Engine
from .failure import NonFiniteCost as NonFiniteCost
from .history import History as History, Record as Record
from .loop import train as train, training as training
from .measure import measure as measure
from .schedule import Constant as Constant, Cosine as Cosine, Schedule as Schedule, Steps as Steps
from .stopping import Stopping as Stopping
from .weighting import GammaSchedule as GammaSchedule
