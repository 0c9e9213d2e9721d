"""A second run with the same seed gives the same bits."""

import pytest
import torch
from torch import nn

from ocnet import (
    Checkpoint,
    Costate,
    Euler,
    Solver,
    TorchDiffEq,
    train,
)
from problems.digits import Digits
from problems.learning import Spirals


def trained(make: type[Digits] | type[Spirals], solver: Solver, seed: int) -> list[nn.Parameter]:
    """All parameters after a few steps."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    problem = make(width=6)
    control = problem.initial_control(4, generator)
    parameters = [*control.parameters(), *problem.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    train(
        problem, control, solver, optimizer, n_steps=3, batch_size=8, generator=generator,
        progress=False,
    )  # fmt: skip
    return parameters


@pytest.mark.parametrize("make", [Digits, Spirals])
@pytest.mark.parametrize(
    "solver",
    [
        Euler(4),
        Euler(4, gradient=Costate()),
        Euler(4, gradient=Checkpoint()),
        TorchDiffEq(rtol=1e-4),
    ],
    ids=repr,
)
def test_same_seed_same_bits(make: type[Digits] | type[Spirals], solver: Solver) -> None:
    first, again, other = (trained(make, solver, seed) for seed in (1, 1, 2))
    assert all(torch.equal(p, q) for p, q in zip(first, again, strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(first, other, strict=True))
