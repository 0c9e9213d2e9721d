"""A run that is killed ends bit by bit like one that is not."""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from ocnet import Sample
from ocnet.learning import Engine
from ocnet.run import Config, execute, Interrupted, RunFolder
from tests.support.blobs import Blobs


SERVER = multiprocessing.get_context("forkserver")
# An optimiser imports the compiler when it is made, which takes seconds.
SERVER.set_forkserver_preload(["ocnet.run", "tests.support.blobs", "torch._dynamo"])

FILES = ("metrics.csv", "validation.csv", "best.safetensors", "result.json")

NETWORK = Config.of(
    problem="tests.support.blobs:Blobs",
    iterations=300,
    batch_size=8,
    optimizer="adamw",
    schedule="cosine",
    warmup=5,
    clip=1.0,
    ema=0.9,
    patience=1000,
    evaluate_every=7,
    checkpoint_every=0.0,
    accumulate=2,
    device="cpu",
)

SHORT = NETWORK.changed(iterations=30)


def carry_on(path: Path, config: Config, before: Callable[[], None] | None = None) -> None:
    """Starts the run in a process of its own, or goes on with it."""
    if before is not None:
        before()
    folder = RunFolder(path)
    new = not (path / "config.json").exists()
    try:
        execute(folder, config if new else None, progress=False)
    except Interrupted as error:
        sys.exit(error.exit_code)


def start(*arguments: object) -> BaseProcess:
    process = SERVER.Process(target=carry_on, args=arguments)
    process.start()
    return process


def contents(path: Path) -> dict[str, bytes]:
    """All that an unbroken run and a resumed one must agree in."""
    last = RunFolder(path).saved()[-1]
    return {**{name: (path / name).read_bytes() for name in FILES}, last.name: last.read_bytes()}


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    reference = start(whole, NETWORK)
    moments = random.Random(0)
    reached = 0
    for _ in range(20):
        goal, late = reached + moments.randint(1, 10), moments.uniform(0, 2)
        process = start(broken, NETWORK, partial(die_behind, broken, goal, late))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached = last_step(broken)
        assert reached >= goal
    last = start(broken, NETWORK)
    for process in (last, reference):
        process.join()
        assert process.exitcode == 0
    assert contents(broken) == contents(whole)


def die_behind(path: Path, goal: int, late: float) -> None:
    """Lets the process be killed so many times the length of a step after the checkpoint `goal`.

    By a thread of its own: however busy the machine is, it goes on no faster than the steps.
    """

    def watch() -> None:
        while last_step(path) < goal - 1:
            time.sleep(0.0005)
        before = time.monotonic()
        while last_step(path) < goal:
            time.sleep(0.0005)
        time.sleep(late * (time.monotonic() - before))
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def last_step(path: Path) -> int:
    saved = RunFolder(path).saved()
    return int(saved[-1].stem) if saved else 0


@pytest.mark.slow
@pytest.mark.parametrize("name, call", [("fsync", 9), ("fsync", 11), ("replace", 5), ("unlink", 2)])
def test_death_in_the_middle_of_a_checkpoint(
    tmp_path: Path, unbroken: Path, name: str, call: int
) -> None:
    dying = start(tmp_path, SHORT, partial(die_at, name, call))
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    again = start(tmp_path, SHORT)
    again.join()
    assert contents(tmp_path) == contents(unbroken)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that nothing happened to."""
    path = tmp_path_factory.mktemp("runs") / "unbroken"
    process = start(path, SHORT)
    process.join()
    assert process.exitcode == 0
    return path


def die_at(name: str, call: int) -> None:
    """Lets the process kill itself when it makes the `call`-th call of a function of `os`."""
    genuine = getattr(os, name)
    calls = 0

    def deadly(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return genuine(*args, **kwargs)

    setattr(os, name, deadly)


def test_ctrl_c_saves_and_exits_with_130(tmp_path: Path, unbroken: Path) -> None:
    config = SHORT.changed(checkpoint_every=1000.0)
    process = start(tmp_path, config, ctrl_c_at_step_20)
    process.join()
    assert process.exitcode == 130
    assert [path.stem for path in RunFolder(tmp_path).saved()] == ["000000020"]
    again = start(tmp_path, config)
    again.join()
    assert contents(tmp_path) == contents(unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_best_model_is_measured(tmp_path: Path, number: signal.Signals) -> None:
    """All steps are done and saved by then; what is left is done by the next one."""
    torch.set_default_dtype(torch.float32)
    data = Blobs.data

    def interrupted(self: Blobs, split: Literal["train", "validation", "test"]) -> Sample:
        if split == "test":
            os.kill(os.getpid(), number)
        return data(self, split)

    before = signal.getsignal(number)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(Interrupted, match="step 30; the run"),
    ):
        patch.setattr(Blobs, "data", interrupted)
        execute(RunFolder(tmp_path), SHORT, progress=False)
    assert signal.getsignal(number) is before
    result = execute(RunFolder(tmp_path), progress=False)
    assert result is not None and result["steps"] == 30 and "test" in result


def ctrl_c_at_step_20() -> None:
    """Sends the process a SIGINT from within step 20, as Ctrl-C would."""
    genuine = Engine.backward
    calls = 0

    def interrupted(self: Engine, *arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return genuine(self, *arguments)

    Engine.backward = interrupted  # pyright: ignore[reportAttributeAccessIssue]
