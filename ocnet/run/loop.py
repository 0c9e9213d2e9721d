"""The loop of a run: training with schedule, average, validation, metrics and checkpoints."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

from torch.utils.checkpoint import CheckpointError
from tqdm import tqdm

from .._arguments import check_kind
from ..catalogue import trainable
from ..learning import choose_device, NonFiniteCost, training
from ..learning.processes import agree, is_lost_process, processes, rank, wait, world_size
from ..origin import provenance
from ..problem import Problem
from ..supervised import samples
from .checkpoint import load_checkpoint
from .config import Config, ConfigError
from .folder import RunFolder
from .job import Job
from .lock import owned
from .log import Log
from .resumption import check_done, take_up, warn
from .signals import Interrupted, SIGNALS, signals


def execute(
    folder: RunFolder,
    config: Config | None = None,
    *,
    problem: Problem | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    accept_changes: bool = False,
    progress: bool = True,
    before: Callable[[Job], object] | None = None,
    note: Callable[[str], object] = warn,
) -> dict[str, Any] | None:
    """Starts a run, or goes on with one, in as many processes as torchrun started.

    Arguments:
        folder: An empty or new folder for a new run, or the folder of a run to go on with.
        config: What to do in a new run; None to go on with a run.
        problem: A problem as an object, in place of one that the configuration names. The run
            starts from its parameters as they are, and trains it in place. To go on with such a
            run, hand over the same problem: made in the same way, its values come from the folder.
        epochs, iterations: The new length of the run, counted from its beginning; a finished run
            goes on. From the current step on, schedules are those of a run that had the new length
            from the start, and the patience starts again.
        accept_changes: Whether to go on where problem, data or configuration have changed.
        progress: Whether to show a progress bar on a terminal.
        before: Called in every process with the job of a new run, before it starts.
        note: Called with what the user should know; a Python warning if not given.

    Returns:
        The final measures, in the first process; None in the others.

    Raises: What `run_job` raises; ConfigError if the configuration is inconsistent or does not
        fit the problem; FileExistsError or FileNotFoundError if the folder does not fit;
        FolderInUse if another process trains in it.
    """
    check_kind("folder", folder, RunFolder)
    check_kind("config", config, Config, type(None))
    is_new = config is not None
    config = folder.config() if config is None else config
    if epochs is not None or iterations is not None:
        config = config.changed(epochs=epochs, iterations=iterations)
    device = choose_device(config.execution.device)
    with processes(device):
        # What does not fit is reported before there is a folder.
        job = prepared(config, problem)
        with told_of_shards(job):
            done = None if is_new else folder.result(job.iterations)
            if done is not None:
                check_done(job, folder, note if rank() == 0 else lambda text: None)
                return done if rank() == 0 else None
            if rank() == 0 and is_new:
                folder.claim()
            with owned(folder.path, note) if rank() == 0 else nullcontext():
                if rank() == 0:
                    if is_new:
                        folder.create(config, provenance(device))
                    elif not folder.saved():
                        folder.start_over(config, provenance(device))
                if is_new and before is not None:
                    before(job)
                wait()
                result = run_job(
                    job, folder, accept_changes=accept_changes, progress=progress, note=note
                )
        return result if rank() == 0 else None


def prepared(config: Config, problem: Problem | None = None) -> Job:
    """The job of a configuration, and of a problem that is handed over.

    Raises:
        ConfigError: If the configuration does not fit the problem.
    """
    check_kind("problem", problem, Problem, type(None))
    if problem is not None and config.problem:
        raise ConfigError(
            f"The configuration names the problem {config.problem!r}, but another one was handed "
            'over: make it by Config.of("", ...).'
        )
    try:
        return Job(config, None if problem is None else trainable(type(problem).__name__, problem))
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error)) from error


def run_job(
    job: Job,
    folder: RunFolder,
    *,
    accept_changes: bool = False,
    progress: bool = True,
    note: Callable[[str], object] = warn,
) -> dict[str, Any]:
    """Trains from the folder's last checkpoint to the end, and returns the final measures.

    Arguments:
        job: The job, before its first step.
        folder: The folder of its run.
        accept_changes, progress, note: See `execute`.

    Raises:
        Interrupted: After any of the processes has received SIGINT, SIGTERM or SIGHUP.
        NonFiniteCost: If the cost or its gradient is not finite; what reproduces it is in
            `failure.safetensors`.
        Changed: If problem, data or configuration are not those of the last checkpoint.
        CheckpointError: If no checkpoint can be used.
        OSError: If the folder cannot be written; the last good checkpoint is still there.
        ConnectionError: If another process was lost.
    """
    check_kind("job", job, Job)
    check_kind("folder", folder, RunFolder)
    done = folder.result(job.iterations)
    if done is not None:
        return done
    note = note if rank() == 0 else lambda text: None
    state = folder.latest(note)
    if state is not None:
        take_up(job, folder, state, accept_changes, note)
    log = Log(job, folder, state)
    received: list[int] = []

    def between_steps(number: int) -> None:
        """Several processes end only when all agree to; torchrun gives them 30 s for that."""
        if received and world_size() == 1:
            raise KeyboardInterrupt
        received.append(number)

    def at_once(number: int) -> None:
        """After the last step all is saved; several processes go on to end together."""
        if world_size() == 1:
            raise Interrupted(job.step, number)

    try:
        with explained(job, log), signals(between_steps):
            if state is not None and state["origin"] != job.origin:
                # From here on, the run is computed from what is there now.
                log.save()
                log.adopt()
            iterate(job, log, received, progress)
            with signals(at_once):
                for number in received:
                    at_once(number)
                return conclude(job, folder)
    finally:
        log.close()


@contextmanager
def explained(job: Job, log: "Log") -> Iterator[None]:
    """Adds to an error what the user has to know about the run."""
    try:
        yield
    except NonFiniteCost as error:
        error.add_note(f"What reproduces it is in {log.failure(error)}.")
        raise
    except OSError as error:
        if error.strerror is None:  # It already says everything.
            raise
        remains = log.folder.remains(error)
        raise OSError(f"{log.folder.path} could not be written: {remains}") from error
    except RuntimeError as error:
        if is_lost_process(error):
            raise ConnectionError(
                f"Another process was lost at step {job.step}; `ocnet resume` goes on from the "
                "last checkpoint, with any number of processes."
            ) from error
        raise


@contextmanager
def told_of_shards(job: Job) -> Iterator[None]:
    """Explains PyTorch's errors about shards that meet whole tensors, or were whole before."""
    try:
        yield
    except RuntimeError as error:
        mixed = isinstance(error, CheckpointError) or "torch.Tensor and DTensor" in str(error)
        if not (mixed and job.is_sharded):
            raise
        raise ValueError(
            "With sharded=True a cost that reads the parameters of layers finds shards: sum over "
            "them, then over the processes by `full_tensor()`; with gradient=Checkpoint() no cost "
            f"can read them. PyTorch says: {str(error).splitlines()[0]}"
        ) from error


