"""Two real processes that torchrun starts: the same run, up to the order of sums."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ocnet.run import Config, execute, RunFolder


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
