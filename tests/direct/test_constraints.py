"""`solve`: terminal inequalities, derivatives through a path constraint, and the command."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from ocnet import Euler, solve
from ocnet.cli import build
from tests.support.integrators import AtLeast


class Limited(AtLeast):
    """`x' = u`, minimise `int (u - 2)^2` with `a u <= 1`: u = 1/a, cost (1/a - 2)^2."""

    a: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("a", torch.tensor(1.0))

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u[..., 0] - 2) ** 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.a * u - 1

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :0]


def test_terminal_inequality_active_and_not() -> None:
    x0 = torch.tensor([[0.0], [0.5], [2.0]])
    solution = solve(AtLeast().batch(x0), solver=Euler(10))
    assert solution.status == "converged"
    expected = (1 - x0[:, 0]).clamp(min=0)
    torch.testing.assert_close(solution.cost, expected**2, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(solution.u[:, :, 0], expected.expand(10, 3), rtol=1e-4, atol=1e-3)


def test_derivatives_through_an_active_path_constraint() -> None:
    a = torch.tensor([0.8, 1.0, 1.6], requires_grad=True)
    solution = solve(Limited().batch(torch.zeros(3, 1), a=a), solver=Euler(5))
    torch.testing.assert_close(solution.cost, (1 / a - 2) ** 2, rtol=1e-6, atol=1e-8)
    (slope,) = torch.autograd.grad(solution.cost.sum(), a, retain_graph=True)
    torch.testing.assert_close(slope, -2 * (1 / a - 2) / a**2, rtol=1e-4, atol=1e-5)
    (slope,) = torch.autograd.grad(solution.u.mean(0).sum(), a)
    torch.testing.assert_close(slope, -1 / a**2, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_solve_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        build(),
        ["solve", "problems.linear_quadratic:ScalarLQR", "-n", "20", "--out", str(out)],
    )
    assert result.exit_code == 0, result.output
    assert "converged" in result.stdout
    assert {path.name for path in out.iterdir()} >= {
        "report.html",
        "solution.safetensors",
        "solution.json",
    }
    assert json.loads((out / "solution.json").read_text())
    assert re.search(r"J\* \(extrapolated\) +0\.380797", result.stdout), result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--solver", "dopri5"], "'--solver': must be one of euler"),
        (["--method", "newton"], "'--method': must be one of"),
        (["--steps", "0"], "must be at least 1, but got 0"),
    ],
)
def test_solve_command_refuses(arguments: list[str], message: str) -> None:
    spec = "problems.linear_quadratic:ScalarLQR"
    result = CliRunner().invoke(build(), ["solve", spec, *arguments])
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
