"""Cost objects: their formulas by hand, their algebra, how a problem takes them."""

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    ControlEnergy,
    PredictionLoss,
    Problem,
    Quadratic,
    Sample,
    TerminalLoss,
    TerminalQuadratic,
)


t = torch.tensor(0.0).double()
x, u = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([3.0]).double()
Q, R = torch.tensor([[2.0, 0.0], [0.0, 4.0]]).double(), torch.tensor([[10.0]]).double()


def squared(prediction: Tensor, target: Tensor | None) -> Tensor:
    assert target is not None
    return (prediction - target) ** 2


def test_by_hand() -> None:
    # (2 * 1 + 4 * 4) / 2 = 9 and 10 * 9 / 2 = 45.
    assert Quadratic(Q, R)(t, x, u).item() == 54
    # (2 * 0 + 4 * 1) / 2 = 2.
    assert Quadratic(Q, R, x_ref=torch.tensor([1.0, 1.0]))(t, x, 0 * u).item() == 2
    assert TerminalQuadratic(Q)(x).item() == 9
    assert ControlEnergy()(t, x, u).item() == 4.5
    assert ControlEnergy(ndim=2)(t, x, torch.ones(7, 2, 3)).tolist() == [3.0] * 7
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, 1.0)
    assert ControlEnergy()(t, x, layer).item() == (4 * 4 + 2) / 2
    loss = PredictionLoss(lambda x: x[..., 0], squared)
    assert loss(t, x, u, torch.tensor([3.0])).item() == 4
    assert TerminalLoss(lambda x: x[..., 1], squared)(x, torch.tensor([3.0])).item() == 1


def test_sums_and_multiples() -> None:
    cost = 0.5 * Quadratic(Q, R) + 2 * (ControlEnergy() + 3 * ControlEnergy())
    assert cost(t, x, u).item() == 0.5 * 54 + 2 * (4.5 + 13.5)
    terminal = 2 * TerminalQuadratic(Q) + TerminalQuadratic(Q)
    assert terminal(x).item() == 27


def test_what_does_not_add() -> None:
    with pytest.raises(TypeError, match="do not add.*Quadratic, TerminalQuadratic"):
        _ = Quadratic(Q, R) + TerminalQuadratic(Q)
    with pytest.raises(TypeError, match="str"):
        _ = "2" * ControlEnergy()  # pyright: ignore
    with pytest.raises(TypeError, match="float"):
        _ = ControlEnergy() + 1.0  # pyright: ignore
    with pytest.raises(ValueError, match=r"Q must be a square matrix.*\(1, 2\)"):
        Quadratic(Q[:1], R)


def test_a_problem_takes_cost_objects() -> None:
    class Point(Problem):
        state_shape = (2,)
        control_shape = (1,)

        def __init__(self) -> None:
            super().__init__()
            self.stage_cost = Quadratic(Q, R)
            self.terminal_cost = 0.5 * TerminalQuadratic(Q)

        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x

        def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
            return Sample(torch.zeros(batch_size, 2))

    problem = Point().float()
    assert problem.has_stage_cost
    assert problem.stage_cost(t, x.float(), u.float(), None).item() == 54
    assert problem.terminal_cost(x.float(), None).item() == 4.5
    assert problem.state_dict()["stage_cost.Q"].dtype == torch.float32


def test_costs_are_zero_by_default() -> None:
    class Free(Problem):
        state_shape = (2,)

        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return x

        def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
            return Sample(torch.zeros(batch_size, 2))

    problem = Free()
    assert not problem.has_stage_cost
    assert problem.stage_cost(t, x, u, None).tolist() == [0.0]
    assert problem.terminal_cost(x, None).tolist() == [0.0]
