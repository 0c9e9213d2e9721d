"""A run goes on to the same end bit by bit, longer if asked, or says why it does not."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ocnet import Sample
from ocnet.origin import sources
from ocnet.run import (
    CheckpointError,
    Config,
    execute,
    FolderInUse,
    Interrupted,
    load_checkpoint,
    RunFolder,
    RunWarning,
    save_checkpoint,
)
from tests.support.blobs import Blobs, Drawn


FILES = ("metrics.csv", "validation.csv", "best.safetensors", "result.json")
BASE = Config.of(
    "", iterations=6, batch_size=8, device="cpu", evaluate_every=2, checkpoint_every=0.0
)

DRAWN = BASE.changed(problem="tests.support.blobs:Drawn", batch_size=200)


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


class Noisy(Drawn):
    """Draws from every kind of generator that a problem can hold, and from numpy's global one.

    Not from Python's global one, which checks of types draw from while the tests run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own = [np.random.default_rng(5), np.random.RandomState(6)]
        self.more = {"python": random.Random(7), "torch": torch.Generator().manual_seed(8)}

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        pcg, twister = self.own
        offsets = [
            np.random.randn(), pcg.normal(), twister.normal(),
            self.more["python"].gauss(0, 1), float(torch.randn((), generator=self.more["torch"])),
            float(torch.randn(())),
        ]  # fmt: skip
        x0 = torch.from_numpy(np.random.rand(batch_size, 2)).float()
        return Sample(x0 + 0.1 * torch.tensor(offsets).sum())


class Philox(Drawn):
    """Another of numpy's generators, whose state holds arrays, as a global name of the module."""

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.from_numpy(PHILOX.random((batch_size, 2))).float())


PHILOX = np.random.Generator(np.random.Philox(3))


class Shuffled(Blobs):
    """Augments by Python's own generator."""

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        order = list(range(len(sample.x0)))
        random.shuffle(order)
        return Sample(sample.x0 + 0.01 * random.random(), sample.target)


