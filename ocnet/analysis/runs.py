"""What runs left in their folders: curves to draw, and a table to compare them by."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..run import Config, RunFolder


@dataclass(frozen=True)
class RunRecord:
    """What a run measured so far.

    Attributes:
        name: What to call it: the last part of its folder.
        config: What was asked for.
        metrics: The columns of its training steps, by name.
        validation: The columns of its validations, by name.
        result: The final measures, or None while it is not done.
        provenance: Versions, hardware, command and git revision.
    """

    name: str
    config: Config
    metrics: dict[str, list[float]]
    validation: dict[str, list[float]]
    result: dict[str, Any] | None
    provenance: dict[str, Any]


def read_run(path: Path) -> RunRecord:
    """Reads the folder of a run, whether the run is finished, still running or interrupted.

    Raises:
        FileNotFoundError: If the folder is not a run.
        ValueError: Naming the file in it that does not hold what it should.
    """
    folder = RunFolder(path)
    return RunRecord(
        folder.path.resolve().name,
        folder.config(),
        columns(folder.metrics),
        columns(folder.validation),
        folder.measures(),
        folder.read_json("provenance.json") or {},
    )


def columns(path: Path) -> dict[str, list[float]]:
    """The columns of a table of numbers, without a last row that is still being written.

    Raises:
        ValueError: Naming the file, if it is not such a table.
    """
    if not path.is_file():
        return {}
    try:
        lines = path.read_text("utf-8").split("\n")[:-1]
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a table of numbers: it is not text.") from None
    rows = list(csv.DictReader(lines))
    names = lines[0].split(",") if lines else ["step", "cost"]
    if not {"step", "cost"} <= set(names):
        raise ValueError(f"{path} must have the columns step and cost, but has {lines[0]!r:.80}.")
    if not rows:
        return {}
    # An empty column, such as the epoch where there is no data set, is left out.
    names = [name for name in rows[0] if all(row[name] for row in rows)]
    return {name: [as_cell(path, k, row[name]) for k, row in enumerate(rows)] for name in names}


def as_cell(path: Path, k: int, text: str) -> float:
    """The number in a cell of the `k`-th row; if there is none, a ValueError names the file."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path}: row {k} must hold numbers, but holds {text!r:.40}.") from None


def table(runs: Sequence[RunRecord], tablefmt: str = "simple") -> str:
    """One row for each run: the settings that differ between runs, then the results.

    A cost includes the stage cost; where its weight gamma is not the same in all runs, the heading
    says that costs cannot be compared.
    """
    others = len({stage_weight(run) for run in runs}) > 1
    settings = [run.config.options() for run in runs]
    differing = [name for name in settings[0] if len({json.dumps(s[name]) for s in settings}) > 1]
    rows = [
        {"run": run.name, **{name: shown(s[name]) for name in differing}, **outcome(run, others)}
        for run, s in zip(runs, settings, strict=True)
    ]
    headers = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name, "") for name in headers] for row in rows]
    return tabulate(cells, headers=headers, tablefmt=tablefmt, floatfmt=".6g")


def stage_weight(run: RunRecord) -> tuple[str, ...]:
    """The settings of a run that say how much the stage cost weighs."""
    named = [text for text in run.config.settings if text.partition("=")[0] == "gamma"]
    return (*named, run.config.gamma.schedule, str(run.config.gamma.warmup))


def outcome(run: RunRecord, own_cost: bool = False) -> dict[str, Any]:
    """The steps that a run did, and its best measures.

    Arguments:
        run: The run.
        own_cost: Whether its cost is not that of other runs in the table.
    """
    if run.result is None:
        done = int(run.metrics["step"][-1]) + 1 if run.metrics else 0
        return {"steps": f"{done}, not done"}
    measures = {
        f"{split} {name}{' with its own gamma' if own_cost and name == 'cost' else ''}": value
        for split in ("validation", "test")
        for name, value in run.result.get(split, {}).items()
    }
    return {"steps": run.result["steps"], "best at": run.result["best_step"], **measures}


def shown(value: Any) -> Any:
    """A setting as a cell."""
    return " ".join(value) if isinstance(value, list) else "-" if value is None else value
