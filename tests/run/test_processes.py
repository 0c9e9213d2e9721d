"""Two real processes that torchrun starts: the same run, up to the order of sums."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from ocnet.learning import training
from ocnet.run import Config, execute, Job, load_checkpoint, RunFolder, RunWarning


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

LONG = 400
"""Seconds after which processes are thought to hang, also where others keep the machine busy."""


def torchrun(*arguments: str, n: int = 2, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n)]
    command += ["--standalone", "-m", "ocnet", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def endless(run: Path, checkpoint_every: str) -> subprocess.Popen:
    """A run that something else has to end."""
    return torchrun(
        "train", "tests.support.blobs:Blobs", "--epochs", "100000", "--batch-size", "8",
        "--checkpoint-every", checkpoint_every, "--device", "cpu", "--out", str(run),
    )  # fmt: skip


def workers(launcher: subprocess.Popen, run: Path) -> list[int]:
    """The processes that train, once they do."""
    metrics = run / "metrics.csv"
    while not metrics.exists() or not metrics.stat().st_size:
        assert launcher.poll() is None, launcher.communicate()[1]
        time.sleep(0.05)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def table(path: Path) -> torch.Tensor:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return torch.tensor([[float(value or "nan") for value in row.values()] for row in rows])


SAME = ["dropout=0.0", "norm=False"]
"""A network whose batch may be divided: it draws nothing, and has no batch norm."""


def agrees(one: Path, two: Path) -> None:
    """The metrics of two runs are the same up to the order of sums, and cover the same steps."""
    for name in ("metrics.csv", "validation.csv"):
        here, there = table(one / name), table(two / name)
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-6, equal_nan=True)


DAMPED = "tests.support.blobs:Damped"
"""The same with a cost that reads the parameters of the layers besides what they compute."""


def single(
    path: Path, settings: list[str], spec: str = "tests.support.blobs:Blobs", **options: Any
) -> dict[str, Any]:
    """A run in this process."""
    torch.set_default_dtype(torch.float32)
    options = {"epochs": 5, "batch_size": 8, "device": "cpu", **options}
    config = Config.of(spec, settings, **options)
    result = execute(RunFolder(path), config, progress=False)
    assert result is not None
    return result


@pytest.mark.parametrize("way", [[], ["--sharded"]], ids=["replicated", "sharded"])
def test_two_processes_compute_what_one_does(tmp_path: Path, way: list[str]) -> None:
    two = torchrun(
        "train", DAMPED, "--set", "dropout=0.0", "--set", "norm=False",
        "--epochs", "5", "--batch-size", "8", "--accumulate", "2", "--ema", "0.9",
        "--device", "cpu", "--clip", "1", *way, "--out", str(tmp_path / "two"),
    )  # fmt: skip
    one = single(tmp_path / "one", SAME, DAMPED, ema=0.9, clip=1.0)
    output, errors = two.communicate(timeout=LONG)
    assert two.returncode == 0, errors
    assert output.count("25 steps") == 1
    assert one["steps"] == 25
    agrees(tmp_path / "one", tmp_path / "two")
    for name in ("best.safetensors", "checkpoints/000000025.safetensors"):
        here, there = (load_checkpoint(tmp_path / n / name) for n in ("one", "two"))
        for state in (here, there):
            state = state.get("job", state)
            # Random numbers and table sizes are each run's own.
            for name in ("rng", "origin", "kind"):
                state.get("job", state).pop(name, None)
        here, there = here.get("job", here), there.get("job", there)
        torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("way", [[], ["--accumulate", "2"]], ids=["whole", "in parts"])
def test_a_parameter_that_a_step_does_not_use_stops_nobody(tmp_path: Path, way: list[str]) -> None:
    two = torchrun(
        "train", "tests.support.blobs:Skipping", "--set", "dropout=0.0", "--set", "norm=False",
        "--epochs", "5", "--batch-size", "8", "--device", "cpu", *way,
        "--out", str(tmp_path / "two"),
    )  # fmt: skip
    single(tmp_path / "one", SAME, "tests.support.blobs:Skipping")
    _, errors = two.communicate(timeout=LONG)
    assert two.returncode == 0, errors
    agrees(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_cost_that_finds_shards_is_told_in_one_line(tmp_path: Path) -> None:
    options = ["knows=True", "--gradient", "checkpoint"]
    process = torchrun(
        "train", "tests.support.blobs:Weighty", "--sharded", "--iterations", "2", "--device", "cpu",
        "--batch-size", "8", "--out", str(tmp_path / "run"), "--set", *options,
    )  # fmt: skip
    errors = process.communicate(timeout=LONG)[1]
    (line,) = {line for line in errors.splitlines() if line.startswith("ocnet: error")}
    assert "a cost that reads the parameters of layers finds shards" in line


@pytest.mark.parametrize("way", [[], ["--sharded"]], ids=["replicated", "sharded"])
def test_synchronised_norms_see_the_whole_batch(tmp_path: Path, way: list[str]) -> None:
    """Costs, and the statistics that are followed, are those of one process.

    By SGD: the biases before a batch norm have no gradient but rounding errors, of which Adam would
    make whole steps.
    """
    settings = ["dropout=0.0", "norm=True"]
    two = torchrun(
        "train", "tests.support.blobs:Blobs", "--set", "dropout=0.0", "--epochs", "5",
        "--batch-size", "8", "--device", "cpu", "--sync-norms", "--optimizer", "sgd", *way, "--out",
        str(tmp_path / "two"),
    )  # fmt: skip
    single(tmp_path / "one", settings, optimizer="sgd")
    _, errors = two.communicate(timeout=LONG)
    assert two.returncode == 0, errors
    agrees(tmp_path / "one", tmp_path / "two")
    last = "checkpoints/000000025.safetensors"
    here, there = (load_checkpoint(tmp_path / n / last)["job"]["control"] for n in ("one", "two"))
    statistics = {name: z for name, z in here.items() if "running" in name or "num" in name}
    assert len(statistics) == 9
    found = {name: there[name] for name in statistics}
    torch.testing.assert_close(found, statistics, rtol=1e-4, atol=1e-5)


def test_norms_of_their_own_see_a_share_each(tmp_path: Path) -> None:
    """The counterpart: without it the costs do differ."""
    two = torchrun(
        "train", "tests.support.blobs:Blobs", "--set", "dropout=0.0", "--epochs", "1",
        "--batch-size", "8", "--device", "cpu", "--out", str(tmp_path / "two"),
    )  # fmt: skip
    single(tmp_path / "one", ["dropout=0.0"], epochs=1)
    _, errors = two.communicate(timeout=LONG)
    assert two.returncode == 0, errors
    here, there = (table(tmp_path / name / "metrics.csv")[:, 3] for name in ("one", "two"))
    assert (there - here).abs().max() > 1e-3


def test_a_lost_process_ends_the_run_which_one_process_takes_up(tmp_path: Path) -> None:
    launcher = endless(tmp_path / "run", checkpoint_every="0")
    pids = workers(launcher, tmp_path / "run")
    os.kill(pids[1], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=LONG)
    assert launcher.returncode != 0
    assert "Another process was lost at step" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

    torch.set_default_dtype(torch.float32)
    folder = RunFolder(tmp_path / "run")
    job = Job(folder.config())
    job.load_state_dict(load_checkpoint(folder.saved()[-1])["job"])
    assert job.step == int(folder.saved()[-1].stem) > 0
    steps = training(
        job.problem, job.control, job.solver, job.optimizer, job.batches, start=job.step
    )
    assert next(steps).step == job.step - 1


def test_a_process_that_is_lost_at_the_end_is_told_too(tmp_path: Path) -> None:
    """While the best model is measured, when all steps are done and saved."""
    launcher = torchrun(
        "train", "tests.support.blobs:Dying", "--epochs", "1", "--batch-size", "8",
        "--device", "cpu", "--out", str(tmp_path / "run"), DIE="1",
    )  # fmt: skip
    _, errors = launcher.communicate(timeout=LONG)
    assert launcher.returncode != 0
    assert "Another process was lost at step 5" in errors
    torch.set_default_dtype(torch.float32)
    with pytest.warns(RunWarning, match="the number of processes is 1 and was 2"):
        result = execute(RunFolder(tmp_path / "run"), progress=False)
    assert result is not None and result["steps"] == 5


def test_ctrl_c_saves_what_all_processes_agree_on(tmp_path: Path) -> None:
    launcher = endless(tmp_path / "run", checkpoint_every="1e6")
    workers(launcher, tmp_path / "run")
    launcher.send_signal(signal.SIGINT)
    _, errors = launcher.communicate(timeout=LONG)
    assert launcher.returncode != 0
    (saved,) = RunFolder(tmp_path / "run").saved()
    assert f"SIGINT at step {int(saved.stem)}; the run is saved" in errors


def test_sigterm_saves_too(tmp_path: Path) -> None:
    launcher = endless(tmp_path / "run", checkpoint_every="1e6")
    pids = workers(launcher, tmp_path / "run")
    launcher.terminate()
    _, errors = launcher.communicate(timeout=LONG)
    (saved,) = RunFolder(tmp_path / "run").saved()
    assert f"SIGTERM at step {int(saved.stem)}; the run is saved" in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("first", [1, 2], ids=["one, then two", "two, then one"])
def test_a_sharded_run_goes_on_in_another_number_of_processes(tmp_path: Path, first: int) -> None:
    """Interrupted in its 10th step, with momentum, average and best model to carry over."""
    single(tmp_path / "whole", SAME, ema=0.9, optimizer="adamw", evaluate_every=3)
    folder = RunFolder(tmp_path / "broken")
    config = Config.of(
        "tests.support.blobs:Pausing", SAME, epochs=5, batch_size=8, device="cpu", ema=0.9,
        optimizer="adamw", evaluate_every=3, sharded=True,
    )  # fmt: skip
    folder.create(config, {})
    paused = torchrun("resume", str(folder.path), n=first, PAUSE="10")
    _, errors = paused.communicate(timeout=LONG)
    assert "SIGINT at step 10; the run is saved" in errors, errors
    assert [path.stem for path in folder.saved()] == ["000000010"]
    resumed = torchrun("resume", str(folder.path), n=3 - first)
    _, errors = resumed.communicate(timeout=LONG)
    assert resumed.returncode == 0, errors
    agrees(tmp_path / "whole", folder.path)
