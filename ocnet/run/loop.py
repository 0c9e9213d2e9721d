"""The loop of a run: training with schedule, average, validation, metrics and checkpoints."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch.utils.checkpoint import CheckpointError
from tqdm import tqdm

from ..provenance import provenance
from ..train import choose_device, NonFiniteCost, Record, training
from ..train.processes import agree, is_lost_process, processes, rank, wait, world_size
from .checkpoint import load_checkpoint, save_checkpoint
from .config import Config
from .folder import RunFolder, Table
from .job import Job


SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What asks a run to end."""


class Interrupted(Exception):
    """A run that a signal ended early, after its state was saved.

    Attributes:
        step: How many iterations were done.
        exit_code: What the shell expects of a process that this signal ended.
    """

    def __init__(self, step: int, number: int):
        name = signal.Signals(number).name
        super().__init__(f"{name} at step {step}; the run is saved, and `ocnet resume` goes on.")
        self.step = step
        self.exit_code = 128 + number


def execute(
    folder: RunFolder,
    config: Config | None = None,
    *,
    progress: bool = True,
    before: Callable[[Job], object] | None = None,
) -> dict[str, Any] | None:
    """Starts a run, or goes on with one, in as many processes as torchrun started.

    Arguments:
        folder: An empty or new folder for a new run, or the folder of a run to go on with.
        config: What to do in a new run; None goes on.
        progress: Whether to show a progress bar on a terminal.
        before: Called in every process with the job of a new run, before it starts.

    Returns:
        The final measures, in the first process; None in the others.

    Raises: As `run`; FileExistsError or FileNotFoundError if the folder does not fit.
    """
    is_new = config is not None
    config = folder.config() if config is None else config
    device = choose_device(config.device)
    with processes(device):
        # What does not fit is told before there is a folder.
        job = Job(config)
        with told_of_shards(job):
            if is_new:
                if rank() == 0:
                    folder.create(config, provenance(device))
                if before is not None:
                    before(job)
            wait()
            result = run(job, folder, progress=progress)
        return result if rank() == 0 else None


def run(job: Job, folder: RunFolder, *, progress: bool = True) -> dict[str, Any]:
    """Trains from the folder's last checkpoint to the end, and returns the final measures.

    Raises:
        Interrupted: After SIGINT or SIGTERM, to any of the processes.
        NonFiniteCost: With what reproduces it in `failure.safetensors`.
        CheckpointError: If the last checkpoint cannot be used.
        OSError: If the folder cannot be written; the last good checkpoint is still there.
        ConnectionError: If another process was lost.
    """
    done = folder.read_json("result.json")
    if done is not None:
        return done
    state = folder.latest()
    if state is not None:
        job.load_state_dict(state["job"])
    log = Log(job, folder, state)
    received: list[int] = []

    def between_steps(number: int) -> None:
        """Of several processes each waits for what all agree on; torchrun gives them 30 s."""
        if received and world_size() == 1:
            raise KeyboardInterrupt
        received.append(number)

    def at_once(number: int) -> None:
        """All is saved when the steps are done; several processes come to their end together."""
        if world_size() == 1:
            raise Interrupted(job.step, number)

    try:
        with explained(job, log), signals(between_steps):
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
        if error.strerror is None:  # It says already what there is to say.
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
    """Says what PyTorch's errors mean about shards among whole tensors, or whole ones before."""
    try:
        yield
    except RuntimeError as error:
        mixed = isinstance(error, CheckpointError) or "torch.Tensor and DTensor" in str(error)
        if not (mixed and job.is_sharded):
            raise
        raise ValueError(
            "With sharded=True a cost that reads the parameters of layers finds shards: sum over "
            'them, then over the processes by `full_tensor()`; with gradient="checkpoint" no cost '
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
        clip=job.config.clip,
        start=job.step,
    )
    shows = None if progress and rank() == 0 else True
    if job.step == 0:
        log.validate()
    with tqdm(total=job.iterations, initial=job.step, disable=shows, mininterval=0.5) as bar:
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
    result: dict[str, Any] = {"steps": job.step, "best_step": job.step}
    average = job.average
    if folder.best.exists():
        best = load_checkpoint(folder.best)
        job.load_model(best)
        result["best_step"] = best["step"]
        average = None
    samples = {"validation": job.validation}
    if job.batches.data is not None:
        samples["test"] = job.problem.data("test")
    with nullcontext() if average is None else average.applied():
        for split, sample in samples.items():
            if sample is not None:
                result[split] = job.validate(sample)
    if rank() == 0:
        folder.write_json("result.json", result)
    return result


