"""A study goes on where it stopped, whatever machine, path or process it goes on in."""

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from examples.scaling_paper.classification import grid_study, TrainingSetting
from examples.scaling_paper.studies import DepthStudy
from ocnet import init
from ocnet.scaling import Arrays, measure, Res1, Res3, run_study, Study
from ocnet.scaling.sweep import digest


@dataclass(frozen=True)
class Setting(Study):
    """A study of one setting of any kind."""

    value: Any
    place: Path | None = field(default=None, compare=False)
    seed: int = 0

    def n_chunks(self) -> int:
        return 1

    def compute(self, chunk: int) -> Arrays:
        return {"one": np.ones(1)}

    def axes(self) -> Arrays:
        return {}


def kernel(length: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A kernel without a class of its own."""
    return lambda r: (-((r / length) ** 2)).exp()


def test_figure_9_has_the_same_chunks_on_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    here = grid_study(False, TrainingSetting("mnist", Path("data")))
    # Another spelling of the path, a GPU with any amount of free memory.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**12, 10**12))
    there = grid_study(
        False, TrainingSetting("mnist", tmp_path / "data" / ".." / "data", "cuda", compiled=True)
    )
    assert digest(here) == digest(there)
    assert here.chunks() == there.chunks() and here.n_chunks() == 50
    assert digest(here) != digest(replace(here, depth=999))


def test_a_function_is_its_code_not_its_address() -> None:
    same = [DepthStudy(init.SmoothValues(kernel(0.1)), (5,), (0.5,)) for _ in range(2)]
    assert digest(same[0]) == digest(same[1])
    assert digest(same[0]) != digest(replace(same[0], kind=init.SmoothValues(kernel(0.2))))
    assert digest(Setting(lambda r: r)) != digest(Setting(lambda r: 2 * r))
    assert digest(Setting(functools.partial(max, 1))) == digest(Setting(functools.partial(max, 1)))
    assert digest(Setting(np.float64(0.1))) == digest(Setting(0.1))
    assert digest(Setting(np.arange(3))) != digest(Setting(np.arange(4)))


def test_another_process_finds_the_same_chunks() -> None:
    program = (
        "from examples.scaling_paper.studies import DepthStudy; from ocnet import init\n"
        "from ocnet.scaling.sweep import digest; from ocnet.scaling import power_law\n"
        "print(digest(DepthStudy(init.SmoothValues(lambda r: (-r).exp()), (power_law,), (0.5,))))"
    )
    run = lambda: subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    first, second = run(), run()
    assert first.returncode == 0 and first.stdout == second.stdout != ""


def test_a_setting_that_says_only_its_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="A setting of a study must say what it is.*object"):
        run_study(Setting(object()), tmp_path, progress=False)


def test_a_study_moves_with_its_folder(tmp_path: Path) -> None:
    run_study(Setting(1.0, place=tmp_path / "a"), tmp_path / "chunks", progress=False)
    (file,) = (tmp_path / "chunks").iterdir()
    before = file.stat().st_mtime_ns
    run_study(Setting(1.0, place=tmp_path / "b"), tmp_path / "chunks", progress=False)
    assert file.stat().st_mtime_ns == before


def test_overflow_is_counted_for_each_scaling(generator: torch.Generator) -> None:
    network = Res3(400, kind=init.Repeated(), d=10, n_in=5)
    p = measure(network, [-0.5, 0.5, 1.0], repeats=4, generator=generator, log_domain=False)
    first, second, third = p.overflows
    assert first.forward == 1 and second.forward == third.forward == 0 == third.backward
    assert p.overflow.forward == pytest.approx(1 / 3)
    assert first.layer is not None and third.layer is None
    # One number for each, also where the networks are bounded in one direction only.
    mixed = measure(
        Res1(300, kind=init.Repeated(), d=6, n_in=5), [-1.0], repeats=2, log_domain=False
    )
    assert len(mixed.overflows) == 1 and mixed.overflows[0].forward == 1
