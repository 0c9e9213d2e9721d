"""The command line: what it prints, where it writes, its exit codes and its errors."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ocnet.cli import build


OWN = '''
"""A problem of a user's own."""
import torch
from ocnet import SupervisedProblem, Problem, Sample

class Decay(SupervisedProblem):
    """Brake."""
    state_shape = (1,)
    control_shape = (1,)
    depth = 4

    def __init__(self, weight: float = 1.0):
        super().__init__()
        if weight <= 0:
            raise ValueError(f"Must have weight > 0, but got {weight=}.")
        self.weight = weight

    def dynamics(self, t, x, u):
        return -x + u

    def stage_cost(self, t, x, u, target):
        return self.weight * (x[..., 0] ** 2 + u[..., 0] ** 2)

    def sample(self, batch_size, generator=None):
        return Sample(torch.ones(batch_size, 1))

class Explodes(Decay):
    def dynamics(self, t, x, u):
        return 1e200 * (x + u) ** 3

class Half:
    pass

class Unfinished(Problem):
    def dynamics(self, t, x, u):
        return x
'''


def ocnet(*arguments: str) -> Result:
    return CliRunner().invoke(build(), list(arguments))


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


def test_problems() -> None:
    result = ocnet("problems")
    assert result.exit_code == 0
    assert re.search(r"linear_quadratic:ScalarLQR +0\.380797078", result.stdout)
    assert "problems.digits:Digits" in result.stdout


@pytest.mark.slow
def test_compare_a_problem_of_ones_own(own: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = ocnet(
        "compare", f"{own}:Decay", "--steps", "8", "--set", "weight=2.0", "--methods",
        "euler,rk4,dopri5,torchdiffeq:rk4", "--out", str(out), "--seed", "3", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Euler(8)" in result.stdout and "J_ODE(u)" in result.stdout
    assert {path.name for path in out.iterdir()} == {
        "report.html", "comparison.json", "trajectories.png", "control.png",
        "work_precision.png", "differences.png", "training.png",
    }  # fmt: skip
    data = json.loads((out / "comparison.json").read_text())
    assert data["certificate"]["n"] == 8 and data["certificate"]["optima"]["steps"] == [2, 4, 8]
    assert data["provenance"]["seed"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"own.py", "out"}

    again = ocnet("compare", f"{own}:Decay", "--out", str(out))
    assert again.exit_code == 2
    assert "not empty" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nonsense"], 2, "SPEC must be module:Class"),
        (["nosuch.module:Class"], 2, "no module 'nosuch.module'"),
        (["problems.digits:Digit"], 2, "no class 'Digit'; its problems are: Digits"),
        (["{own}:Half"], 2, "is not an ocnet.Problem"),
        (["{own}:Unfinished"], 2, "Unfinished must implement: sample"),
        (["missing.py:Decay"], 2, "There is no file 'missing.py'"),
        (["{own}:Decay", "--set", "wait=1"], 2, "no argument 'wait', only: weight"),
        (["{own}:Decay", "--set", "weight"], 2, "must be key=value"),
        (["{own}:Decay", "--set", "weight=-1"], 2, "weight > 0"),
        (
            ["problems.double_integrator:MinEnergy"],
            2,
            r"constraints \(terminal_constraint\).*ocnet solve",
        ),
        (["{own}:Decay", "--steps", "0"], 2, "--steps.* at least 1, but got 0"),
        (["{own}:Decay", "--methods", "euler,rk5"], 2, "'rk5'"),
        (["{own}:Decay", "--rtol", "0"], 2, "--rtol.* > 0 and < 1, but got 0.0"),
        (["{own}:Decay", "--device", "tpu9"], 2, "--device.* but got 'tpu9'"),
        (["{own}:Decay", "--dtype", "int8"], 2, "'int8'"),
        (["{own}:Decay", "--open"], 2, "--out"),
        (["{own}:Decay", "--out", "{own}"], 2, "not empty"),
        (["{own}:Explodes"], 1, r"Non-finite cost .* at step 0, the state first at layer"),
    ],
)
def test_bad_input(arguments: list[str], code: int, message: str, own: str) -> None:
    result = ocnet("compare", *[argument.format(own=own) for argument in arguments])
    told = " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())
    assert result.exit_code == code, told
    assert re.search(message, told), told
    assert "Traceback" not in result.output
