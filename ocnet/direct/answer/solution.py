"""The answer of `solve`, as data."""

import importlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...control import PiecewiseConstant
from ...problem import Batch
from ...solver import ExplicitRungeKutta
from ...trajectory import Trajectory
from ...types import Cost
from .optimality import Multipliers, Optimality


class Seconds(NamedTuple):
    """How long the parts of `solve` took, in seconds.

    Attributes:
        tracing: To write the problem's functions down as formulas.
        solving: To compile what is not compiled yet, and to iterate.
        checking: To evaluate a converged answer once more, step by step.
    """

    tracing: float
    solving: float
    checking: float


@dataclass(frozen=True)
class Solution:
    """An answer of `solve`, with what proves it.

    Costates follow `H = l + p . f`, `p' = -H_x`, `p(t1) = phi_x + psi_x' nu`.

    Attributes:
        batch: The problem, initial states, targets and parameters.
        solver: The discretisation.
        control: The control, constant over each step. Of a batch with free final times it lives
            on the unstretched horizon `[t0, t1]`, else on `[t0, final_time]`.
        trajectory: States and controls; its times lie on the control's horizon.
        cost: The cost of the discretised problem, shape `(*batch,)`.
        costates: `p` at the ends of the steps, shape `(time, *batch, *state_shape)`.
        hamiltonian: `l + p . f` over each step, shape `(time - 1, *batch)`.
        optimality: The residuals of Pontryagin's conditions.
        violation: The largest violation of any constraint, dynamics included, `(*batch,)`.
        multipliers: Those of the constraints.
        final_time: `t1`, or what was found best, `(*batch,)`.
        parameters: The static parameters found best, each `(*batch, *shape)`.
        iterations: How many each instance took, `(*batch,)`.
        statuses: "converged", "infeasible", "unbounded", "diverged", "saddle", "stalled",
            "exhausted", "inconsistent" or "invalid" (given with values that are not finite) for
            each instance, in the order of the flattened batch. Inconsistent is an answer that
            converged, but not for the problem as it is: a function does not fit its derivative, or
            has another value where the answer's steps are evaluated again one by one.
        reasons: Why, one line for each instance.
        backend: What computed: "machine code", or "torch, because ..." with the reason.
        seconds: How long that took.
    """

    batch: Batch
    solver: ExplicitRungeKutta
    control: PiecewiseConstant
    trajectory: Trajectory
    cost: Cost
    costates: Tensor
    hamiltonian: Tensor
    optimality: Optimality
    violation: Tensor
    multipliers: Multipliers
    final_time: Tensor
    parameters: dict[str, Tensor]
    iterations: Tensor
    statuses: tuple[str, ...]
    reasons: tuple[str, ...]
    backend: str
    seconds: Seconds

    @property
    def u(self) -> Tensor:
        """The controls, shape `(time - 1, *batch, *control_shape)`; gradients flow through them."""
        return torch.stack([u for u in self.trajectory.controls if isinstance(u, Tensor)])

    @property
    def x(self) -> Tensor:
        """The states, shape `(time, *batch, *state_shape)`; gradients flow through them."""
        return self.trajectory.x

    @property
    def converged(self) -> Tensor:
        """Which instances converged, shape `(*batch,)`."""
        good = [status == "converged" for status in self.statuses]
        return torch.tensor(good, device=self.cost.device).reshape(self.cost.shape)

    @property
    def status(self) -> str:
        """The status that all instances share, or how many have which."""
        counts = {word: self.statuses.count(word) for word in dict.fromkeys(self.statuses)}
        if len(counts) == 1:
            return self.statuses[0]
        return ", ".join(f"{count} {word}" for word, count in counts.items())

    @property
    def reason(self) -> str:
        """The reason of the first instance that did not converge, or else of the first."""
        bad = [r for s, r in zip(self.statuses, self.reasons, strict=True) if s != "converged"]
        return (bad or list(self.reasons))[0]

    def plot(self) -> Any:
        """A figure of states, controls, costates and Hamiltonian (`ocnet.plot.optimum`)."""
        # Pictures are at the edge: nothing below needs matplotlib until one is asked for.
        return importlib.import_module("ocnet.plot.optimum").solution(self)


def as_control(t0: float, t1: float, u: Tensor) -> PiecewiseConstant:
    """The control with those values, one for each step."""
    control = PiecewiseConstant(
        t0, t1, len(u), u.shape[1:], dtype=u.dtype, device=u.device
    ).requires_grad_(False)
    control.path.copy_(u)
    return control