def iterate(job: Job, log: "Log", received: list[int], progress: bool) -> None:
    """Trains until the job is over, or a signal was received."""
    steps = training(
        job.problem,
        job.control,
        job.solver,
        job.optimizer,
        job.batches,
        engine=job.engine,
        clip=job.config.descent.clip,
        start=job.step,
    )
    shows = None if progress and rank() == 0 else True
    if job.step == 0:
        log.validate()
    bar = tqdm(total=job.iterations, initial=job.step, disable=shows, mininterval=0.5)
    with closing(steps), bar:
        while not job.is_over:
            with job.scheduled():
                record = next(steps)
            if job.average is not None:
                job.average.update()
            log.record(record)
            if job.step % job.evaluate_every == 0 or job.step == job.iterations:
                log.validate()
            bar.set_postfix_str(f"cost {record.cost:.4g}", refresh=False)
            bar.update()
            *asked, due = agree(*(number in received for number in SIGNALS), log.is_due())
            if any(asked) or due or job.is_over:
                log.save()
            if any(asked):
                raise Interrupted(job.step, SIGNALS[asked.index(True)])


def conclude(job: Job, folder: RunFolder) -> dict[str, Any]:
    """The measures of the best model on validation and test data."""
    result: dict[str, Any] = {
        "steps": job.step,
        "best_step": job.step,
        "iterations": job.iterations,
    }
    average = job.average
    if folder.best.exists():
        best = load_checkpoint(folder.best)
        job.load_model(best)
        result["best_step"] = best["step"]
        average = None
    splits = {"validation": job.validation}
    if job.batches.data is not None:
        splits["test"] = samples(job.problem, "test")
    with nullcontext() if average is None else average.applied():
        for split, sample in splits.items():
            if sample is not None:
                result[split] = job.validate(sample)
    if rank() == 0:
        folder.write_json("result.json", result)
    return result
