"""`ocnet compare` and `ocnet solve`: what is run, how often, and what is told."""

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from ocnet import Euler, evaluate
from ocnet.cli import build
from ocnet.run import Job, load_checkpoint, RunFolder


pytestmark = pytest.mark.usefixtures("without_shape_checks")

OWN = '''
from pathlib import Path
import torch
from ocnet import Sample, SupervisedProblem

with (Path(__file__).parent / "count").open("a") as file:
    file.write("x")

class Scalar(SupervisedProblem):
    """`x' = u - x`, from 1; from other states where it is drawn."""
    state_shape = control_shape = (1,)
    depth = 8

    def __init__(self, spread: float = 0.0):
        super().__init__()
        self.spread = spread

    def dynamics(self, t, x, u):
        return u - x

    def stage_cost(self, t, x, u, target):
        return (x.square() + u.square()).sum(-1) / 2

    def terminal_cost(self, x, target):
        return x.square().sum(-1)

    def sample(self, batch_size, generator=None):
        return Sample(1 + self.spread * torch.randn(batch_size, 1, generator=generator))

class Branching(Scalar):
    """Its dynamics look at the time, which the costate recursion cannot record."""
    def dynamics(self, t, x, u):
        return u - x if float(t) < 0.5 else u - 2 * x

class Stuck(Scalar):
    """`x(1) = 3` is out of reach."""
    control_bounds = (-1.0, 1.0)

    def terminal_constraint(self, x, target):
        return x - 3
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    return "own.py"


def ocnet(*arguments: str) -> Result:
    return CliRunner().invoke(build(), list(arguments))


@pytest.mark.parametrize(
    "arguments", [["compare", "--methods", "euler", "--steps", "4"], ["solve", "--steps", "4"]]
)
def test_a_users_file_is_run_once(arguments: list[str], own: str, tmp_path: Path) -> None:
    command, *rest = arguments
    result = ocnet(command, f"{own}:Scalar", *rest)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "count").read_text() == "x"


def test_the_optimum_in_continuous_time_takes_three_depths(own: str) -> None:
    """`x' = u - x` costs p x^2 / 2 in the optimum, with p' = 2 p + p^2 - 1, p(1) = 2."""
    result = ocnet("compare", f"{own}:Scalar", "--methods", "euler,heun", "--steps", "32")
    assert result.exit_code == 0, result.output
    p = torch.tensor(2.0, dtype=torch.float64)
    for _ in range(100_000):
        p = p - 1e-5 * (2 * p + p * p - 1)
    found = re.search(r"J\* \(extrapolated\) +([\d.]+)", result.stdout)
    assert found and float(found[1]) == pytest.approx(p.item() / 2, rel=2e-3)
    for n in (8, 16, 32):
        assert f"optimum with {n} steps" in result.stdout
    assert "gradients by the costate recursion" in result.stderr


def test_what_training_did_not_reach_is_no_optimum(own: str) -> None:
    result = ocnet(
        "compare", f"{own}:Scalar", "--methods", "euler", "--steps", "8", "--iterations", "1"
    )
    assert "stopped before an optimum" in result.stderr and "optimum with" not in result.stdout


def test_two_depths_are_not_enough_for_an_estimate(own: str) -> None:
    result = ocnet("compare", f"{own}:Scalar", "--methods", "euler", "--steps", "6")
    assert "it takes optima at three depths" in result.stdout


def test_where_costates_cannot_be_recorded_backpropagation_trains(own: str) -> None:
    result = ocnet("compare", f"{own}:Branching", "--methods", "euler", "--steps", "4")
    assert result.exit_code == 0 and "gradients by backpropagation" in result.stderr


def test_without_fixed_steps_the_missing_certificate_is_told(own: str, tmp_path: Path) -> None:
    result = ocnet(
        "compare", f"{own}:Scalar", "--methods", "dopri5", "--steps", "4", "--out", "out"
    )
    assert result.exit_code == 0, result.output
    assert "There is no depth certificate" in result.stdout
    assert "There is no depth certificate" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("flag", ["-n", "--steps"])
def test_solve_certifies_whatever_the_steps(flag: str, own: str) -> None:
    result = ocnet("solve", f"{own}:Scalar", flag, "5")
    assert result.exit_code == 0, result.output
    assert "verdict at n = 5" in result.stdout and "behaves like its ODE" in result.stdout


def test_solve_says_why_there_is_no_certificate(own: str, tmp_path: Path) -> None:
    asked = ocnet("solve", f"{own}:Scalar", "-n", "4", "--no-certify")
    assert "There is no certificate: it was not asked for." in asked.stdout
    failed = ocnet("solve", f"{own}:Stuck", "-n", "4", "--out", "out")
    assert failed.exit_code == 1
    assert "There is no certificate of a solution that is infeasible." in failed.stdout
    told = json.loads((tmp_path / "out" / "solution.json").read_text())["verdict"]
    assert "There is no certificate" in told


def test_compare_takes_the_control_of_a_run(own: str, tmp_path: Path) -> None:
    """The best checkpoint of the run is compared; nothing is trained."""
    trained = ocnet(
        "train", f"{own}:Scalar", "--set", "spread=0.5", "--steps", "4", "--out", "run",
        "--iterations", "3", "--batch-size", "8", "--device", "cpu",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    (tmp_path / "count").unlink()
    result = ocnet("compare", "run", "--methods", "euler", "--out", "out", "--seed", "5")
    assert result.exit_code == 0, result.output
    assert "training" not in result.stderr and (tmp_path / "count").read_text() == "x"
    folder = RunFolder(tmp_path / "run")
    job = Job(folder.config())
    state = load_checkpoint(folder.best) if folder.best.exists() else folder.latest()
    assert state is not None
    job.load_model(state.get("job", state))
    sample = job.problem.sample(256, torch.Generator().manual_seed(6))
    with torch.no_grad():
        cost, _ = evaluate(job.problem, job.control, Euler(4), sample)
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert data["rows"][0]["cost"] == pytest.approx(cost.mean().item(), rel=1e-5)
    assert data["certificate"]["samples"] == 256 and data["certificate"]["n"] == 4
    assert {"report.html", "differences.png"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize("flag", ["--set", "--iterations"])
def test_what_trains_does_not_fit_a_run(flag: str, own: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    result = ocnet("compare", "run", flag, "spread=1" if flag == "--set" else "3")
    assert result.exit_code == 2
    assert not (tmp_path / "count").exists()
