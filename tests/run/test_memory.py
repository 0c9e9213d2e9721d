"""The memory that is predicted, against what processes really take."""

import dataclasses
import gc
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ocnet import TorchDiffEq
from ocnet.analysis.memory import advice, expected_memory, LiveMemory, Memory, peak, size
from ocnet.learning import training
from ocnet.run import Config, execute, Job, run_job, RunFolder
from tests.support.blobs import Blobs


def job(depth: int, gradient: str = "backprop", batch: int = 64) -> Job:
    config = Config.of("", steps=depth, batch_size=batch, gradient=gradient, device="cpu")
    return Job(config, Blobs(n=batch, width=32, dropout=0.0, norm=False))


def test_activations_are_counted() -> None:
    """A layer keeps two states for the backward pass: its input, and the output of its tanh."""
    shallow, deep = (peak(built, built.solver, 64) for built in (job(20), job(40)))
    state = 64 * 32 * 8
    assert (deep - shallow) / 20 == pytest.approx(2 * state, rel=0.01)


@pytest.mark.slow
def test_recomputing_takes_the_square_root() -> None:
    def growth(gradient: str) -> float:
        # So many samples that their states take more than the parameters.
        jobs = (job(n, gradient, batch=1024) for n in (36, 144))
        shallow, deep = (expected_memory(one).activations for one in jobs)
        return deep / shallow

    assert growth("backprop") == pytest.approx(4, rel=0.15)
    assert growth("checkpoint") == pytest.approx(2, rel=0.3)
    assert growth("reversible") == pytest.approx(1, rel=0.1)


def test_what_cannot_be_had_is_no_advice() -> None:
    """Dropout draws random numbers, which the reversible scheme could not repeat."""
    config = Config.of("", steps=30, batch_size=64, device="cpu")
    built = Job(config, Blobs(n=64, width=32, dropout=0.5))
    plenty = dataclasses.replace(expected_memory(built), available=10**9)
    assert not any("reversible" in way for way in advice(built, plenty))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lbfgs"])
def test_what_an_optimizer_holds_is_counted(optimizer: str) -> None:
    """Against all tensors that live at a time during steps, of a batch that takes little."""
    lr = 0.3 if optimizer == "lbfgs" else None
    config = Config.of("", steps=3, batch_size=8, optimizer=optimizer, lr=lr, device="cpu")
    built = Job(config, Blobs(n=64, width=128, dropout=0.0, norm=False, noise=0.0))
    memory = expected_memory(built)
    for group in built.optimizer.param_groups:
        # It must not stop before it has all the pairs that it keeps.
        group.update({name: 0 for name in ("tolerance_grad", "tolerance_change") if name in group})
    steps = training(built.problem, built.control, built.solver, built.optimizer, built.batches)
    with LiveMemory() as live:
        list(itertools.islice(steps, 4))
    held = live.peak + sum(p.nbytes for p in built.parameters)
    assert memory.total == pytest.approx(held, rel=0.02)


def test_the_history_of_lbfgs_is_its_own() -> None:
    built = job(3)
    found = []
    for history in (5, 30):
        built.optimizer = torch.optim.LBFGS(built.parameters, history_size=history)
        found.append(expected_memory(built).optimizer)
    one = sum(p.nbytes for p in built.parameters)
    assert found == [12 * one, 62 * one]


@pytest.mark.slow
def test_advice_is_what_fits() -> None:
    built = job(100, batch=1024)
    memory = expected_memory(built)
    tight = dataclasses.replace(memory, available=memory.fixed + memory.activations // 3)
    assert memory.fits and not tight.fits
    checkpoint, reversible, accumulate = advice(built, tight)
    assert checkpoint.startswith("--gradient checkpoint takes")
    assert reversible.startswith("--gradient reversible takes")
    assert reversible.endswith("by another scheme of the same order")
    assert accumulate.startswith("--accumulate 3 takes")
    shallow = job(3)
    shallow.solver = TorchDiffEq("euler", 3)
    plenty = dataclasses.replace(memory, available=10**9)
    assert advice(shallow, plenty)[0].startswith("--gradient adjoint takes")
    assert advice(built, dataclasses.replace(memory, available=0)) == []


def test_looking_changes_nothing(tmp_path: Path) -> None:
    config = Config.of("tests.support.blobs:Blobs", epochs=2, batch_size=8, device="cpu")
    for name, before in (("a", None), ("b", lambda job: advice(job, expected_memory(job)))):
        execute(RunFolder(tmp_path / name), config, progress=False, before=before)
    assert (tmp_path / "a/metrics.csv").read_bytes() == (tmp_path / "b/metrics.csv").read_bytes()


def test_sizes_are_readable() -> None:
    assert [size(n) for n in (0, 999, 1500, 10**9)] == ["0 B", "999 B", "1.5 kB", "1 GB"]
    text = str(Memory(1000, 2000, 3000, 10**6, 5, None))
    assert (
        text
        == "1.01 MB: 1 MB for 5 samples at a time, 6 kB for parameters, gradients and optimiser"
    )


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux counts for us")
def test_a_real_process_takes_what_was_predicted(tmp_path: Path) -> None:
    """With an allocator that gives back what is freed; holes that others leave come on top."""
    path = tmp_path / "memory.json"
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-m", "tests.support.step_memory", path],
        cwd=root,
        env=environment,
        check=True,
    )
    predicted, grown = json.loads(path.read_text())
    assert predicted > 200e6
    assert grown == pytest.approx(predicted, rel=0.15)


@pytest.mark.slow
def test_memory_stays_flat_over_a_thousand_epochs(tmp_path: Path) -> None:
    """After the first hundred of them nothing is kept: no tensor, no file, no object."""
    torch.set_default_dtype(torch.float32)
    counts = []

    class Counting(Blobs):
        calls = 0

        def data(self, split):  # noqa: ANN001, ANN202
            return self.sample(4, torch.Generator().manual_seed(1))

        def augment(self, sample, generator=None):  # noqa: ANN001, ANN202
            self.calls += 1
            if self.calls in (101, 1000):
                gc.collect()
                tensors = sum(issubclass(type(z), torch.Tensor) for z in gc.get_objects())
                counts.append((tensors, len(os.listdir("/proc/self/fd"))))
            return sample

    config = Config.of(
        "", epochs=1000, batch_size=4, evaluate_every=10, checkpoint_every=0.2, device="cpu"
    )
    folder = RunFolder(tmp_path)
    folder.create(config, {})
    run_job(Job(config, Counting()), folder, progress=False)
    (tensors, files), (more_tensors, more_files) = counts
    assert more_tensors <= tensors and more_files <= files
