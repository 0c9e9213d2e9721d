"""Gradient descent with a line search, whose objective never increases."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from .._arguments import check_range


ENOUGH = 1e-4
"""A step must bring at least this share of the decrease that a linear cost would have."""

SHORTEST = 1e-12
"""The shortest step to try."""


class Armijo(torch.optim.Optimizer):
    r"""Gradient descent that takes a step only if it decreases the objective enough,

    $$ J(\theta - \rho g) \le J(\theta) - 10^{-4} \rho |g|^2, \quad
       J = \text{cost} + \tfrac{\lambda}{2} |\theta|^2, \quad g = \nabla J. $$

    A step that decreases it less is halved, again and again. If none decreases it enough,
    the parameters stay as they are. The next call first tries 1.5 times the last length. The
    optimiser needs the same batch at every step.

    Arguments:
        params: The parameters, or groups of them, as in torch.optim.
        rate: The first step length `rho` to try.
        weight_decay: `lambda`; a group may have its own.

    Attributes:
        objective: `J` at the current parameters; NaN before the first step.

    Raises:
        ValueError: Unless the rate is positive and the decay is not negative.
    """

    def __init__(
        self,
        params: Iterable[Any],
        rate: float = 0.1,
        weight_decay: float = 0.0,
    ):
        check_range("rate", rate, "0 <", "< inf")
        check_range("weight_decay", weight_decay, "0 <=", "< inf")
        super().__init__(params, {"weight_decay": weight_decay})
        self.rate: float = rate
        self.objective: float = float("nan")

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # pyright: ignore
        """One step that decreases the objective, or none.

        Arguments:
            closure: Computes the cost and its gradient; under `torch.no_grad()`, the cost alone.
        """
        with torch.enable_grad():
            cost = closure()
        J = self.decayed(cost)
        moves = [
            (p, p.detach().clone(), p.grad + group["weight_decay"] * p)
            for group in self.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        slope = sum(float(g.square().sum()) for _, _, g in moves)
        while self.rate > SHORTEST:
            for p, start, g in moves:
                p.copy_(start - self.rate * g)
            found = self.decayed(closure())
            if found <= J - ENOUGH * self.rate * slope:
                J = found
                break
            for p, start, _ in moves:
                p.copy_(start)
            self.rate /= 2
        self.rate *= 1.5
        self.objective = float(J)
        return cost

    def decayed(self, cost: Tensor) -> Tensor:
        """The objective at the current parameters."""
        for group in self.param_groups:
            if group["weight_decay"]:
                squares = sum(p.square().sum() for p in group["params"])
                cost = cost + group["weight_decay"] / 2 * squares
        return cost
