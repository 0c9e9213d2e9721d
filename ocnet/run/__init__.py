"""A run is a folder: what was asked for, what came out, and what is needed to go on."""

from .changes import Changed
from .checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from .config import Config, ConfigError
from .folder import RunFolder
from .groups import Course, Descent, Discretisation, Execution, Keeping, Length, Validation
from .job import Job
from .lock import FolderInUse
from .loop import execute, run_job
from .resumption import RunWarning
from .signals import Interrupted


__all__ = [
    "Changed",
    "CheckpointError",
    "Config",
    "ConfigError",
    "Course",
    "Descent",
    "Discretisation",
    "execute",
    "Execution",
    "FolderInUse",
    "Interrupted",
    "Job",
    "Keeping",
    "Length",
    "load_checkpoint",
    "run_job",
    "RunFolder",
    "RunWarning",
    "save_checkpoint",
    "Validation",
]
