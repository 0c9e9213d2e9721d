"""Processes that train together: the first one's number, the loss of one, what shards compute."""

import subprocess
import sys
from pathlib import Path

import torch

from ocnet.learning import Engine
from ocnet.learning.mean_cost import MeanCost
from ocnet.learning.processes import first, is_lost_process
from tests.support.blobs import Blobs


ROOT = Path(__file__).parents[2]

SCRIPT = """
import os, sys, torch
from datetime import timedelta
from torch import distributed
from ocnet.learning.processes import first, is_lost_process

rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group(
    "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
print(first(10 + rank, torch.device("cpu")), is_lost_process(RuntimeError("of the user")))
sys.stdout.flush()
if rank == 0:
    try:
        distributed.all_reduce(torch.ones(1))
    except RuntimeError as error:
        print(is_lost_process(error), flush=True)
os._exit(0)
"""


def test_two_processes_take_the_first_ones_number_and_notice_a_loss(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(tmp_path / "store")],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    printed, errors = zip(*(process.communicate(timeout=120) for process in started), strict=True)
    assert printed == ("10 False\nTrue\n", "10 False\n"), errors


def test_one_process_has_its_own_number_and_nobody_to_lose() -> None:
    assert first(7, torch.device("cpu")) == 7
    assert not is_lost_process(RuntimeError("gloo/transport/tcp/pair.cc: Connection closed"))


def test_shards_compute_the_cost_that_they_were_made_of() -> None:
    engine, one, other = Engine("cpu"), Blobs(), Blobs()
    control = one.initial_control(3)
    engine.shards = MeanCost(one, control)
    assert engine.mean_cost(one, control) is engine.shards
    for problem, path in ((other, control), (one, other.initial_control(3))):
        found = engine.mean_cost(problem, path)
        assert found.problem is problem and found.control is path
