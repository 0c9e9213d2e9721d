"""`ocnet train`, `ocnet resume` and `ocnet report` as a user calls them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import CheckpointError
from typer.testing import CliRunner, Result

from ocnet.cli import build
from ocnet.run import load_checkpoint, RunFolder
from ocnet.run.loop import told_of_shards
from tests.support.blobs import Drawn


ROOT = Path(__file__).parents[2]
BLOBS = "tests.support.blobs:Blobs"


def ocnet(*arguments: str | Path) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two epochs."""
    done = ocnet("train", BLOBS, "--epochs", "2", "--batch-size", "8", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    return tmp_path / "run"


def test_a_run_is_a_folder(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        ".lock", "config.json", "provenance.json", "metrics.csv", "validation.csv", "checkpoints",
        "best.safetensors", "result.json", "pictures", "report.html",
    }  # fmt: skip
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + 10
    assert len((run / "validation.csv").read_text().splitlines()) == 1 + 3
    assert {"git", "versions", "command"} <= set(json.loads((run / "provenance.json").read_text()))
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 10 and set(result["test"]) == {"cost", "accuracy"}
    assert "<img src" in (run / "report.html").read_text()


def test_resume_of_a_run_that_is_done_tells_its_result(run: Path) -> None:
    before = (run / "metrics.csv").read_bytes()
    again = ocnet("resume", run)
    assert again.exit_code == 0 and "10 steps" in again.output
    assert (run / "metrics.csv").read_bytes() == before


def test_reports_of_one_and_of_several(run: Path, tmp_path: Path) -> None:
    other = ocnet(
        "train", BLOBS, "--epochs", "1", "--batch-size", "8", "--ema", "0.5", "--solver", "heun",
        "--set", "width=5", "--set", "noise=0.0", "--seed", "3", "--out", tmp_path / "other",
    )  # fmt: skip
    assert other.exit_code == 0, other.output
    both = ocnet("report", run, tmp_path / "other", "--out", tmp_path / "both")
    assert both.exit_code == 0, both.output
    assert "width=5 noise=0.0" in both.output and "heun" in both.output
    assert (tmp_path / "both" / "report.html").stat().st_size > 50_000
    assert "--out" in ocnet("report", run, tmp_path / "other").output
    assert "only once" in ocnet("report", run, run).output


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ["--epochs", "1", "--iterations", "2"],
            "Give epochs or iterations, but not both: got epochs=1",
        ),
        (["--optimizer", "lion"], "must be one of sgd, adam, adamw, lbfgs"),
        (["--lr", "-1"], "'--lr': must be > 0 and finite, but got -1.0."),
        (["--ema", "2"], "'--ema': must be > 0 and < 1, but got 2.0."),
        (["--precision", "8"], "'--precision': must be one of 32, bf16, 16"),
        (["--device", "tpu"], "must be auto, cpu, cuda, mps or cuda:1, but got 'tpu'"),
        (["--solver", "nope"], "'--solver': must be one of euler, heun, rk4, rk38, dopri5"),
        (["--set", "nope=1"], "takes no argument 'nope'"),
        (["--depth", "3"], "takes no argument 'depth'"),
        (["--sharded", "--optimizer", "lbfgs"], "L-BFGS needs whole parameters"),
        (["--sharded", "--gradient", "reversible"], "Reversible needs whole parameters"),
        (["--gamma-schedule", "cosine"], "needs a residual network's stage cost with gamma > 0"),
        (["--gamma-schedule", "up"], "must be one of constant, cosine, step, but got 'up'"),
        (["--gamma-warmup", "9", "--capture"], "takes no schedule of gamma"),
        (["--gamma-warmup", "9", "--iterations", "9"], "Must have gamma_warmup < iterations"),
        (["--steps", "0"], "must be at least 1, but got 0."),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    tmp_path: Path, options: list[str], message: str
) -> None:
    done = ocnet("train", BLOBS, *options, "--out", tmp_path / "run")
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.output.split()) and "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


def test_shards_computed_again_take_no_energy_of_layers(tmp_path: Path) -> None:
    command = ["train", "tests.support.blobs:Damped", "--sharded", "--out", tmp_path / "run"]
    done = ocnet(*command, "--gradient", "checkpoint")
    assert "takes no ControlEnergy of layers" in " ".join(done.output.split())
    assert done.exit_code == 2 and not (tmp_path / "run").exists()


