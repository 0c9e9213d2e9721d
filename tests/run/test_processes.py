"""Two real processes that torchrun starts: the same run, up to the order of sums."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ocnet.run import Config, execute, Job, load_checkpoint, RunFolder
from ocnet.train import training


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def torchrun(*arguments: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", "-m", "ocnet", *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    two = torchrun(
        "train", "tests.run.blobs:Blobs", "--set", "dropout=0.0", "--set", "norm=False",
        "--epochs", "5", "--batch-size", "8", "--accumulate", "2", "--ema", "0.9",
        "--device", "cpu", "--clip", "1", "--out", str(tmp_path / "two"),
    )  # fmt: skip
    torch.set_default_dtype(torch.float32)
    config = Config(
        "tests.run.blobs:Blobs",
        ["dropout=0.0", "norm=False"],
        epochs=5,
        batch_size=8,
        ema=0.9,
        clip=1.0,
        device="cpu",
    )
    one = execute(RunFolder(tmp_path / "one"), config, progress=False)
    output, errors = two.communicate(timeout=120)
    assert two.returncode == 0, errors
    assert output.count("25 steps") == 1
    assert one is not None and one["steps"] == 25
    for name in ("metrics.csv", "validation.csv"):
        here, there = table(tmp_path / "one" / name), table(tmp_path / "two" / name)
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-6, equal_nan=True)


def test_a_lost_process_ends_the_run_which_one_process_takes_up(tmp_path: Path) -> None:
    launcher = torchrun(
        "train", "tests.run.blobs:Blobs", "--epochs", "100000", "--batch-size", "8",
        "--checkpoint-every", "0", "--device", "cpu", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    pids = workers(launcher, tmp_path / "run")
    os.kill(pids[1], signal.SIGKILL)
    _, errors = launcher.communicate(timeout=60)
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


def test_ctrl_c_saves_what_all_processes_agree_on(tmp_path: Path) -> None:
    launcher = torchrun(
        "train", "tests.run.blobs:Blobs", "--epochs", "100000", "--batch-size", "8",
        "--device", "cpu", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    workers(launcher, tmp_path / "run")
    launcher.send_signal(signal.SIGINT)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    (saved,) = RunFolder(tmp_path / "run").saved()
    assert f"SIGINT at step {int(saved.stem)}; the run is saved" in errors
