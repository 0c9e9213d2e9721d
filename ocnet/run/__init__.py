"""A run is a folder: what was asked for, what came out, and what it takes to go on."""

from .changes import Changed as Changed
from .checkpoint import (
    CheckpointError as CheckpointError,
    load_checkpoint as load_checkpoint,
    save_checkpoint as save_checkpoint,
)
from .config import Config as Config, ConfigError as ConfigError
from .folder import RunFolder as RunFolder
from .job import Job as Job
from .lock import FolderInUse as FolderInUse
from .loop import execute as execute, run as run
from .resumption import RunWarning as RunWarning
from .signals import Interrupted as Interrupted
