"""What an answer says about the user's functions: wrong or infinite derivatives, and kinks."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...checks import (
    Evaluation,
    Finding,
    first_bend,
    first_infinite,
    kinks,
    mismatches,
    place,
    Point,
    written,
)
from ...checks.finding import FUNCTIONS
from ...checks.nonsmooth import RECTIFIED
from ..constants import Code
from ..method import Outcome
from ..transcription.autograd import differentiate
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from .names import rows_of, variable_name


NODES = 3
"""The number of steps at which derivatives are compared."""

MOST_STEPS = 24
"""The most steps at which kinks are looked for."""

MOST_POINTS = 200
"""The most values, over all these steps together, that are searched for kinks."""


def doubted(
    nlp: Transcription, outcome: Outcome, words: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Status and reason of instances, with what is wrong with the problem's functions added.

    Where a derivative does not match its function, "converged" becomes "inconsistent". Where an
    instance did not converge, a kink or an infinite derivative on its path is named.

    Arguments:
        nlp: The discretised problem.
        outcome: Where it ended.
        words: Status and reason of each instance.
    """
    valid = [i for i, (status, _) in enumerate(words) if status != "invalid"]
    good = [i for i in valid if words[i][0] == "converged"]
    # Machine code differentiates what it computes: only step functions have useless derivatives.
    if valid and (nlp.backend.has_steps):
        found = wrong_derivatives(nlp, outcome.it, (good or valid)[0])
        if found:
            return [
                ("inconsistent" if i in good else word[0], with_finding(word[1], found))
                if i in valid
                else word
                for i, word in enumerate(words)
            ]
    codes = outcome.code.tolist()
    bad = [i for i in valid if i not in good and codes[i] != Code.INFEASIBLE.value]
    for i in bad[:1]:
        along = evaluations(nlp, outcome.it, i)
        found = kinks(along) or infinite(along) or bent(nlp, outcome.it, i)
        words = [
            (status, with_finding(reason, found) if k in bad else reason)
            for k, (status, reason) in enumerate(words)
        ]
    return words


def with_finding(reason: str, found: list[Finding]) -> str:
    """A reason and the first finding."""
    return f"{reason}; {str(found[0]).removesuffix('.')}" if found else reason


class Part(NamedTuple):
    """The values of some steps, or of the end, as a function of the variables.

    Attributes:
        function: The map from the variables of points to all values.
        w: The points.
        ks: The numbers of their steps.
        along: Whether they lie along the path, not at its end.
    """

    function: Callable[[Tensor], Tensor]
    w: Tensor
    ks: list[int]
    along: bool


def functions(nlp: Transcription, it: Iterate, i: int, ks: list[int]) -> list[Part]:
    """The values of steps, and those of the end.

    Arguments:
        nlp: The discretised problem.
        it: The variables.
        i: The index of the instance.
        ks: The numbers of the steps.
    """
    part = nlp.take(torch.tensor([i], device=nlp.x0.device))
    s = nlp.s[ks]

    def stages(w: Tensor) -> Tensor:
        F, c, g = part.stages_of_problem(
            w[..., None, : nlp.nz], w[..., None, nlp.nz :], s[: w.shape[-2]]
        )
        return torch.cat([F, c, g], -1).squeeze(-2)

    def ends(w: Tensor) -> Tensor:
        values = part.ends_of_problem(w[..., None, : nlp.nz], w[..., None, nlp.nz :])
        return torch.cat(values, -1).squeeze(-2)

    w = torch.cat([it.z[ks, i], it.u[ks, i]], -1).detach()
    end = torch.cat([it.z[-1:, i], it.u[-1:, i]], -1).detach()
    return [Part(stages, w, ks, True), Part(ends, end, [nlp.n], False)]


