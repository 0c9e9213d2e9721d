"""The expected cost of a control, which training minimises, as an objective of the one loop."""

import torch
from torch import nn, Tensor

from ..control import Control
from ..problem import Problem, Sample
from ..solver import Solver
from .descent import Gradient, Objective, Update
from .engine import Engine


class ExpectedCost(Objective):
    """The mean cost of a batch under a problem, a control and a solver.

    Arguments:
        engine: How it is computed.
        problem, control, solver: What is trained.
        optimizer: What holds the parameters.
        side_by_side: How many independent systems the problem is, or None.
    """

    problem: Problem
    control: Control
    solver: Solver
    tracked: nn.Module | None
    side_by_side: int | None
    skips: bool

    def __init__(
        self,
        engine: Engine,
        problem: Problem,
        control: Control,
        solver: Solver,
        optimizer: torch.optim.Optimizer,
        side_by_side: int | None = None,
    ):
        self.engine = engine
        self.problem, self.control, self.solver = problem, control, solver
        self.optimizer = optimizer
        self.side_by_side = side_by_side
        self.mean_cost: nn.Module = engine.prepare(problem, control)
        engine.trained(self.mean_cost).side_by_side = side_by_side
        self.tracked = self.mean_cost
        self.skips = engine.scaler.is_enabled()

    def backward(self, sample: Sample) -> Tensor:
        costs = self.engine.backward(self.mean_cost, self.solver, sample)
        self.engine.unscale(self.optimizer)
        return costs

    def value(self, sample: Sample) -> Tensor:
        return self.engine.value(self.mean_cost, self.solver, sample)

    def place(self, sample: Sample) -> tuple[int, float] | None:
        return self.engine.first_non_finite(self.problem, self.control, self.solver, sample)

    def prepared(
        self, gradient: Gradient, optimizer: torch.optim.Optimizer
    ) -> tuple[Gradient, Update]:
        return self.engine.captured(gradient, self.control, self.solver, optimizer)
