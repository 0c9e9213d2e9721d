"""What a run leaves in its folder while it runs: tables, checkpoints, the best model."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..learning import NonFiniteCost, Record
from ..learning.processes import rank
from .checkpoint import save_checkpoint
from .folder import RunFolder, Table
from .job import Job


class Log:
    """What a run leaves in its folder while it runs; only the first process writes.

    Arguments:
        job: What is logged.
        folder: Where to write.
        state: The checkpoint that the run goes on from, or None.
    """

    def __init__(self, job: Job, folder: RunFolder, state: dict[str, Any] | None):
        self.job = job
        self.folder = folder
        self.saved_at: float = time.monotonic()
        self.tables: list[Table] = []
        if rank() == 0:
            sizes = (0, 0) if state is None else state["tables"]
            self.tables = [Table(folder.metrics, sizes[0]), Table(folder.validation, sizes[1])]
        self.board: Any = None
        if self.tables and job.config.keeping.tensorboard:
            self.board = board(folder.path / "tensorboard", job.step)

    def record(self, record: Record) -> None:
        """Notes what a step measured."""
        if self.tables:
            lr = float(self.job.optimizer.param_groups[0]["lr"])
            epoch = record.step / per if (per := self.job.batches.per_epoch) else None
            step, cost, grad_norm, _ = record
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
                    kept = {**model, "step": job.step, "origin": job.origin}
                    save_checkpoint(self.folder.best, kept)

    def show(self, split: str, step: int, values: dict[str, float]) -> None:
        """Hands numbers to TensorBoard, if it was asked for."""
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{split}/{name}", value, step)

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self.saved_at >= self.job.config.keeping.checkpoint_every

    def save(self) -> None:
        """Writes a checkpoint; all processes take part."""
        state = self.job.state_dict()
        if self.tables:
            sizes = [table.size() for table in self.tables]
            whole = {"job": state, "origin": self.job.origin, "tables": sizes}
            self.folder.save(self.job.step, whole)
        self.saved_at = time.monotonic()

    def adopt(self) -> None:
        """Notes in the folder what the next steps are computed from; the first process does it."""
        if self.tables:
            self.folder.adopt(self.job.config, self.job.step, self.job.origin)

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
    """A writer for TensorBoard that drops everything after a step.

    Raises:
        ValueError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard is not installed: pip install tensorboard.") from None
    return SummaryWriter(str(folder), purge_step=step)
