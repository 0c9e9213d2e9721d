"""The word and the reason for how each instance ended."""

import torch
from torch import Tensor

from ..constants import Code
from ..interior_point.restoration import violation_norm
from ..method import Outcome
from ..transcription.backend import Linearisation
from ..transcription.iterate import largest, linearise, residuals
from ..transcription.sizes import in_units
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import given_violations, step_width
from .violated import worst_violation


def describe(
    nlp: Transcription, outcome: Outcome, lin: Linearisation, tolerance: float
) -> list[tuple[str, str]]:
    """Status and reason of each instance; a violation below the tolerance does not count."""
    good = (outcome.code == Code.CONVERGED.value) & outcome.minimum
    invalid = outcome.code == Code.INVALID.value
    words = [("converged", f"all residuals are below {tolerance:.0e}")] * len(good)
    errors = residuals_in_units(nlp, outcome.it, lin)
    for i in (good & (errors > tolerance)).nonzero()[:, 0].tolist():
        words[i] = ("converged", f"to {float(errors[i]):.1e}, and no step improves it any more")
    outside = given_violations(nlp, lin)
    for i in (good & (largest(outside) > tolerance)).nonzero()[:, 0].tolist():
        k, row = divmod(int(outside[:, i].argmax()), outside.shape[-1])
        t = nlp.problem.t0 + k * float(step_width(nlp, outcome.it)[i])
        words[i] = (
            "converged",
            f"{words[i][1]}; the given initial state violates path_constraint[{row}] by "
            f"{float(outside[k, i, row]):.3g} at t={t:.4g}, which no control can change",
        )
    for i in good.nonzero()[:, 0].tolist():
        for name in without_effect(nlp, lin, i):
            line = f"the static parameter {name!r} changes nothing along this path"
            words[i] = (words[i][0], f"{words[i][1]}; {line}")
    at = (~(good | invalid)).nonzero()[:, 0]
    if len(at) > 0:
        others = explained(nlp.take(at), outcome.take(at), lin.take(at), tolerance)
        for i, word in zip(at.tolist(), others, strict=True):
            words[i] = word
    for i in invalid.nonzero()[:, 0].tolist():
        words[i] = ("invalid", nlp.invalid[i])
    return words


def without_effect(nlp: Transcription, lin: Linearisation, i: int) -> list[str]:
    """The static parameters in which all derivatives of an instance are zero."""
    found, start = [], nlp.nx + nlp.points.free_time
    for name, like in nlp.points.static.items():
        entries = slice(start, start + like.numel())
        jacobians = [*lin.along.jacobians, *lin.end.jacobians]
        if all(bool((jacobian[:, i, :, entries] == 0).all()) for jacobian in jacobians):
            found.append(name)
        start += like.numel()
    return found


def residuals_in_units(nlp: Transcription, it: Iterate, lin: Linearisation) -> Tensor:
    """The residuals' error in the units that the problem was solved in, shape `(batch,)`."""
    if nlp.sizes is None or nlp.sizes.are_ones():
        return residuals(nlp, it, lin).error
    part, it = nlp.in_units(nlp.sizes), in_units(nlp, nlp.sizes, it)
    return residuals(part, it, linearise(part, it)).error


def explained(
    nlp: Transcription, outcome: Outcome, lin: Linearisation, tolerance: float
) -> list[tuple[str, str]]:
    """Status and reason of instances that are not converged minima."""
    words, it = [], outcome.it
    residual = residuals(nlp, it, lin)
    errors, violations = residual.error.tolist(), residual.feasibility.tolist()
    for i, (value, error, violation) in enumerate(
        zip(outcome.code.tolist(), errors, violations, strict=True)
    ):
        kind = Code(value)
        if kind is Code.CONVERGED:
            words.append(
                ("saddle", "stationary, but the cost has negative curvature in some control")
            )
        elif kind is Code.DIVERGED or not error < float("inf"):
            words.append(("diverged", f"not finite at {where_not_finite(nlp, it, lin, i)}"))
        elif kind is Code.UNBOUNDED:
            words.append(unbounded(nlp, it, lin, i, violation, tolerance))
        elif kind is Code.INFEASIBLE:
            where = worst_violation(nlp, it, lin, i, tolerance)
            norm = float(violation_norm(nlp, lin)[i])
            words.append(("infeasible", f"{where}, and near there no control violates less: "
                          f"{norm:.6g} in the Euclidean norm of all constraints"))  # fmt: skip
        elif kind is Code.EXHAUSTED:
            reason = f"residual {error:.1e} after the last iteration allowed"
            if violation > tolerance:
                reason = f"{reason}, {worst_violation(nlp, it, lin, i, tolerance)}"
            words.append(("exhausted", reason))
        else:
            words.append(stalled(nlp, it, lin, i, tolerance, error))
    return words


def stalled(
    nlp: Transcription, it: Iterate, lin: Linearisation, i: int, tolerance: float, error: float
) -> tuple[str, str]:
    """An instance for which no step was good any more."""
    reason = f"no step lowers cost or violation any more, residual {error:.1e}"
    where = worst_violation(nlp, it, lin, i, tolerance)
    word = "diverged" if where.startswith("dynamics") else "stalled"
    return word, f"{reason}, {where}"


def unbounded(
    nlp: Transcription, it: Iterate, lin: Linearisation, i: int, violation: float, tolerance: float
) -> tuple[str, str]:
    """An instance whose variables grew without end."""
    cost = float(lin.along.values[1][:, i].sum() + lin.end.values[0][:, i].sum())
    most = float(it.u[:, i].abs().max())
    if violation > 1e-6 * (1 + most) or cost > 0:
        where = worst_violation(nlp, it, lin, i, tolerance)
        return "diverged", f"the control grew to {most:.1e}, {where}"
    return "unbounded", f"the cost fell to {cost:.1e} while the control grew to {most:.1e}"


def where_not_finite(nlp: Transcription, it: Iterate, lin: Linearisation, i: int) -> str:
    """The first step whose value or derivatives are not finite, in words."""
    finite = torch.ones(nlp.n, dtype=torch.bool, device=nlp.x0.device)
    for value in (*lin.along.values, *lin.along.jacobians, lin.along.hessian):
        finite &= value[:, i].flatten(1).isfinite().all(1)
    if bool(finite.all()):
        return "the final state"
    k = int((~finite).nonzero()[0, 0])
    t = nlp.problem.t0 + k * float(step_width(nlp, it)[i])
    return f"step {k}, t={t:.4g}"