def wrong_derivatives(nlp: Transcription, it: Iterate, i: int) -> list[Finding]:
    """The functions whose derivatives do not fit, at a few steps of an instance and at its end."""
    ks = sorted({k * (nlp.n - 1) // (NODES - 1) for k in range(NODES)})
    of_steps, of_end = functions(nlp, it, i, ks)
    if not bool(of_steps.w.isfinite().all() & of_end.w.isfinite().all()):
        return []
    found = named(nlp, of_steps)
    # The cost of a step reads the states that the dynamics lead to within it.
    if any(finding.function.startswith("dynamics") for finding in found):
        found = [finding for finding in found if finding.function.startswith("dynamics")]
    return found + lost(nlp, of_steps) + named(nlp, of_end) + lost(nlp, of_end)


def infinite(along: list[Evaluation]) -> list[Finding]:
    """The first function along a path that is not finite, or has no finite derivatives."""
    try:
        found = first_infinite(along)
    # Functions that cannot be differentiated have been reported already.
    except RuntimeError:
        return []
    return [] if found is None else [found]


def bent(nlp: Transcription, it: Iterate, i: int) -> list[Finding]:
    """The first function along an instance's path that has a derivative which jumps nearby."""
    rows = nlp.nx + 1 + nlp.along.rows
    steps = min(MOST_STEPS, max(1, MOST_POINTS // rows))
    ks = sorted({k * (nlp.n - 1) // max(1, steps - 1) for k in range(steps)})
    for function, w, at, along in functions(nlp, it, i, ks):
        finite = w.isfinite().all(1)
        if not bool(finite.any()):
            continue
        # Failures away from the path have been reported already, or cannot be found this way.
        try:
            bend = first_bend(function, w.nan_to_num(), reach(nlp, w[finite]))
        except (IndexError, RuntimeError, ValueError):
            continue
        if bend is None or not bool(finite[bend.node]):
            continue
        name, shown = rows_of(nlp, along)[bend.row]
        where = "all variables together"
        if bend.coordinate is not None:
            where = variable_name(nlp, bend.coordinate)
        time = f"at t={float(nlp.s[at[bend.node]]):.4g}"
        message = (
            f"has a kink in {where} {time}, where its derivative jumps from {bend.before:.4g} to "
            f"{bend.after:.4g}: {RECTIFIED}."
        )
        return [Finding(shown, place(nlp.problem, name), message)]
    return []


def reach(nlp: Transcription, w: Tensor) -> Tensor:
    """How far each variable may be moved from points `w`, shape `(nodes, d)`."""
    far = w.abs().amax(0).clamp(min=1.0)
    if nlp.points.free_time:
        # A horizon of no length would divide by zero.
        far[nlp.nx] = 0.3 * w[:, nlp.nx].abs().amin()
    return far


def lost(nlp: Transcription, part: Part) -> list[Finding]:
    """The functions whose derivative is lost when it is differentiated again, as `solve` does."""
    function, w, ks, along = part
    if not nlp.backend.by_autograd:
        return []
    ones = torch.ones_like(function(w))
    twice = differentiate(lambda w: (function(w),), w, [ones]).jacobians[0]
    for row, (name, shown) in enumerate(rows_of(nlp, along)):
        with torch.enable_grad():
            at = w.detach().requires_grad_()
            values = function(at)[..., row]
            if not values.requires_grad:
                continue
            (once,) = torch.autograd.grad(values.sum(), at)
        size = once.abs() + twice[:, row].abs()
        # Where the true derivative is zero, the two are different roundings of it.
        known = [z.detach().abs().nan_to_num(0.0, 0.0, 0.0) for z in (size, values)]
        rounding = 1e-11 * known[0].amax(-1, keepdim=True) + 1e-14 * (1 + known[1])[:, None]
        wrong = (
            ~((twice[:, row] - once).abs() <= 1e-5 * size + rounding)
            & once.isfinite()
            & twice[:, row].isfinite()
        )
        if bool(wrong.any()):
            node, coordinate = wrong.nonzero()[0].tolist()
            message = (
                f"has a derivative in {variable_name(nlp, coordinate)}, "
                f"{once[node, coordinate]:.4g} at t={float(nlp.s[ks[node]]):.4g}, that is lost "
                "where it is differentiated again: use torch's functions, without "
                "once_differentiable."
            )
            return [Finding(shown, place(nlp.problem, name), message)]
    return []


def named(nlp: Transcription, part: Part) -> list[Finding]:
    """The findings made from the mismatches of the functions of a step or of the end."""
    function, w, ks, along = part
    far = reach(nlp, w)
    try:
        found = mismatches(function, w, far)
    except (IndexError, RuntimeError, ValueError):
        # So far from the answer, a table may end or a matrix may not be definite.
        found = mismatches(function, w, 1e-3 * far)
    rows = rows_of(nlp, along)
    findings = []
    for row, coordinate, node, derivative, quotient in found:
        name, shown = rows[row]
        time = float(nlp.s[ks[node]])
        variable = "the variables" if coordinate is None else variable_name(nlp, coordinate)
        change = f"its values change at the rate {quotient:.4g}"
        if quotient == float("inf"):
            change = "its values jump"
        message = (
            f"has the derivative {derivative:.4g} in {variable} at t={time:.4g}, but {change}: "
            "use torch's smooth functions, without detach, item, numpy, long or round."
        )
        findings.append(Finding(shown, place(nlp.problem, name), message))
    return findings


def evaluations(nlp: Transcription, it: Iterate, i: int) -> list[Evaluation]:
    """The problem's functions along the path of one instance, in true time."""
    problem, points = nlp.problem, nlp.points
    own = {**nlp.given.shared, **{name: value[i] for name, value in nlp.given.own.items()}}
    target = None if nlp.given.target is None else nlp.given.target[i][None]
    rate = float(it.z[0, i, nlp.nx]) if points.free_time else 1.0
    found = []
    every = -(-nlp.n // MOST_STEPS)
    for name in written(problem):
        ends = name.startswith("terminal")
        for k in [nlp.n] if ends else [*range(0, nlp.n, every), nlp.n]:
            z = it.z[k, i].detach()
            u = it.u[min(k, nlp.n - 1), i].detach()
            if not bool(z.isfinite().all() & u.isfinite().all()):
                continue
            time = float(problem.t0) + rate * (float(nlp.s[k]) - float(problem.t0))
            value = partial(value_at, nlp, name, z, u, time, target, own)
            found.append(Evaluation(name, place(problem, name), time, value))
    return found


def value_at(
    nlp: Transcription, name: str, z: Tensor, u: Tensor, time: float, target: Tensor | None,
    own: dict[str, Tensor],
) -> Tensor:  # fmt: skip
    """The value of a function at one point, with a graph.

    Arguments:
        nlp: The discretised problem.
        name: The name of the function.
        z, u: The extended state and the control, vectors.
        time: The time of the point.
        target: What the costs compare with, `(1, ...)`, or None.
        own: The instance's own parameters.
    """
    problem = nlp.problem
    u = u.requires_grad_().reshape(1, *(problem.control_shape or ()))

    def value(z: Tensor) -> Tensor:
        x = z[: nlp.nx].reshape(1, *problem.state_shape)
        return FUNCTIONS[name](problem, Point(z.new_tensor(time), x, u, target))

    return nlp.points.replaced(value, z.requires_grad_(), own)
