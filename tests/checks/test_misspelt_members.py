"""Members of a problem under a name that ocnet does not read are refused, helpers are not."""

import pytest
import torch
from torch import nn, Tensor

from ocnet import Euler, PiecewiseConstant, Problem, Sample, solve, train
from ocnet.analysis.measurement import compare
from ocnet.catalogue import problems_of
from ocnet.checks import misspelt, ProblemError


class Point(Problem):
    """`x' = u` from 0, `int u^2`."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))


def method(self: Problem, x: Tensor, target: Tensor | None) -> Tensor:
    return x - 1


SLIPS = {
    "terminal_constraints": ("terminal_constraint", method),
    "TerminalConstraint": ("terminal_constraint", method),
    "terminal_constrain": ("terminal_constraint", method),
    "terminal_inequalities": ("terminal_inequality", method),
    "path_constraints": ("path_constraint", method),
    "terminalcost": ("terminal_cost", method),
    "final_cost": ("terminal_cost", method),
    "control_bound": ("control_bounds", (-1.0, 1.0)),
    "controls_bounds": ("control_bounds", (-1.0, 1.0)),
    "final_time_bound": ("final_time_bounds", (0.1, 2.0)),
    "static_parameter": ("static_parameters", {}),
    "state_bounds": ("path_constraint", (-1.0, 1.0)),
    "inital_states": ("initial_states", method),
    "t_final": ("t1", 4.0),
    "optimal_costs": ("optimal_cost", method),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_a_class(name: str) -> None:
    """`terminal_constraints`, `control_bound`: "converged" without them."""
    meant, value = SLIPS[name]
    problem = type("Slip", (Point,), {name: value})()
    with pytest.raises(ProblemError, match=rf"^{name} .*did you mean {meant}\?$"):
        solve(problem, solver=Euler(3))


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_in_an_instance(name: str) -> None:
    meant, _ = SLIPS[name]
    problem = Point()
    setattr(problem, name, nn.Parameter(torch.ones(1)))
    with pytest.raises(ProblemError, match=rf"^{name} .*did you mean {meant}\?$"):
        solve(problem, solver=Euler(3))


def test_a_slip_that_should_override_an_inherited_method() -> None:
    class Ending(Point):
        def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
            return x

    class Slip(Ending):
        def terminal_constraints(self, x: Tensor, target: Tensor | None) -> Tensor:
            return x - 1

    with pytest.raises(ProblemError, match=r"test_misspelt_members.py:\d+\) .*terminal_constraint"):
        solve(Slip(), solver=Euler(3))


def test_compare_and_train_say_so_too() -> None:
    problem = Point()
    problem.terminal_costs = lambda x, target: x  # pyright: ignore
    control = PiecewiseConstant(0.0, 1.0, 3, 1)
    with pytest.raises(ProblemError, match="did you mean terminal_cost"):
        compare(problem, control, [Euler(3)], repeats=1)
    with pytest.raises(ProblemError, match="did you mean terminal_cost"):
        train(problem, control, Euler(3), torch.optim.SGD(control.parameters()), n_steps=1)


def limit_of(problem: Problem) -> float:
    return problem.path_limit_constraint  # pyright: ignore


class Helpers(Point):
    """Names near to known ones that its own code reads, or that stand next to the known one."""

    control = "force"
    t_1, T, x0 = 0.5, 300.0, 1.0
    states = ("position",)
    cost_weight = 2.0
    control_cost = 0.1
    control_bounds = (-1.0, 1.0)
    control_bound = 1.0

    def __init__(self):
        super().__init__()
        self.state_bound = 3.0
        self.initial_state = torch.zeros(1)
        self.dynamic = nn.Linear(1, 1)

    def terminal_costs(self, x: Tensor) -> Tensor:
        return x[..., 0] * self.state_bound

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x) + 0.0 * self.dynamic(x)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.terminal_costs(x) ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.initial_state.expand(batch_size, 1))


def test_helpers_are_no_slips() -> None:
    assert misspelt(Helpers()) == []
    assert solve(Helpers(), solver=Euler(3)).status == "converged"


@pytest.mark.parametrize("spec", [s for s in problems_of() if "images" not in s])
def test_no_problem_has_a_slip(spec: str) -> None:
    assert misspelt(problems_of()[spec]()) == []
