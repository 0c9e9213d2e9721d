"""A problem that is an object has a run folder, and goes on exactly from Python."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ocnet import Sample
from ocnet.cli import build
from ocnet.run import Changed, Config, ConfigError, execute, Interrupted, RunFolder
from problems.double_integrator import BrysonDenham
from tests.support.blobs import Blobs, Drawn


FILES = ("metrics.csv", "validation.csv", "best.safetensors", "result.json")


class Own(Blobs):
    """Parameters that are drawn by hand, plain values, and a tensor that is not a buffer."""

    def __init__(self, scale: float = 1.0, dropout: float = 0.2):
        super().__init__(dropout=dropout)
        self.scale = scale
        self.shift = torch.full((2,), 0.25)
        self.stop_at = -1

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        x0, target = super().augment(sample, generator)
        return Sample(self.scale * x0 + self.shift.to(x0), target)


class Struck(Own):
    """Is interrupted when its head has computed a number of steps."""

    left = 10**9

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return super().sample(batch_size, generator)

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        type(self).left -= 1
        if type(self).left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().augment(sample, generator)


def made(**options: float) -> Struck:
    torch.manual_seed(5)
    return Struck(**options)


def config(**options: Any) -> Config:
    return Config.of(
        "", iterations=7, batch_size=8, device="cpu", evaluate_every=2, schedule="cosine",
        ema=0.9, **options,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("step", [1, 4])
def test_an_object_goes_on_bit_by_bit(
    tmp_path: Path, step: int, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lr = 0.3 if optimizer == "lbfgs" else None
    options = config(optimizer=optimizer, lr=lr)
    problem = made(dropout=0.0)
    whole = execute(RunFolder(tmp_path / "whole"), options, problem=problem, progress=False)
    broken = RunFolder(tmp_path / "broken")
    monkeypatch.setattr(Struck, "left", step)
    with pytest.raises(Interrupted, match=f"SIGTERM at step {step}"):
        execute(broken, options, problem=made(dropout=0.0), progress=False)
    # Another object, whose own values do not matter: they come from the folder.
    torch.manual_seed(99)
    again = Struck(dropout=0.0)
    assert execute(broken, problem=again, progress=False) == whole
    for name in FILES:
        assert (tmp_path / "whole" / name).read_bytes() == (broken.path / name).read_bytes(), name
    for a, b in zip(problem.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "change, line",
    [
        ({"scale": 2.0}, "problem.scale is 2.0 and was 1.0"),
        ({"dropout": 0.5}, "problem.dropout is 0.5 and was 0.2"),
        ({"shift": torch.zeros(2)}, "problem.shift is .* and was"),
    ],
)
def test_an_object_that_is_another_is_refused(
    tmp_path: Path, change: dict[str, float], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    monkeypatch.setattr(Struck, "left", 3)
    with pytest.raises(Interrupted):
        execute(folder, config(), problem=made(), progress=False)
    other = made()
    for name, value in change.items():
        setattr(other, name, value)
    with pytest.raises(Changed, match=line):
        execute(folder, problem=other, progress=False)
    with pytest.warns(UserWarning, match=line):
        execute(folder, problem=other, progress=False, accept_changes=True)
    assert folder.measures() is not None


def test_what_does_not_fit_is_told_in_one_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    named = Config.of("tests.support.blobs:Blobs", iterations=1, device="cpu")
    with pytest.raises(ConfigError, match="names the problem 'tests.support.blobs:Blobs', but an"):
        execute(folder, named, problem=Drawn(), progress=False)
    with pytest.raises(ConfigError, match="go on from Python, by execute"):
        execute(folder, config(), progress=False)
    with pytest.raises(TypeError, match="problem must be a Problem"):
        execute(folder, config(), problem=3, progress=False)  # pyright: ignore
    with pytest.raises(ConfigError, match="BrysonDenham has constraints .*ocnet solve"):
        execute(folder, config(), problem=BrysonDenham(), progress=False)
    assert not folder.path.exists()


def test_the_shell_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    monkeypatch.setattr(Struck, "left", 2)
    with pytest.raises(Interrupted):
        execute(folder, config(), problem=made(), progress=False)
    found = CliRunner().invoke(build(), ["resume", str(folder.path)])
    assert found.exit_code == 1 and "go on from Python" in " ".join(found.output.split())


def test_a_problem_without_data_is_made_longer(tmp_path: Path) -> None:
    options = Config.of("", iterations=3, batch_size=8, device="cpu", steps=4)
    whole = execute(
        RunFolder(tmp_path / "a"), options.changed(iterations=5), problem=Drawn(), progress=False
    )
    folder = RunFolder(tmp_path / "b")
    execute(folder, options, problem=Drawn(), progress=False)
    assert execute(folder, problem=Drawn(), iterations=5, progress=False) == whole
