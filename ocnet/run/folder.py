"""The folder of a run, and the tables in it."""

import csv
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, IO

from .._arguments import check_kind
from .checkpoint import CheckpointError, load_checkpoint, PART, save_checkpoint, write_whole
from .config import Config
from .lock import LOCK, OWNER


COUNTS = ("steps", "best_step", "iterations")
"""The names in the final measures besides costs and scores."""

KEEP = 2
"""How many checkpoints are kept to go on from."""


class RunFolder:
    """The files of a run.

        config.json      what was asked for
        provenance.json  versions, hardware, command, git revision; what changed at each resumption
        metrics.csv      one row a step: cost, norm of the gradient, learning rate
        validation.csv   one row a validation: cost and scores
        checkpoints/     the last states to go on from, named by their step
        best.safetensors the model that did best on the validation data
        result.json      the final measures, once the run is done
        pictures/, report.html

    Arguments:
        path: The folder.
    """

    def __init__(self, path: Path | str):
        check_kind("path", path, str, Path)
        self.path: Path = Path(path)
        self.checkpoints: Path = self.path / "checkpoints"
        self.metrics: Path = self.path / "metrics.csv"
        self.validation: Path = self.path / "validation.csv"
        self.best: Path = self.path / "best.safetensors"
        self.pictures: Path = self.path / "pictures"

    def create(self, config: Config, provenance: dict[str, Any]) -> None:
        """Makes the folder of a new run.

        Raises:
            FileExistsError: If there is something already.
        """
        self.claim()
        # First, because a folder counts as a run as soon as it holds its configuration.
        write_whole(self.path / "config.json", config.to_json().encode())
        self.write_json("provenance.json", provenance)

    def start_over(self, config: Config, provenance: dict[str, Any]) -> None:
        """Treats a run without a checkpoint as a new one, computed from what is there now."""
        self.best.unlink(missing_ok=True)
        write_whole(self.path / "config.json", config.to_json().encode())
        self.write_json("provenance.json", provenance)

    def adopt(self, config: Config, step: int, origin: dict[str, Any]) -> None:
        """Notes what a run is computed from after a step, if that has changed since its start."""
        write_whole(self.path / "config.json", config.to_json().encode())
        noted = self.read_json("provenance.json") or {}
        since = [*noted.get("since", []), {"step": step, **origin}]
        self.write_json("provenance.json", {**noted, "since": since})
        (self.path / "result.json").unlink(missing_ok=True)

    def claim(self) -> None:
        """Makes the folder, which is empty except for what a lock leaves.

        Raises:
            FileExistsError: If there is something already.
            OSError: If it cannot be made.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file; choose a new folder.")
        self.path.mkdir(parents=True, exist_ok=True)
        for path in self.path.iterdir():
            if path.suffix != PART and path.name not in (LOCK, OWNER):
                raise FileExistsError(
                    f"{self.path} is not empty: it holds {path.name}; choose a new folder, or go "
                    "on with a run by `ocnet resume`."
                )

    def config(self) -> Config:
        """What was asked for.

        Raises:
            FileNotFoundError: If the folder is not a run.
            ValueError: If its config.json is not a configuration.
        """
        path = self.path / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{self.path} is not a run: it has no config.json.")
        try:
            return Config.from_json(path.read_text())
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from None

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Writes plain values, all or nothing."""
        write_whole(self.path / name, (json.dumps(values, indent=2) + "\n").encode())

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The values in a JSON file, or None if there is none.

        Raises:
            ValueError: If the file does not hold a JSON object.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}.") from None
        if not isinstance(values, dict):
            raise ValueError(f"{path} must hold a JSON object, but holds {str(values)[:40]!r}.")
        return values

    def result(self, iterations: int) -> dict[str, Any] | None:
        """The final measures, or None if the run has not done so many iterations or ended early."""
        result = self.measures()
        return None if result is None or result["iterations"] != iterations else result

    def measures(self) -> dict[str, Any] | None:
        """The final measures, or None while there are none.

        Raises:
            ValueError: If the file does not hold them.
        """
        result = self.read_json("result.json")
        missing = [name for name in COUNTS if result is not None and name not in result]
        if missing:
            raise ValueError(f"{self.path / 'result.json'} must hold {missing[0]!r}, but does not.")
        return result

    def save(self, step: int, state: Any) -> None:
        """Writes the checkpoint of a step, then removes those that are no longer needed.

        Raises:
            OSError: If it cannot be written; the last good one is still there.
        """
        path = self.checkpoints / f"{step:09d}.safetensors"
        try:
            self.checkpoints.mkdir(exist_ok=True)
            save_checkpoint(path, state)
        except OSError as error:
            raise OSError(f"{path} could not be written: {self.remains(error)}") from error
        # A later one is damaged, or was written before the run went back to an earlier step.
        saved = self.saved()
        older = saved[: saved.index(path) + 1]
        for old in (*older[:-KEEP], *saved[len(older) :]):
            old.unlink()

    def remains(self, error: OSError) -> str:
        """Why something could not be written, and which checkpoint is left to go on from."""
        good = f"is of step {int(self.saved()[-1].stem)}" if self.saved() else "does not exist"
        return f"{error.strerror}. The last good checkpoint {good}."

    def saved(self) -> list[Path]:
        """The checkpoints, the oldest first."""
        return sorted(self.checkpoints.glob("*.safetensors"))

    def latest(self, note: Callable[[str], object] | None = None) -> Any | None:
        """The state of the last checkpoint, or None if there is none.

        Arguments:
            note: Called with a message if the last checkpoint is damaged and the one before is
                taken; without `note`, a damaged one is an error.

        Raises:
            CheckpointError: If no checkpoint can be read.
        """
        told: list[str] = []
        for path in reversed(self.saved()):
            try:
                state = load_checkpoint(path)
            except CheckpointError as error:
                if note is None:
                    raise
                told.append(str(error))
                continue
            if told and note is not None:
                note(f"{' '.join(told)} The run goes on from step {int(path.stem)}.")
            return state
        if told:
            raise CheckpointError(f"{' '.join(told)} There is no other checkpoint to go on from.")
        return None


class Table:
    """A CSV file that grows by a row at a time and can be cut back to where it was.

    Arguments:
        path: The file; the first row that is written names the columns.
        size: The bytes to keep of a file that is there already.

    Raises:
        ValueError: If the file is shorter than that.
    """

    def __init__(self, path: Path, size: int = 0):
        there = path.stat().st_size if path.exists() else 0
        if there < size:
            raise ValueError(f"{path} lost rows: it has {there} bytes, its checkpoint knew {size}.")
        self.file: IO[str] = path.open("r+" if path.exists() else "w", newline="")
        self.file.truncate(size)
        self.file.seek(size)
        self.writer: Any = csv.writer(self.file, lineterminator="\n")
        self.is_empty: bool = size == 0

    def row(self, values: dict[str, float | int | None]) -> None:
        """Adds a row; None leaves its cell empty."""
        if self.is_empty:
            self.writer.writerow(values)
            self.is_empty = False
        self.writer.writerow(values.values())

    def size(self) -> int:
        """The number of bytes so far, once all of them are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Writes what is left, if possible: a resumed run cuts off rows beyond its checkpoint."""
        with suppress(OSError):
            self.file.close()
