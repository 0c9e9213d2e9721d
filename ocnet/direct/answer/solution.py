"""The answer of `solve`."""

import importlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...certificate import Certificate
from ...checks import moving_the_start, refuse
from ...control import PiecewiseConstant
from ...problem import Batch, Problem
from ...solver import Euler, ExplicitRungeKutta, Heun, RK4, RK38, Tableau
from ...trajectory import Trajectory
from ...types import Cost
from .optimality import Multipliers, Optimality


if TYPE_CHECKING:
    from ..method import Method


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
        backend: What computed: "machine code", or "torch" and why not machine code.
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

    @cached_property
    def certificate(self) -> Certificate:
        """The depth certificate: it solves the problem on other grids when first asked for."""
        from ..certificate import certify

        return certify(self)

    def again(
        self,
        solver: ExplicitRungeKutta | None = None,
        batch: Batch | None = None,
        method: "Method | None" = None,
    ) -> "Solution":
        """Solves with other steps, or another problem like this one, starting from here."""
        from ..solving import solve

        return solve(batch or self.batch, solver=solver or self.solver, method=method, start=self)

    def refine(self, times: int = 1) -> "Solution":
        """The solution on a grid twice as fine, `times` over, each from the one before."""
        from ..certificate import with_steps

        fine = self
        for _ in range(times):
            fine = fine.again(with_steps(fine.solver, 2 * fine.solver.n))
        return fine

    def continue_in(self, parameter: str, values: Iterable[Tensor | float]) -> list["Solution"]:
        """The solutions for a sequence of values of a problem's parameter or buffer.

        Each starts from the one before: where a problem is hard, the way to it may be easy.

        Raises:
            ProblemError: If the parameter moves the initial state, which stays as it is here.
        """
        refuse(moving_the_start(self.batch.problem, [parameter]))
        found: list[Solution] = []
        for value in values:
            now = torch.as_tensor(value).to(self.cost)
            parameters = {**self.batch.parameters, parameter: now}
            start = found[-1] if found else self
            found.append(start.again(batch=self.batch._replace(parameters=parameters)))
        return found

    def plot(self) -> Any:
        """A figure of states, controls, costates and Hamiltonian (`ocnet.plot.optimum`)."""
        # Pictures are at the edge: nothing below needs matplotlib until one is asked for.
        return importlib.import_module("ocnet.plot.optimum").solution(self)

    def save(self, path: str | Path) -> None:
        """Writes everything but the problem to a safetensors file, which holds no code."""
        tensors = {
            "t": self.trajectory.t, "x": self.x, "u": self.u, "x0": self.batch.x0,
            "running_cost": self.trajectory.running_cost,
            **{f"parameter.{k}": v for k, v in self.parameters.items()},
            **{f"given.{k}": v for k, v in self.batch.parameters.items()},
        }  # fmt: skip
        if self.batch.target is not None:
            tensors["target"] = self.batch.target
        for name in TENSORS:
            tensors[name] = getattr(self, name)
        for name, group in (("optimality", self.optimality), ("multipliers", self.multipliers)):
            tensors |= {f"{name}.{key}": value for key, value in group._asdict().items()}
        told = {
            "horizon": [self.control.t0, self.control.t1],
            "tableau": self.solver.tableau,
            "evaluations": self.trajectory.evaluations,
            "statuses": self.statuses,
            "reasons": self.reasons,
            "backend": self.backend,
            "seconds": self.seconds,
        }
        plain = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
        save_file(plain, path, metadata={"ocnet.solution": json.dumps(told)})

    @classmethod
    def load(cls, path: str | Path, problem: Problem) -> "Solution":
        """Reads a solution of `problem` that `save` wrote.

        Raises:
            ValueError: If the file holds no solution, or one of a problem of another shape.
        """
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {}).get("ocnet.solution", "null"))
            if told is None:
                raise ValueError(f"{path} holds no solution.")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        x, u = tensors["x"], tensors["u"]
        shape = tuple(x.shape[x.dim() - len(problem.state_shape) :])
        if shape != tuple(problem.state_shape):
            raise ValueError(
                f"{path} holds states of shape {shape}, but {type(problem).__name__} has "
                f"{tuple(problem.state_shape)}."
            )

        def named(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        t0, t1 = told["horizon"]
        return cls(
            batch=Batch(problem, tensors["x0"], tensors.get("target"), named("given.")),
            solver=runge_kutta(told["tableau"], len(u)),
            control=as_control(t0, t1, u),
            trajectory=Trajectory(
                tensors["t"], x.unbind(), u.unbind(), tensors["running_cost"], told["evaluations"]
            ),
            optimality=Optimality(**named("optimality.")),
            multipliers=Multipliers(**named("multipliers.")),
            parameters=named("parameter."),
            statuses=tuple(told["statuses"]),
            reasons=tuple(told["reasons"]),
            backend=told["backend"],
            seconds=Seconds(*told["seconds"]),
            **{name: tensors[name] for name in TENSORS},
        )


TENSORS = ("cost", "costates", "hamiltonian", "violation", "final_time", "iterations")
"""The fields of a solution that are one tensor each."""


def runge_kutta(tableau: list[Any], n: int) -> ExplicitRungeKutta:
    """The method with a tableau that was written as lists."""
    a, b, c, order = tableau
    given = Tableau(tuple(map(tuple, a)), tuple(b), tuple(c), order)
    for known in (Euler, Heun, RK4, RK38):
        if known(n).tableau == given:
            return known(n)
    return ExplicitRungeKutta(given, n)


def as_control(t0: float, t1: float, u: Tensor) -> PiecewiseConstant:
    """The control with those values, one for each step."""
    control = PiecewiseConstant(
        t0, t1, len(u), u.shape[1:], dtype=u.dtype, device=u.device
    ).requires_grad_(False)
    control.path.copy_(u)
    return control