class Log:
    """What a run leaves in its folder while it runs; only the first process writes.

    Arguments:
        job: The job.
        folder: Where to write.
        state: The checkpoint that the run goes on from, or None.
    """

    def __init__(self, job: Job, folder: RunFolder, state: dict[str, Any] | None):
        self.job = job
        self.folder = folder
        self.saved_at = time.monotonic()
        self.tables: list[Table] = []
        if rank() == 0:
            sizes = (0, 0) if state is None else state["tables"]
            self.tables = [Table(folder.metrics, sizes[0]), Table(folder.validation, sizes[1])]
        self.board = None
        if self.tables and job.config.tensorboard:
            self.board = board(folder.path / "tensorboard", job.step)

    def record(self, record: Record) -> None:
        """Notes what a step measured."""
        if self.tables:
            lr = float(self.job.optimizer.param_groups[0]["lr"])
            epoch = record.step / per if (per := self.job.batches.per_epoch) else None
            step, cost, grad_norm = record
            row = {"step": step, "epoch": epoch, "lr": lr, "cost": cost, "grad_norm": grad_norm}
            self.tables[0].row(row)
            self.show("train", step, {"lr": lr, "cost": cost, "grad_norm": grad_norm})

    def validate(self) -> None:
        """Measures the model on the validation data, and keeps it if it is the best so far."""
        job = self.job
        if job.validation is None:
            return
        with nullcontext() if job.average is None else job.average.applied():
            measures = job.validate(job.validation)
            is_best = job.stopping.improves(measures["cost"])
            model = job.model() if is_best else {}
            if self.tables:
                self.tables[1].row({"step": job.step, **measures})
                self.show("validation", job.step, measures)
                if is_best:
                    save_checkpoint(self.folder.best, {**model, "step": job.step})

    def show(self, split: str, step: int, values: dict[str, float]) -> None:
        """Hands numbers to TensorBoard, if it was asked for."""
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{split}/{name}", value, step)

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self.saved_at >= self.job.config.checkpoint_every

    def save(self) -> None:
        """Writes a checkpoint; all processes take part."""
        state = self.job.state_dict()
        if self.tables:
            sizes = [table.size() for table in self.tables]
            self.folder.save(self.job.step, {"job": state, "tables": sizes})
        self.saved_at = time.monotonic()

    def failure(self, error: NonFiniteCost) -> Path:
        """Writes the batch and the parameters that gave a cost that is not finite.

        All processes take part.
        """
        path = self.folder.path / "failure.safetensors"
        state = {"step": error.step, "x0": error.sample.x0, "target": error.sample.target}
        models = {"parameters": error.parameters, "last_good": self.job.model()}
        if self.tables:
            save_checkpoint(path, {**state, **models})
        return path

    def close(self) -> None:
        """Closes the tables."""
        for table in self.tables:
            table.close()
        if self.board is not None:
            self.board.close()


def board(folder: Path, step: int) -> Any:
    """A writer for TensorBoard that forgets what came after a step.

    Raises:
        ValueError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard is not installed: pip install tensorboard.") from None
    return SummaryWriter(str(folder), purge_step=step)


@contextmanager
def signals(receive: Callable[[int], None]) -> Iterator[None]:
    """Hands over the signals that ask the run to end, for as long as the context lasts."""
    handler = lambda number, frame: receive(number)
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    except BaseException:
        if world_size() > 1:
            # torchrun asks the others to end as soon as one is lost: each first says why it ends.
            before[signal.SIGTERM] = signal.SIG_IGN
        raise
    finally:
        for number, old in before.items():
            signal.signal(number, old)
