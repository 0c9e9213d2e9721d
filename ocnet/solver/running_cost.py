"""The running cost: the integral of the stage cost, in every solver and every gradient mode."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from .._blame import blamed, called
from ..cost import CostTerm, Node, ObservedStageCost, terms, weighted_sum
from ..problem import Problem
from ..types import ControlValue, Cost, State, Time


class RunningCost:
    """The integral of a problem's stage cost along a path, node after node.

    Arguments:
        problem: The problem whose stage cost is integrated.
        target: What its stage cost compares with, or None.

    Attributes:
        nodes: The nodes that were added.
        is_zero: Whether the problem has no stage cost.
    """

    plain: Any
    observed: list[tuple[float | Tensor, ObservedStageCost]]

    def __init__(self, problem: Problem, target: Tensor | None):
        self.problem = problem
        self.target = target
        self.nodes: list[Node] = []
        self.is_zero: bool = not problem.has_stage_cost
        self.plain, self.observed = parts(problem.stage_cost)

    @property
    def steps_at_once(self) -> int | None:
        """The number of steps whose nodes are added up at a time; None for the solver's choice."""
        asked = [cost.steps_at_once for _, cost in self.observed]
        return min((n for n in asked if n is not None), default=None)

    def add(self, k: int, weight: float, time: float, t: Time, x: State, u: ControlValue) -> None:
        """Adds a node.

        Arguments:
            k: The index of the step.
            weight: Its width times the method's weight.
            time: As a Python float, read without waiting for the device.
            t: The same as a tensor.
            x: The state, shape `(*batch, ...)`.
            u: The control value.
        """
        node = Node(k, weight, time, t, x, u)
        if self.observed and not self.is_zero:
            with self.blaming():
                y = [cost.observe(node, self.target) for _, cost in self.observed]
            node = node._replace(y=y)
        self.nodes.append(node)

    def total(self) -> Cost | float:
        """`sum_i w_i l(t_i, x_i, u_i)` over the nodes that were added, shape `(*batch,)`."""
        if self.is_zero:
            return 0.0
        total = self.nodes[0].x.new_zeros(())
        with self.blaming():
            if self.plain is not None:
                for _, weight, _, t, x, u, _ in self.nodes:
                    cost = as_cost(self.plain(t, x, u, self.target), x)
                    total = total.add(cost, alpha=weight)
            for i, (factor, cost) in enumerate(self.observed):
                nodes = [node._replace(y=node.y[i]) for node in self.nodes]
                total = total + factor * as_cost(cost.total(nodes, self.target), nodes[0].x)
        return total

    def rate(self, k: int | None, t: Time, x: State, u: ControlValue) -> Cost:
        """`l(t, x, u)` itself, for a solver that integrates it as one more state.

        Arguments:
            k: The index of the control's interval; None if it is not known.
            t, x, u: Where it is asked for.
        """
        with self.blaming():
            rate = None if self.plain is None else as_cost(self.plain(t, x, u, self.target), x)
            for factor, cost in self.observed:
                more = factor * as_cost(cost.rate(k, t, x, u, self.target), x)
                rate = more if rate is None else rate + more
        assert rate is not None
        return rate

    def over_steps(
        self,
        start: int,
        weights: Sequence[float],
        times: Sequence[float],
        t: Tensor,
        x: Tensor,
        u: Tensor,
    ) -> Cost:
        """`sum_k w_k l(t_k, x_k, u_k)` of stacked states, all at once, shape `(*batch,)`.

        Arguments:
            start: The index of the first of the steps.
            weights: The weights, one for each step.
            times: Of all steps, as Python floats.
            t: The same as a tensor, shape `(step,)`.
            x: The states, shape `(step, *batch, ...)`.
            u: The control values, shape `(step, ...)`.
        """
        total = x.new_zeros(())
        with self.blaming():
            if self.plain is not None:
                plain = self.plain
                l = torch.vmap(lambda t, x, u: as_cost(plain(t, x, u, self.target), x))
                total = torch.tensordot(x.new_tensor(weights), l(t, x, u), dims=1)
            for factor, cost in self.observed:
                nodes = [
                    Node(start + i, *rest)
                    for i, rest in enumerate(
                        zip(weights, times, t.unbind(), x.unbind(), u.unbind(), strict=True)
                    )
                ]
                nodes = [node._replace(y=cost.observe(node, self.target)) for node in nodes]
                total = total + factor * as_cost(cost.total(nodes, self.target), x)
        return total

    def blaming(self) -> AbstractContextManager[None]:
        """The context in which an error names the user's line."""
        return blamed(called(self.problem, "stage_cost"))


def parts(cost: Any) -> tuple[Any, list[tuple[float | Tensor, ObservedStageCost]]]:
    """A stage cost in two parts: one to sum node by node, and the weighted observed costs."""
    if not isinstance(cost, CostTerm):
        return cost, []
    weighted = terms(cost)
    observed = [(weight, c) for weight, c in weighted if isinstance(c, ObservedStageCost)]
    if not observed:
        return cost, []
    rest = [(weight, c) for weight, c in weighted if not isinstance(c, ObservedStageCost)]
    return (weighted_sum(rest) if rest else None), observed


def as_cost(cost: Any, x: State) -> Cost:
    """A stage cost's value, in the state's precision if it had taken on the time's precision.

    Raises:
        TypeError: If it is not a tensor.
    """
    if not isinstance(cost, Tensor):
        error = TypeError(f"stage_cost must return a tensor, but got {type(cost).__name__}.")
        error.formula = "stage_cost"  # pyright: ignore[reportAttributeAccessIssue]
        raise error
    return cost.to(x.dtype) if cost.dtype == torch.float64 else cost
