"""The answer of `solve`, as data."""

import importlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tabulate import tabulate
from torch import Tensor

from ...certificate import Certificate
from ...control import PiecewiseConstant
from ...problem import Batch
from ...solver import ExplicitRungeKutta
from ...trajectory import Trajectory
from ...types import Cost
from .optimality import Multipliers, Optimality
from .spells import active
from .stall import Stall


class Seconds(NamedTuple):
    """How long the parts of `solve` took, in seconds.

    Attributes:
        tracing: Writing the problem's functions down as formulas.
        solving: Compiling what is not compiled yet, and iterating.
        checking: Evaluating a converged answer once more, step by step.
    """

    tracing: float
    solving: float
    checking: float


@dataclass(frozen=True, repr=False)
class Solution:
    """An answer of `solve`, with what proves it.

    Costates follow `H = l + p . f`, `p' = -H_x`, `p(t1) = phi_x + psi_x' nu`.

    Attributes:
        batch: The problem, initial states, targets and parameters.
        solver: The discretisation.
        control: The control, constant over each step. For a batch with free final times it lives on
            the unstretched horizon `[t0, t1]`, else on `[t0, final_time]`.
        trajectory: States and controls; its times lie on the control's horizon.
        cost: The cost of the discretised problem, shape `(*batch,)`.
        costates: `p` at the ends of the steps, shape `(time, *batch, *state_shape)`.
        hamiltonian: `l + p . f` over each step, shape `(time - 1, *batch)`.
        optimality: The residuals of Pontryagin's conditions.
        violation: The largest violation of any constraint, dynamics included, `(*batch,)`.
        multipliers: Those of the constraints.
        final_time: `t1`, or the best final time that was found, `(*batch,)`.
        parameters: The best static parameters that were found, each `(*batch, *shape)`.
        iterations: How many iterations each instance took, `(*batch,)`.
        statuses: "converged", "infeasible", "unbounded", "diverged", "saddle", "stalled",
            "exhausted", "inconsistent" or "invalid" (given with values that are not finite) for
            each instance, in the order of the flattened batch. "inconsistent" means that the answer
            converged, but not for the problem as it is: a function does not match its derivative,
            or has another value when the answer's steps are evaluated again one by one.
        reasons: The reason for each status, one line for each instance.
        backend: What did the computing: "machine code", or "torch, because ..." with the reason.
        seconds: How long the parts of the computation took.
        stalls: What keeps the first instances that did not converge from being optimal, by their
            numbers in the flattened batch.
        certificate: What `certify` says, if it was put here by `dataclasses.replace`.
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
    stalls: dict[int, Stall]
    certificate: Certificate | None = None

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
        """The status that all instances share, or how many instances have each status."""
        counts = {word: self.statuses.count(word) for word in dict.fromkeys(self.statuses)}
        if len(counts) == 1:
            return self.statuses[0]
        return ", ".join(f"{count} {word}" for word, count in counts.items())

    @property
    def reason(self) -> str:
        """The reason of the first instance that did not converge, or else of the first instance."""
        bad = [r for s, r in zip(self.statuses, self.reasons, strict=True) if s != "converged"]
        return (bad or list(self.reasons))[0]

    def plot(self, instance: int = 0) -> Any:
        """A figure of one instance: states, controls, costates and Hamiltonian.

        Arguments:
            instance: Its number in the flattened batch.
        """
        # Imported only here, so that nothing needs matplotlib until a picture is asked for.
        return importlib.import_module("ocnet.plot.optimum").solution(self, instance)

    def __repr__(self) -> str:
        name = type(self.batch.problem).__name__
        batch = f", batch {tuple(self.cost.shape)}" if self.cost.dim() else ""
        return f"<Solution of {name} by {self.solver!r}{batch}: {self.status}>"

    def __str__(self) -> str:
        return self.table() if self.cost.numel() > 1 else self.summary()

    def summary(self, instance: int = 0) -> str:
        """One instance in about ten lines: how it ended, and which constraints are active when.

        Arguments:
            instance: Its number in the flattened batch.
        """
        if not 0 <= instance < self.cost.numel():
            raise ValueError(f"instance must be below {self.cost.numel()}, but got {instance}.")
        of = lambda value: float(value.detach().reshape(-1)[instance])
        residuals = ", ".join(f"{k} {of(v):.1e}" for k, v in self.optimality._asdict().items())
        rows = [
            ("cost", f"{of(self.cost):.10g}"),
            ("final time", f"{of(self.final_time):.10g}"),
            *((k, shown(self.flat(v)[instance])) for k, v in self.parameters.items()),
            ("violation", f"{of(self.violation):.1e}"),
            ("residuals", residuals),
            ("iterations", f"{int(of(self.iterations))}, {sum(self.seconds):.3g} s"),
            ("computed by", self.backend),
            *(("active", line) for line in self.active(instance)),
        ]
        if self.certificate is not None:
            rows.append(("certificate", self.certificate.verdict))
        name = type(self.batch.problem).__name__
        which = f", instance {instance}" if self.cost.numel() > 1 else ""
        status, reason = self.statuses[instance], self.reasons[instance]
        lines = [
            f"{name}, {self.solver!r}{which}: {status} ({reason})",
            tabulate(rows, tablefmt="plain", disable_numparse=True),
        ]
        if instance in self.stalls:
            lines.append(self.stalls[instance].text())
        return "\n".join(lines)

    def table(self) -> str:
        """A batch in a few lines: how many have each status, and which have the extreme values."""
        cost, violation = (v.detach().reshape(-1) for v in (self.cost, self.violation))
        rows = []
        for status in dict.fromkeys(self.statuses):
            at = [i for i, word in enumerate(self.statuses) if word == status]
            rows.append((status, f"{len(at)}: {listed(at)}"))
        known = cost.isfinite().nonzero()[:, 0]
        if len(known) > 0:
            low, high = (int(known[f(cost[known])]) for f in (torch.argmin, torch.argmax))
            worst = int(known[violation[known].argmax()])
            rows += [
                ("cost", f"{float(cost[low]):.6g} (instance {low}) to {float(cost[high]):.6g} "
                 f"(instance {high})"),
                ("violation", f"at most {float(violation[worst]):.1e} (instance {worst})"),
            ]  # fmt: skip
        iterations = self.iterations.reshape(-1)
        rows += [
            ("iterations", f"{int(iterations.min())} to {int(iterations.max())}, "
             f"{sum(self.seconds):.3g} s"),
            ("computed by", self.backend),
        ]  # fmt: skip
        bad = [i for i, status in enumerate(self.statuses) if status != "converged"]
        rows += [(f"instance {i}", f"{self.statuses[i]}: {self.reasons[i]}") for i in bad[:3]]
        if self.certificate is not None:
            rows.append(("certificate", self.certificate.verdict))
        name, shape = type(self.batch.problem).__name__, tuple(self.cost.shape)
        head = f"{name}, {self.solver!r}, batch of shape {shape}: {self.status}"
        return f"{head}\n{tabulate(rows, tablefmt='plain', disable_numparse=True)}"

    def active(self, instance: int = 0) -> list[str]:
        """Which constraints act on the optimum and when: those whose multipliers are not zero.

        Arguments:
            instance: The number of the instance in the flattened batch.
        """
        t0, t1 = self.batch.problem.t0, float(self.final_time.detach().reshape(-1)[instance])
        n = self.solver.n
        times = [t0 + (t1 - t0) * k / n for k in range(n + 1)]
        along = [
            value.detach().reshape(n, self.cost.numel(), -1)[:, instance]
            for value in self.multipliers[:3]
        ]
        ends = [self.flat(value.detach())[instance][None] for value in self.multipliers[3:]]
        sizes = [float(value.abs().max()) for value in (*along, *ends) if value.numel()]
        least = 1e-6 * max(sizes, default=0.0) + 1e-9
        names = [*("u[] at its lower bound", "u[] at its upper bound", "path_constraint[]"),
                 "terminal_inequality[]", "path_constraint[] at the final time"]  # fmt: skip
        lines = [line for name, value in zip(names[:3], along, strict=True)
                 for line in active(name, value, times, least)]  # fmt: skip
        for name, value in zip(names[3:], ends[1:], strict=True):
            lines += [line.removesuffix(": always") for line in active(name, value, [t1], least)]
        return lines

    def flat(self, value: Tensor) -> Tensor:
        """A value of shape `(*batch, ...)` with one batch dimension."""
        return value.reshape(self.cost.numel(), *value.shape[self.cost.dim() :])


def shown(value: Tensor) -> str:
    """A static parameter in one line."""
    numbers = [f"{v:.6g}" for v in value.detach().reshape(-1)[:6].tolist()]
    return ", ".join(numbers) + (", ..." if value.numel() > 6 else "")


def listed(numbers: list[int]) -> str:
    """The first numbers of a list."""
    return ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")


def as_control(t0: float, t1: float, u: Tensor) -> PiecewiseConstant:
    """The control with those values, one for each step."""
    control = PiecewiseConstant(
        t0, t1, len(u), u.shape[1:], dtype=u.dtype, device=u.device
    ).requires_grad_(False)
    control.path.copy_(u)
    return control
