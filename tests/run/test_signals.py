"""Signals inside one process: the first lets the step end and saves, the second ends it at once."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ocnet import Problem, Sample
from ocnet.run import Config, Interrupted, Job, run_job, RunFolder


class Struck(Problem):
    """`x' = u`, which sends its own process some signals in the third step."""

    state_shape = control_shape = (1,)

    def __init__(self, numbers: tuple[int, ...]):
        super().__init__()
        self.numbers, self.drawn = numbers, 0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u + 0 * x

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 0].square()

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        self.drawn += batch_size == 3
        if self.drawn == 3:
            for number in self.numbers:
                os.kill(os.getpid(), number)
        return Sample(torch.ones(batch_size, 1))


def broken_off(path: Path, *numbers: int) -> RunFolder:
    """The folder of a run that such signals end."""
    folder = RunFolder(path)
    config = Config.of("tests.run.test_signals:Struck", iterations=9, batch_size=3, steps=2)
    folder.create(config, {})
    run_job(Job(config, Struck(numbers)), folder, progress=False)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_saves_after_the_step(tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as caught:
        broken_off(tmp_path, number)
    assert (caught.value.step, caught.value.exit_code) == (3, 128 + number)
    assert [int(path.stem) for path in RunFolder(tmp_path).saved()] == [3]
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 3


def test_the_second_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        broken_off(tmp_path, signal.SIGINT, signal.SIGINT)
    assert not isinstance(caught.value, Interrupted)
    assert not RunFolder(tmp_path).saved()
