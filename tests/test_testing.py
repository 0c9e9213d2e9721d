"""`ocnet.testing.check_problem` passes every problem here, and names what is wrong with others."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ocnet import resnet, Sample
from ocnet.catalogue import problems_of
from ocnet.testing import check_problem
from problems.nonlinear import Tanh


PROBLEMS = {spec: kind for spec, kind in problems_of().items() if "images" not in spec}


@pytest.mark.slow
@pytest.mark.parametrize("spec", PROBLEMS)
def test_every_problem_passes(spec: str) -> None:
    check_problem(PROBLEMS[spec](), n_steps=300 if "Hyper" in spec else 30, rtol=0.05)


def test_a_residual_network_passes() -> None:
    problem = resnet(depth=2, widths=(4,)).problem
    problem.sample = lambda n, generator=None: Sample(  # pyright: ignore
        torch.randn(n, 3, 32, 32, generator=generator), torch.arange(n)
    )
    problem.initial_control = lambda n, generator=None: resnet(depth=2, widths=(4,)).control  # pyright: ignore
    check_problem(problem)


def slip(self: Any, x: Tensor, target: Tensor | None) -> Tensor:
    return x


def unseeded(self: Any, batch_size: int, generator: torch.Generator | None = None) -> Sample:
    return Sample(torch.rand(batch_size, 2))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a slip": (dict(terminal_constraints=slip), "terminal_constraints .*did you mean"),
    "mixing": (
        dict(terminal_cost=lambda self, x, target: x[..., 1] - x.mean()),
        "terminal_cost .*mixes the samples",
    ),
    "detached": (
        dict(terminal_cost=lambda self, x, target: x[..., 1] + x[..., 0].detach() ** 2),
        "terminal_cost .*has in row 0 the derivative",
    ),
    "number type": (
        dict(terminal_cost=lambda self, x, target: x[..., 1].double()),
        "terminal_cost .*must return torch.float32",
    ),
    "shape": (
        dict(dynamics=lambda self, t, x, u: u.expand(*x.shape[:-1], 1)),
        r"dynamics .*must return shape \(\*batch, 2\)",
    ),
    "bounds": (dict(control_bounds=(2.0, 1.0)), "control_bounds must leave room"),
    "guess": (dict(final_time_bounds=(2.0, 3.0)), "final_time_bounds must hold the guess"),
    "samples": (dict(sample=unseeded), "sample .*other samples for the same generator"),
    "optimum": (
        dict(optimal_cost=lambda self, x0: x0[..., 0] - 0.5),
        "optimal_cost .* is 0.5, but solve finds 0.76",
    ),
    "root": (
        dict(stage_cost=lambda self, t, x, u, target: u[..., 0].abs().sqrt()),
        "solve says .*stage_cost .*has an infinite derivative",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    members, message = WRONG[name]
    with pytest.raises(AssertionError, match=message):
        check_problem(type("Wrong", (Tanh,), members)(), n_steps=10)