def paused(path: Path, config: Config, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupts a run at the end of a step."""
    from ocnet.run import log

    genuine = log.Log.record

    def record(self: log.Log, record: object) -> None:
        genuine(self, record)  # pyright: ignore[reportArgumentType]
        if self.job.step == step:
            os.kill(os.getpid(), signal.SIGHUP)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"SIGHUP at step {step}"):
        patch.setattr(log.Log, "record", record)
        execute(RunFolder(path), config, progress=False)


def same(one: Path, two: Path) -> None:
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_lbfgs_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Its dot products are rounded by where the tensors lie."""
    settings = ["width=7", "dropout=0.0", "norm=False"]
    config = BASE.changed(
        problem="tests.support.blobs:Blobs", settings=settings, optimizer="lbfgs", lr=0.3
    )
    execute(RunFolder(tmp_path / "whole"), config, progress=False)
    paused(tmp_path / "broken", config, step, monkeypatch)
    execute(RunFolder(tmp_path / "broken"), progress=False)
    same(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("kind", [Noisy, Philox, Shuffled])
def test_every_generator_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    config = DRAWN.changed(problem=f"{__name__}:{kind.__name__}", seed=3)
    start = PHILOX.bit_generator.state
    execute(RunFolder(tmp_path / "whole"), config, progress=False)
    PHILOX.bit_generator.state = start
    random.seed(99)
    np.random.seed(99)
    paused(tmp_path / "broken", config, 3, monkeypatch)
    random.seed(98)
    np.random.seed(98)
    PHILOX.bit_generator.state = start
    execute(RunFolder(tmp_path / "broken"), progress=False)
    same(tmp_path / "whole", tmp_path / "broken")


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """A call in another thread, a process of its own, and a new run into the same folder."""
    config = DRAWN
    folder = RunFolder(tmp_path / "run")
    told: list[str] = []

    def second(*arguments: Config) -> None:
        try:
            execute(folder, *arguments, progress=False)
        except (FolderInUse, FileExistsError) as error:
            told.append(str(error))

    def during(job: object) -> None:
        for arguments in ((), (config,)):
            thread = threading.Thread(target=second, args=arguments)
            thread.start()
            thread.join()
        code = "import sys; from ocnet.cli import main; main()"
        other = subprocess.run(
            [sys.executable, "-c", code, "resume", str(folder.path)],
            capture_output=True, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert other.returncode == 1
        told.append(other.stderr)

    execute(folder, config, progress=False, before=during)
    assert len(told) == 3
    assert all(f"{os.getpid()} on" in told[i] for i in (0, 2)), told
    assert f"{folder.path} is in use by process" in told[0]
    assert "is not empty: it holds config.json" in told[1]
    assert len((folder.path / "metrics.csv").read_text().splitlines()) == 1 + 6


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    config = DRAWN
    code = (
        "import os; from ocnet.run import *; from ocnet.run import log\n"
        f"log.Log.record = lambda self, record: os.kill(os.getpid(), 9)\n"
        f"execute(RunFolder({str(tmp_path / 'run')!r}), Config.of(**{config.options()!r}))"
    )
    dead = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert dead.returncode == -signal.SIGKILL
    notes: list[str] = []
    result = execute(RunFolder(tmp_path / "run"), progress=False, note=notes.append)
    assert result is not None and result["steps"] == 6
    assert len(notes) == 1 and "which ended without giving it back" in notes[0]
    # What the owner's file says cannot be trusted; the system's lock can.
    (tmp_path / "run" / ".owner.json").write_text("{")
    execute(RunFolder(tmp_path / "run"), iterations=8, progress=False, note=notes.append)
    assert "in use by another process, which ended" in notes[1]


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    state = {"x": torch.arange(40.0), "n": torch.tensor(3), "b": torch.tensor([True]), "lr": 0.25}
    save_checkpoint(path, state)
    whole = path.read_bytes()
    for position in range(8, len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            back = load_checkpoint(path)
        except CheckpointError:
            continue
        # Only blanks of the header say nothing.
        assert all(torch.equal(back[k], state[k]) for k in ("x", "n", "b")), position
        assert back["lr"] == 0.25, position


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a flipped bit, by lost bytes, and by zeros as a crash of the machine may leave them."""
    config = BASE.changed(problem="tests.support.blobs:Blobs")
    execute(RunFolder(tmp_path / "whole"), config, progress=False)
    for name, damage in {
        "bit": lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        "end": lambda content: content[:-100],
        "zeros": lambda content: bytes(len(content)),
    }.items():
        run = tmp_path / name
        paused(run, config, 4, monkeypatch)
        last = RunFolder(run).saved()[-1]
        last.write_bytes(damage(last.read_bytes()))
        with pytest.warns(RunWarning, match="000000004.safetensors .* goes on from step 3"):
            execute(RunFolder(run), progress=False)
        same(run, tmp_path / "whole")
    run = tmp_path / "bit"
    for path in RunFolder(run).saved():
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="There is no other checkpoint"):
        RunFolder(run).latest(note=print)


OWN = """
import torch
from helpers_of_own import SCALE
from ocnet import Sample, SupervisedProblem

class Own(SupervisedProblem):
    state_shape = control_shape = (1,)
    depth = 3
    def dynamics(self, t, x, u):
        return SCALE * u + 0 * x
    def stage_cost(self, t, x, u, target):
        return 1.0 * x[..., 0] ** 2 + u[..., 0] ** 2
    def sample(self, batch_size, generator=None):
        return Sample(torch.ones(batch_size, 1))
    def data(self, split):
        x0 = torch.tensor([float(z) for z in open(DATA).read().split()])
        return Sample(x0[:, None])
"""


def resumed(run: Path, cwd: Path, *options: str) -> tuple[int, str]:
    """`ocnet resume` in a process of its own, which reads the sources anew."""
    command = [sys.executable, "-m", "ocnet", "resume", str(run), *options]
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(cwd)])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.slow
def test_what_changed_is_refused_or_told(tmp_path: Path) -> None:
    own, helper, data = (tmp_path / n for n in ("own.py", "helpers_of_own.py", "data.txt"))
    texts = {
        own: OWN.replace("DATA", repr(str(data))), helper: "import math\nSCALE = 1.0\n",
        data: "1 2 3 4",
    }  # fmt: skip
    for path, text in texts.items():
        path.write_text(text)
    run = tmp_path / "run"
    config = BASE.changed(problem=f"{own}:Own", batch_size=2, epochs=3, iterations=None)
    RunFolder(run).create(config, {})
    assert resumed(run, tmp_path)[0] == 0
    config_json = (run / "config.json").read_text()
    changes = {
        own: (texts[own].replace("1.0 * x", "9.0 * x"), "the source of own is not what"),
        helper: ("import math\nSCALE = 2.0\n", "the source of helpers_of_own is not what"),
        data: ("1 2 3 5", "the training data are not what"),
        run / "config.json": (
            config_json.replace('"lr": null', '"lr": 0.5'), "lr is 0.5 in config.json and was None",
        ),
    }  # fmt: skip
    for path, (text, line) in changes.items():
        before = path.read_text()
        path.write_text(text)
        code, told = resumed(run, tmp_path, "--epochs", "5")
        assert code == 1 and line in told and "--accept-changes" in told, told
        path.write_text(before)
    (run / "config.json").write_text(changes[run / "config.json"][0])
    code, told = resumed(run, tmp_path, "--epochs", "5", "--accept-changes")
    assert code == 0 and "goes on with changes: lr is 0.5" in told, told
    # It is used, and not only printed.
    rows = (run / "metrics.csv").read_text().splitlines()
    assert rows[-1].split(",")[2] == "0.5" and len(rows) == 1 + 10


def test_other_versions_and_threads_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DRAWN
    for step, (name, value, line) in enumerate(
        [
            ("threads", 77, r"the number of threads is \d+ and was 77"),
            ("versions", {"torch": "1.0"}, r"the version of torch is \S+ and was 1.0"),
            ("library", "other", "the source of ocnet is"),
        ],
        2,
    ):
        run = tmp_path / name
        paused(run, config, step, monkeypatch)
        path = RunFolder(run).saved()[-1]
        state = load_checkpoint(path)
        state["origin"][name] = value
        save_checkpoint(path, state)
        with pytest.warns(RunWarning, match=line):
            execute(RunFolder(run), progress=False)
        noted = json.loads((run / "provenance.json").read_text())
        assert noted["since"][0]["step"] == step


@pytest.mark.parametrize("kind", ["Blobs", "Drawn"])
def test_a_run_that_is_done_goes_on(tmp_path: Path, kind: str) -> None:
    """With a constant rate as if it had been longer from the start."""
    length = {"epochs": 2, "iterations": None} if kind == "Blobs" else {"iterations": 5}
    longer: dict[str, Any] = {"epochs": 4} if kind == "Blobs" else {"iterations": 10}
    # A run validates at its end, too.
    every = 2 if kind == "Blobs" else 5
    config = BASE.changed(
        problem=f"tests.support.blobs:{kind}", evaluate_every=every, batch_size=20, **length
    )
    run = RunFolder(tmp_path / "run")
    execute(run, config, progress=False)
    execute(run, progress=False, **longer)
    execute(RunFolder(tmp_path / "whole"), config.changed(**longer), progress=False)
    same(tmp_path / "run", tmp_path / "whole")
    assert run.config() == RunFolder(tmp_path / "whole").config()
    with pytest.raises(ValueError, match="more than the 2 that are asked for"):
        execute(run, iterations=2, progress=False)


def test_a_longer_run_follows_the_longer_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cosine and steps, also where the longer run is interrupted; patience begins anew."""
    for schedule in ("cosine", "step"):
        config = DRAWN.changed(schedule=schedule)
        short, long = RunFolder(tmp_path / schedule), RunFolder(tmp_path / f"{schedule}-long")
        execute(short, config, progress=False)
        execute(long, config.changed(iterations=12), progress=False)
        execute(short, iterations=12, progress=False)
        here, there = (f.metrics.read_text().splitlines()[7:] for f in (short, long))
        assert len(here) == 6
        assert [row.split(",")[2] for row in here] == [row.split(",")[2] for row in there]
    config = DRAWN.changed(patience=1, lr=1e-30)
    run = RunFolder(tmp_path / "patient")
    first = execute(run, config, progress=False)
    again = execute(run, iterations=20, progress=False)
    assert first is not None and again is not None and first["steps"] < again["steps"]


class Kink(Drawn):
    """A finite cost without a derivative where the control is zero, in its third batch."""

    calls = 0

    def stage_cost(
        self, t: torch.Tensor, x: torch.Tensor, u: torch.Tensor, target: torch.Tensor | None
    ) -> torch.Tensor:
        late = self.step_of() >= 2
        bad = (0.0 * u.sum()).square().sqrt() if late else 0.0
        return x.square().sum(-1) + bad

    def step_of(self) -> int:
        return self.calls

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        if batch_size == 200:
            self.calls += 1
        return super().sample(batch_size, generator)


def test_a_gradient_that_is_not_finite_saves_nothing(tmp_path: Path) -> None:
    from ocnet import NonFiniteCost

    config = DRAWN.changed(problem=f"{__name__}:Kink")
    run = RunFolder(tmp_path / "run")
    with pytest.raises(NonFiniteCost, match="Non-finite gradient of 1 of 1 parameters at step 1"):
        execute(run, config, progress=False)
    for path in (run.saved()[-1], run.path / "failure.safetensors"):
        state = load_checkpoint(path)
        control = state["job"]["control"] if "job" in state else state["last_good"]["control"]
        assert all(z.isfinite().all() for z in control.values())


def test_execute_works_outside_the_main_thread(tmp_path: Path) -> None:
    config = DRAWN
    found: list[object] = []

    def work() -> None:
        found.append(execute(RunFolder(tmp_path / "thread"), config, progress=False))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    execute(RunFolder(tmp_path / "main"), config, progress=False)
    assert len(found) == 1
    same(tmp_path / "thread", tmp_path / "main")


def test_an_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    """As nohup asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        config = DRAWN
        during = lambda job: os.kill(os.getpid(), signal.SIGHUP)
        from ocnet.run import log

        genuine = log.Log.record
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log.Log, "record", lambda self, r: (during(0), genuine(self, r))[1])
            result = execute(RunFolder(tmp_path), config, progress=False)
        assert result is not None and result["steps"] == 6
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["libc10", "libtorch_python", "matplotlib"])
def test_an_early_interrupt_prints_no_traceback(tmp_path: Path, library: str) -> None:
    """As soon as a library is in memory: early, in the middle and late while importing."""
    command = [sys.executable, "-m", "ocnet", "train", "tests.support.blobs:Blobs"]
    command += ["--epochs", "100000", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True
    )
    while library not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None, "it ended before the library was there"
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert "Traceback" not in errors and not re.search(r"File \"", errors), errors
    assert process.returncode == 130


def test_the_files_of_a_package_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constants by a relative import, by a module's name, and by an import inside a function."""
    package = tmp_path / "followed_package"
    package.mkdir()
    files = {
        "__init__": "", "one": "ONE = 1\n", "two": "TWO = 2\n", "three": "THREE = 3\n",
        "problem": "from .one import ONE\nfrom . import two\nimport json\n"
        "class Kind:\n    def f(self):\n        import followed_package.three\n",
    }  # fmt: skip
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    importlib.import_module("followed_package.three")
    kind = importlib.import_module("followed_package.problem").Kind
    found = {name.rpartition(".")[2] for name in sources(kind)}
    assert found >= {"one", "two", "three", "problem"} and "json" not in found
