"""Every option of a run works for classical problems, Neural ODEs and ResNets alike.

From Python and from the shell, which leave the same metrics behind.
"""

import csv
import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ocnet.cli import build
from ocnet.run import Config, execute, RunFolder


KINDS = {
    "ocp": ("tests.support.blobs:Drawn", [], {}),
    "ode": ("tests.support.blobs:Blobs", ["dropout=0.0"], {"solver": "midpoint"}),
    "resnet": (
        "tests.support.few_digits:FewDigits",
        ["depth=3", "widths=(8, 8, 12)", "gamma=.1", "heads=full"],
        {},
    ),
}
"""A problem, its settings and its solver."""

OPTIONS = {
    "device": {"device": "auto"},
    "half": {"precision": "bf16"},
    "scaled": {"precision": "16"},
    "accumulate": {"accumulate": 2},
    "clip": {"clip": 0.01},
    "cosine": {"schedule": "cosine", "warmup": 2},
    "step": {"schedule": "step"},
    "ema": {"ema": 0.5},
    "patience": {"patience": 2},
    "sgd": {"optimizer": "sgd", "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01},
    "lbfgs": {"optimizer": "lbfgs", "lr": 0.1},
    "capture": {"capture": True},
    "sharded": {"sharded": True},
    "sync_norms": {"sync_norms": True},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
}


def flags(options: dict[str, object]) -> list[str]:
    """The options as one writes them in the shell."""
    words = []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


def rows(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.filterwarnings("ignore:.*online softmax.*:UserWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning")
@pytest.mark.parametrize(
    "option",
    [pytest.param(name, marks=pytest.mark.slow if name == "compile" else ()) for name in OPTIONS],
)
@pytest.mark.parametrize("kind", list(KINDS))
def test_an_option_works_for_every_kind_of_problem(tmp_path: Path, kind: str, option: str) -> None:
    torch.set_default_dtype(torch.float32)
    spec, settings, solver = KINDS[kind]
    options = {"iterations": 6, "batch_size": 8, "evaluate_every": 2, "device": "cpu", **solver}
    options.update(OPTIONS[option])
    python, shell = tmp_path / "python", tmp_path / "shell"
    result = execute(RunFolder(python), Config.of(spec, settings, **options), progress=False)
    # A second run in one process would use versions that the first had compiled for other batches.
    torch.compiler.reset()
    words = [word for setting in settings for word in ("--set", setting)]
    done = CliRunner().invoke(
        build(), ["train", spec, *words, *flags(options), "--out", str(shell)]
    )
    assert done.exit_code == 0, done.output
    for name in ("metrics.csv", "validation.csv", "best.safetensors", "result.json"):
        assert (python / name).read_bytes() == (shell / name).read_bytes()
    assert RunFolder(shell).config().options()[option_name(option)] is not None

    metrics, validation = rows(python / "metrics.csv"), rows(python / "validation.csv")
    assert result is not None and len(metrics) == result["steps"]
    assert all(math.isfinite(row["cost"]) for row in metrics)
    best = min(validation, key=lambda row: row["cost"])
    assert result["best_step"] == best["step"]
    assert result["validation"]["cost"] == pytest.approx(best["cost"], rel=1e-5)
    rates = [row["lr"] / metrics[0]["lr"] for row in metrics]
    if option == "cosine":
        assert rates[1] == pytest.approx(2) and rates[-1] < rates[2] / 2
    elif option == "step":
        assert rates == pytest.approx([1, 1, 1, 0.1, 0.01, 0.01])
    if option == "capture":
        assert "--capture is left out: only steps on a GPU" in " ".join(done.output.split())


def option_name(option: str) -> str:
    """The field of the configuration that a case is about."""
    return next(iter(OPTIONS[option]))
