"""Nothing is assumed about how the user's functions read the time."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, Sample
from ocnet.direct import solve
from ocnet.direct.compiled import build


BACKENDS = [
    pytest.param(
        None, marks=pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")
    ),
    False,
]
"""Machine code where the problem can be compiled, and torch."""

PRICES = [5.0 if 17 <= hour < 20 else 1.0 for hour in range(25)]
TABLE = torch.tensor(PRICES, dtype=torch.float64)

TARIFFS: dict[str, Callable[[Tensor], Tensor]] = {
    "lookup": lambda t: TABLE[(t + 1e-9).floor().long()],
    "float": lambda t: TABLE[0] * PRICES[int(float(t) + 1e-9)],
    "int": lambda t: TABLE[int(t + 1e-9)],
    "item": lambda t: TABLE.new_tensor(5.0 if 17 - 1e-9 < t.item() < 20 - 1e-9 else 1.0),
    "branch": lambda t: TABLE[17] if t > 17 - 1e-9 and t < 20 - 1e-9 else TABLE[0],
    "numpy": lambda t: TABLE.new_tensor(np.interp(t.numpy(), np.arange(25), PRICES)),
    "list": lambda t: TABLE[[round(v) for v in t.reshape(1).tolist()][0]],
    "text": lambda t: TABLE[int(f"{t:.0f}")],
    "math": lambda t: TABLE[math.floor(t + 1e-9)],
    "constant": lambda t: TABLE[torch.tensor(float(t) + 1e-9).long()],
    "search": lambda t: TABLE[torch.bucketize(t + 1e-9, torch.arange(1.0, 25.0).to(t))],
    "where": lambda t: torch.where((t > 16.5) & (t < 19.5), 5.0, 1.0),
    "detached": lambda t: TABLE[t.detach().add(1e-9).floor().long()],
}


class Charging(Problem):
    """24 units in 24 hours at least cost, `min int p(t) u^2 dt` with `p = 5` from 17 to 20.

    `p u` is constant, so `u = 24 / (p int 1/p)`, and the cost is `24^2 / int 1/p = 576 / 21.6`.
    """

    t1 = 24.0
    state_shape = (1,)
    control_shape = (1,)

    def __init__(self, tariff: Callable[[Tensor], Tensor]):
        super().__init__()
        self.tariff = tariff

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return self.tariff(t) * (u**2).sum(-1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 24

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1, dtype=torch.float64))


@pytest.mark.parametrize("compiled", BACKENDS)
@pytest.mark.parametrize("name", TARIFFS)
def test_no_price_is_frozen_however_the_time_is_read(name: str, compiled: bool | None) -> None:
    found = solve(Charging(TARIFFS[name]), solver=Euler(24), compile=compiled)
    assert found.status == "converged", found.reason
    torch.testing.assert_close(float(found.cost), 576 / 21.6)


class Gusts(Charging):
    """`x' = u + w(t)` with a wind at noon: `int u^2` for `x(24) = 24` is `(24 - 12)^2 / 24`."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u + (4.0 if 12 - 1e-9 < float(t) < 15 - 1e-9 else 0.0)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)


class Curfew(Charging):
    """No charging from 12 to 14, by a path constraint: `24^2 / 22`."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u - (0.0 if int(t + 1e-9) in (12, 13) else 100.0)


@pytest.mark.parametrize("compiled", BACKENDS)
@pytest.mark.parametrize(("problem", "cost"), [(Gusts, 6.0), (Curfew, 576 / 22)])
def test_the_time_may_be_read_by_every_function(
    problem: type[Charging], cost: float, compiled: bool | None
) -> None:
    found = solve(problem(TARIFFS["where"]), solver=Euler(24), compile=compiled)
    assert found.status == "converged", found.reason
    torch.testing.assert_close(float(found.cost), cost, rtol=1e-6, atol=0)


@pytest.mark.parametrize("compiled", BACKENDS)
def test_each_instance_has_its_time_where_it_is_read_step_by_step(compiled: bool | None) -> None:
    x0 = torch.tensor([[0.0], [12.0]], dtype=torch.float64)
    found = solve(Charging(TARIFFS["float"]).batch(x0), solver=Euler(24), compile=compiled)
    assert found.status == "converged", found.reason
    torch.testing.assert_close(found.cost, torch.tensor([576, 144], dtype=torch.float64) / 21.6)


def test_a_free_final_time_that_is_read_as_a_number_is_refused() -> None:
    problem = Charging(TARIFFS["float"])
    problem.final_time_bounds = (20.0, 30.0)
    with pytest.raises(ValueError, match="Charging's final time is free.*t as a tensor"):
        solve(problem, solver=Euler(24))


class Sitting(Charging):
    """A cost that no formula can be made of, and that does not read the time."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u.sort(-1).values ** 2).sum(-1)


def test_what_cannot_be_traced_and_reads_no_time_is_solved_too() -> None:
    found = solve(Sitting(TARIFFS["where"]), solver=Euler(24))
    assert found.status == "converged"
    torch.testing.assert_close(float(found.cost), 24.0)
