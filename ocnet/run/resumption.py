"""Going on with a run from its last checkpoint, if problem, data and configuration still match."""

import warnings
from collections.abc import Callable
from typing import Any

from .changes import Changed, differing, rounding
from .checkpoint import CheckpointError
from .folder import RunFolder
from .job import Job


class RunWarning(UserWarning):
    """What the user should know about a run that goes on in spite of changes."""


def warn(text: str) -> None:
    """Gives a note as a Python warning."""
    warnings.warn(text, RunWarning, stacklevel=3)


def take_up(
    job: Job,
    folder: RunFolder,
    state: dict[str, Any],
    accept_changes: bool,
    note: Callable[[str], object],
) -> None:
    """Goes on from a checkpoint, if problem, data and configuration are still the same.

    Arguments:
        job, folder: Those of `run_job`.
        state: What the checkpoint holds.
        accept_changes: Whether to go on in spite of changes.
        note: Called with what has changed.

    Raises:
        Changed: If something has changed that would lead to another result.
        CheckpointError: If the checkpoint is not one of a run like this.
        ValueError: If the run is to be shorter than it is already.
    """
    try:
        then, saved, _ = (state[name] for name in ("origin", "job", "tables"))
    except (LookupError, TypeError):
        raise CheckpointError(
            f"The last checkpoint of {folder.path} does not hold the state of a run."
        ) from None
    now = job.origin
    # A new length that was asked for is not yet in the file.
    asked = folder.config().to_json() != job.config.to_json()
    found = differing(then, now, ("epochs", "iterations") if asked else ())
    if found and not accept_changes:
        raise Changed(
            f"{folder.path} would come to another result than it was on the way to: "
            f"{'; '.join(found)}. Take that back, or go on all the same by `ocnet resume "
            "--accept-changes` (from Python accept_changes=True)."
        )
    if found:
        note(f"{folder.path} goes on with changes: {'; '.join(found)}.")
    small = rounding(then, now)
    if small:
        note(f"{folder.path} will not be the same bit by bit: {'; '.join(small)}.")
    job.load_state_dict(saved)
    if job.step > job.iterations:
        length = job.config.length
        raise ValueError(
            f"{folder.path} has done {job.step} iterations, more than the {job.iterations} that "
            f"are asked for by epochs={length.epochs}, iterations={length.iterations}."
        )
    if asked:
        job.stopping.failures = 0


def check_done(job: Job, folder: RunFolder, note: Callable[[str], object]) -> None:
    """Tells what has changed since a run was finished; its result stays as it is.

    Arguments:
        job: The job as it would be now.
        folder: The folder of the run.
        note: Called with the message.
    """
    try:
        state = folder.latest()
        found = [] if state is None else differing(state["origin"], job.origin)
    except (CheckpointError, LookupError, TypeError) as error:
        found = [f"its last checkpoint cannot be read ({error})"]
    if found:
        note(f"{folder.path} is done, and its result is of another state: {'; '.join(found)}.")