def test_what_shards_meet_is_explained() -> None:
    job: Any = SimpleNamespace(is_sharded=True)
    alone: Any = SimpleNamespace(is_sharded=False)
    mixed = RuntimeError("mul got mixed torch.Tensor and DTensor, need to")
    for error in (mixed, CheckpointError("Recomputed values")):
        with pytest.raises(ValueError, match="finds shards: sum over"), told_of_shards(job):
            raise error
        with pytest.raises(type(error), match=str(error)), told_of_shards(alone):
            raise error
    with pytest.raises(RuntimeError, match="another"), told_of_shards(job):
        raise RuntimeError("another")


def test_epochs_need_a_data_set_and_patience_validation(tmp_path: Path) -> None:
    done = ocnet("train", "tests.support.blobs:Drawn", "--epochs", "1", "--out", tmp_path / "run")
    assert (
        "no epochs: give iterations" in done.output
        and "epochs=1" in done.output
        and done.exit_code == 2
    )


@pytest.mark.slow
def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    done = ocnet(
        "train", "tests.support.blobs:Drawn", "--iterations", "200", "--batch-size", "2",
        "--lr", "0.5", "--evaluate-every", "1", "--patience", "5", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == result["best_step"] + 5 < 200
    rows = (tmp_path / "run" / "validation.csv").read_text().splitlines()[1:]
    costs = [float(row.split(",")[1]) for row in rows]
    assert result["validation"]["cost"] == min(costs) == costs[result["best_step"]]


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["backprop", "adjoint"])
def test_a_neural_ode_goes_on_after_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gradient: str
) -> None:
    """Its solver is torchdiffeq's, with steps that adapt; it ends as if nothing had happened."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = [
        "train", "tests.support.blobs:Pausing", "--set", "dropout=0.0", "--set", "norm=False",
        "--set", "width=2", "--set", "n=16", "--solver", "dopri5", "--gradient", gradient,
        "--epochs", "2", "--batch-size", "8", "--ema", "0.5",
        "--device", "cpu", "--out",
    ]  # fmt: skip
    assert ocnet(*command, whole).exit_code == 0
    monkeypatch.setenv("PAUSE", "3")
    stopped = ocnet(*command, broken)
    assert stopped.exit_code == 130 and "SIGINT at step 3; the run is saved" in stopped.output
    monkeypatch.delenv("PAUSE")
    assert ocnet("resume", broken).exit_code == 0
    last = RunFolder(whole).saved()[-1].relative_to(whole)
    for name in ("metrics.csv", "validation.csv", "best.safetensors", "result.json", last):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    for command in ("resume", "report"):
        done = ocnet(command, tmp_path)
        assert done.exit_code == 2 and "is not a run: it has no config.json" in done.output


class Explosive(Drawn):
    """A cost that is infinite once the control has grown."""

    def dynamics(self, t: torch.Tensor, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return torch.where(u.abs().max() > 0.3, torch.inf, u).expand_as(x)


@pytest.mark.slow
def test_a_cost_that_is_not_finite_leaves_what_reproduces_it(tmp_path: Path) -> None:
    spec = f"{__name__}:Explosive"
    done = ocnet("train", spec, "--iterations", "99", "--batch-size", "3", "--out", tmp_path / "r")
    assert done.exit_code == 1 and "Non-finite cost" in done.output
    assert "layer" in done.output and "failure.safetensors" in done.output
    left = load_checkpoint(tmp_path / "r" / "failure.safetensors")
    (path,) = left["parameters"]
    good = left["last_good"]["control"]["path"]
    assert left["x0"].shape == (3, 2) and path.abs().max() > 0.3 >= good.abs().max()


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_gets_the_numbers_too(tmp_path: Path) -> None:
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = ["--out", tmp_path / "run"]
    done = ocnet("train", BLOBS, "--epochs", "2", "--batch-size", "8", "--tensorboard", *out)
    assert done.exit_code == 0, done.output
    events = loading.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    shown = [event.value for event in events.Scalars("train/cost")]
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]
    assert shown == pytest.approx([float(row.split(",")[3]) for row in rows], rel=1e-6)
    assert len(events.Scalars("validation/accuracy")) == 3


@pytest.mark.slow
def test_ctrl_c_in_the_shell(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ocnet", "train", BLOBS, "--epochs", "100000"]
    command += ["--checkpoint-every", "1e6", "--out"]
    process = subprocess.Popen(
        [*command, tmp_path / "run"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics = tmp_path / "run" / "metrics.csv"
    while not metrics.exists() or not metrics.stat().st_size:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 130
    assert "the run is saved, and `ocnet resume` goes on" in errors
    assert len(RunFolder(tmp_path / "run").saved()) == 1
