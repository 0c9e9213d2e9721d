"""A run is a folder: what was asked for, what came out, and what it takes to go on."""

from .checkpoint import (
    CheckpointError as CheckpointError,
    load_checkpoint as load_checkpoint,
    save_checkpoint as save_checkpoint,
)
from .config import Config as Config
from .folder import RunFolder as RunFolder
from .job import Job as Job
from .loop import execute as execute, Interrupted as Interrupted, run as run
