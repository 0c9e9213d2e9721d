"""Every converged answer is evaluated once more with the problem's own functions.

The first answer is evaluated step by step, by the ordinary solver's formula. Later answers of the
same problem with the same formulas are evaluated at all points at once.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor
from torch.func import vmap

from ...checks.finding import named
from ...control.base import constants
from ...problem import Problem
from ...solver import ExplicitRungeKutta
from ...solver.running_cost import RunningCost
from ...solver.stages import slope, Stage
from ..method import Outcome
from ..transcription.backend import Linearisation
from ..transcription.iterate import largest
from ..transcription.points import Points
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import step_width


class Values(NamedTuple):
    """What the problem's functions give along an answer, each `(time, batch, rows)`.

    Attributes:
        dynamics: The states at the ends of the steps, each step from the answer's own state.
        stage_cost: The cost of each step.
        path_constraint: Its rows at the start of each step.
        terminal_cost, terminal_constraint, terminal_inequality: The values at the end, where
            the size of `time` is one.
    """

    dynamics: Tensor
    stage_cost: Tensor
    path_constraint: Tensor
    terminal_cost: Tensor
    terminal_constraint: Tensor
    terminal_inequality: Tensor


class Apart(Problem):
    """A problem whose functions are evaluated with the constants that each instance has of its own.

    Time is that of the unstretched horizon; a free final time stretches it by the rate `r`,
    `x' = r f(t0 + r (s - t0), x, u)`.

    Arguments:
        nlp: The discretised problem, with the parameters given.
        z: The extended states, which hold the constants found, `(batch, nz)`.
    """

    points: Points
    z: Tensor
    own: dict[str, Tensor]
    shared: dict[str, Tensor]

    def __init__(self, nlp: Transcription, z: Tensor):
        super().__init__()
        self.points, self.z, self.own, self.shared = nlp.points, z, nlp.given.own, nlp.given.shared
        self.state_shape: tuple[int, ...] = tuple(nlp.problem.state_shape)

    @property
    def has_stage_cost(self) -> bool:
        return self.points.problem.has_stage_cost

    def each(self, function: Callable[..., Tensor], *args: Tensor | None) -> Tensor:
        """Calls `function(rate, *args)` for each instance, with its values of the parameters."""

        def one(z: Tensor, own: dict[str, Tensor], *args: Any) -> Tensor:
            rate = z[self.points.nx] if self.points.free_time else 1.0
            return self.points.replaced(lambda z: function(rate, *args), z, {**self.shared, **own})

        axes = [None if a is None else 0 for a in args]
        if len(self.z) > 1:
            try:
                return vmap(one, in_dims=(0, 0, *axes))(self.z, self.own, *args)
            except RuntimeError:
                pass  # Functions that read numbers are evaluated instance by instance.
        values = [
            one(
                z, {k: v[i] for k, v in self.own.items()}, *(a if a is None else a[i] for a in args)
            )
            for i, z in enumerate(self.z)
        ]
        return torch.stack(values)

    def true(self, rate: Tensor | float, s: Tensor) -> Tensor:
        """The time of an instance at `s` on the unstretched horizon."""
        t0 = self.points.problem.t0
        return t0 + rate * (s - t0) if self.points.free_time else s

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        f = self.points.problem.dynamics
        return self.each(lambda rate, x, u: rate * f(self.true(rate, t), x, u), x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        l = self.points.problem.stage_cost
        return self.each(
            lambda rate, x, u, target: rate * l(self.true(rate, t), x, u, target), x, u, target
        )

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        g = self.points.problem.path_constraint
        return self.each(lambda rate, x, u: g(self.true(rate, t), x, u), x, u)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        phi = self.points.problem.terminal_cost
        return self.each(lambda rate, x, target: phi(x, target), x, target)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        psi = self.points.problem.terminal_constraint
        return self.each(lambda rate, x, target: psi(x, target), x, target)

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        omega = self.points.problem.terminal_inequality
        return self.each(lambda rate, x, target: omega(x, target), x, target)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Any:
        raise NotImplementedError("The instances are those of the answer.")


def checked_again(
    nlp: Transcription, solver: ExplicitRungeKutta, outcome: Outcome, lin: Linearisation,
    words: list[tuple[str, str]], tolerance: float,
) -> list[tuple[str, str]]:  # fmt: skip
    """Status and reason: "inconsistent" where a converged answer does not solve the problem.

    Arguments:
        nlp: The discretised problem.
        solver: The steps.
        outcome: Where the method ended.
        lin: The functions there, as the method saw them.
        words: Status and reason so far.
        tolerance: The tolerance of the residuals.
    """
    at = [i for i, (status, _) in enumerate(words) if status == "converged"]
    if not at:
        return words
    it = outcome.it
    if len(at) < len(words):
        index = torch.tensor(at, device=nlp.x0.device)
        nlp, it, lin = nlp.take(index), it.take(index), lin.take(index)
    words = list(words)
    for i, reason in zip(at, inconsistencies(nlp, solver, it, lin, tolerance), strict=True):
        if reason is not None:
            words[i] = ("inconsistent", reason)
    return words


passed: WeakKeyDictionary[Problem, WeakSet[Any]] = WeakKeyDictionary()
"""Problems, each with the machine code whose answers passed the check step by step."""


def repeated(nlp: Transcription, it: Iterate, believed: Values, room: Values) -> bool:
    """Whether an answer passes a quick check, which is enough if one of its kind passed before.

    The formulas were traced anew. They are those of machine code that agreed, step by step, with
    this very problem's functions. Only the values are left to check: the functions are called
    again, for all points at once, each with its own time.

    Arguments:
        nlp: The discretised problem.
        it: The answer.
        believed: The values that its functions have there according to the solution.
        room: By how much each may differ.
    """
    if nlp.way == "stepwise" or nlp.backend not in passed.get(nlp.problem, ()):
        return False
    part = copy.copy(nlp)
    part.way = "apart"
    try:
        values = part.stages_of_problem(it.z[:-1], it.u, None)
        found = Values(*values, *part.ends_of_problem(it.z[-1:], it.u[-1:]))
    # The pass step by step says what is wrong.
    except Exception:
        return False
    return not any(bool(differ.any()) for differ in differences(believed, found, room))


@torch.no_grad()
def inconsistencies(
    nlp: Transcription, solver: ExplicitRungeKutta, it: Iterate, lin: Linearisation,
    tolerance: float,
) -> list[str | None]:  # fmt: skip
    """For each instance, the function that differs first, the step where it does, and both values.

    The steps are taken one after the other with the problem's own functions, a scalar time and the
    whole batch at once: nothing traced, compiled, shared or kept from before is used.
    Each step starts from the answer's own state, so that an unstable system does not amplify the
    residual that is left.

    Arguments:
        nlp: The discretised problem.
        solver: The steps.
        it: The answer.
        lin: The values that its functions have there according to the solution.
        tolerance: The tolerance of the residuals.
    """
    single = it.z.dtype != torch.float64
    tolerance = max(10 * tolerance, 1e-3 if single else 1e-7)
    believed = Values(it.z[1:, :, : nlp.nx], *lin.along.values[1:], *lin.end.values)
    room = allowed(nlp, it, believed, tolerance)
    if repeated(nlp, it, believed, room):
        return [None] * len(nlp.x0)
    # Where a function jumps at a stage's time, the rounding of that time must not matter.
    finest = 8 * torch.finfo(it.z.dtype).eps * max(abs(nlp.problem.t0), abs(nlp.problem.t1))
    try:
        found = evaluated(nlp, solver, it, 0.0)
        differ = differences(believed, found, room)
        for shift in (finest, -finest):
            if any(bool(part.any()) for part in differ):
                moved = differences(believed, evaluated(nlp, solver, it, shift), room)
                differ = [a & b for a, b in zip(differ, moved, strict=True)]
    # The pass runs the user's own code in another way than the solution did.
    except Exception as error:
        reason = named(error) or error
        return [f"evaluated step by step, a function fails: {reason}"] * len(nlp.x0)
    words: list[str | None] = [None] * len(nlp.x0)
    if not nlp.backend.by_autograd and not any(bool(part.any()) for part in differ):
        passed.setdefault(nlp.problem, WeakSet()).add(nlp.backend)
    wrong = torch.stack([part.any(0) for part in differ]).any(0)
    for i in wrong.nonzero()[:, 0].tolist():
        words[i] = told(nlp, it, believed, found, [part[:, i] for part in differ], i)
    return words


def evaluated(nlp: Transcription, solver: ExplicitRungeKutta, it: Iterate, shift: float) -> Values:
    """One pass through all steps and the end, all times moved by `shift`."""
    problem, size, tableau = nlp.problem, len(nlp.x0), solver.tableau
    own = bool(nlp.given.own or nlp.given.shared or nlp.nz > nlp.nx)
    view = Apart(nlp, it.z[0]) if own else problem
    # A single problem is evaluated without a batch dimension, as the user gave it.
    lead = (size,) if own or nlp.shape else ()
    target = nlp.given.target
    target = target if target is None or lead else target[0]
    x = it.z[..., : nlp.nx].detach().reshape(nlp.n + 1, *lead, *problem.state_shape)
    u = it.u.detach().reshape(nlp.n, *lead, *(problem.control_shape or ()))
    h = nlp.points.h
    starts = [s + shift for s in nlp.s[:-1].tolist()]
    times = [[s + c * h for s in starts] for c in tableau.c]
    ts = [constants(of_stage, x.dtype, x.device).unbind() for of_stage in times]
    slopes, costs, rows = [], [], []
    for k, (x_k, u_k) in enumerate(zip(x[:-1].unbind(), u.unbind(), strict=True)):
        stages = [
            Stage(of_stage[k], t[k], lambda x, u=u_k: u)
            for of_stage, t in zip(times, ts, strict=True)
        ]
        running = RunningCost(view, target)
        slopes.append(slope(view, tableau, k, h, stages, x_k, running)[1])
        costs.append(running.total())
        if nlp.along.rows:
            rows.append(view.path_constraint(ts[0][k], x_k, u_k))
    c = [torch.as_tensor(cost).to(x).expand(lead).reshape(size, 1) for cost in costs]
    g = torch.stack(rows).reshape(nlp.n, size, -1) if rows else x.new_zeros(nlp.n, size, 0)
    ends = [
        function(x[-1], target).reshape(1, size, -1)
        for function in (view.terminal_cost, view.terminal_constraint, view.terminal_inequality)
    ]
    if nlp.points.last:
        end = constants([nlp.s.tolist()[-1] + shift], x.dtype, x.device)[0]
        last = view.path_constraint(end, x[-1], u[-1]).reshape(1, size, -1)
        ends[2] = torch.cat([ends[2], last[..., nlp.points.last]], -1)
    F = (x[:-1] + h * torch.stack(slopes)).reshape(nlp.n, size, -1)
    return Values(F, torch.stack(c), g, *ends)


def allowed(nlp: Transcription, it: Iterate, believed: Values, tolerance: float) -> Values:
    """How far each value may differ, in a shape that broadcasts with it."""
    size = (1 + largest(it.z[..., : nlp.nx]))[:, None]
    total = believed.stage_cost.abs().sum(0) + believed.terminal_cost.abs().sum(0)
    # Terms of a cost may cancel: its error then depends on its derivatives, not on its size.
    total = total + (1 / nlp.scale[:, None]) * max(1.0, nlp.points.h * nlp.n)
    return Values(
        tolerance * size,
        tolerance * torch.maximum(believed.stage_cost.abs(), total / nlp.n),
        tolerance * (size + largest(believed.path_constraint)[:, None]),
        tolerance * total,
        tolerance * (size + largest(believed.terminal_constraint)[:, None]),
        tolerance * (size + largest(believed.terminal_inequality)[:, None]),
    )


def differences(believed: Values, found: Values, room: Values) -> list[Tensor]:
    """Which values differ by more than is allowed, `(time, batch)` for each function."""
    return [
        ~((a == b) | ((a - b).abs() <= most)).all(-1)
        for a, b, most in zip(believed, found, room, strict=True)
    ]


def told(
    nlp: Transcription, it: Iterate, believed: Values, found: Values, differ: list[Tensor], i: int
) -> str:
    """The function of instance `i` that differs first, the step where it does, and both values.

    Arguments:
        nlp: The discretised problem.
        it: The answer.
        believed: The values of its functions according to the answer.
        found: Their values where each step is evaluated alone.
        differ: The times at which each differs.
        i: The index of the instance.
    """
    first = []
    for number, (name, times) in enumerate(zip(Values._fields, differ, strict=True)):
        if bool(times.any()):
            k = int(times.nonzero()[0, 0])
            first.append((k if number < 3 else nlp.n, number, name))
    k, number, name = min(first)
    a, b = (values[number][k if number < 3 else 0, i] for values in (believed, found))
    row = int((a - b).abs().nan_to_num(torch.inf).argmax())
    place = f"[{row}]" if len(a) > 1 else ""
    own = len(a) - len(nlp.points.last)
    if name == "terminal_inequality" and row >= own:
        name, place = "path_constraint", f"[{nlp.points.last[row - own]}]"
    h = float(step_width(nlp, it)[i])
    return (
        f"{name}{place} differs at step {k}, t={nlp.problem.t0 + h * k:.4g}: {float(a[row]):.6g} "
        f"in the answer, but {float(b[row]):.6g} where that step is evaluated alone"
    )
