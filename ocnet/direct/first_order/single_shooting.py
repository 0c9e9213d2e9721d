"""Parts shared by the methods that vary the control alone: rollout, costates, and outcome."""

import torch
from torch import Tensor

from ..constants import Code, LAST_BARRIER
from ..interior_point.newton import is_minimum
from ..method import Outcome
from ..transcription.inequality import Inequalities
from ..transcription.iterate import complementarity, largest, linearise, slacks, stationarity
from ..transcription.start import adjoint
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import violations


def check_fixed(nlp: Transcription, method: str) -> None:
    """Raises a ValueError if anything other than the control is to be found."""
    if nlp.nz > nlp.nx:
        raise ValueError(f"{method} finds no free final time and no static parameters.")


def rollout(nlp: Transcription, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The extended states that the controls lead to, and the cost, `(batch,)`."""
    z = nlp.rollout(torch.cat([nlp.x0, theta], -1), u)
    _, c, _ = nlp.stages(z[:-1], u)
    return z, c.sum((0, 2)) + nlp.ends(z[-1:], u[-1:])[0][0, :, 0]


def outcome(
    nlp: Transcription, u: Tensor, theta: Tensor, nu: Tensor, eta: Tensor, eta_end: Tensor,
    iterations: int, tolerance: float,
) -> Outcome:  # fmt: skip
    """The outcome for given controls, constants and multipliers of all rows but bounds.

    Where a variable is so close to a bound that it is converging to it, the multiplier of the bound
    is the slope of the Lagrangian; how close it came counts as complementarity.
    """
    z, _ = rollout(nlp, u, theta)
    it = Iterate.without_multipliers(nlp, z, u)
    y, y_end = it.y.clone(), it.y_end.clone()
    y[..., nlp.along.bounded :], y_end[..., nlp.end.bounded :] = eta, eta_end
    it = it._replace(nu=nu, y=y, y_end=y_end)
    lin = linearise(nlp, it)
    it = it._replace(costate=adjoint(nlp, lin, it))
    _, slope, _ = stationarity(nlp, it, lin)
    near = tolerance**0.5
    y = torch.cat([of_bounds(nlp.along, u, slope, nlp.nz, near), eta], -1)
    by_constants = it.costate[:1, :, nlp.nx :]
    y_end = torch.cat([of_bounds(nlp.end, theta[None], by_constants, nlp.nx, near), eta_end], -1)
    s, s_end = slacks(nlp, lin, 0.0)
    # On a bound a slack of zero would leave no finite weight for the second-order condition.
    it = it._replace(y=y, s=s.clamp(min=1e-12), y_end=y_end, s_end=s_end.clamp(min=1e-12))
    it = it._replace(costate=adjoint(nlp, lin, it))
    _, slope, _ = stationarity(nlp, it, lin)
    good = (largest(slope) * nlp.n <= tolerance) & (violations(nlp, lin) <= tolerance)
    good &= largest(it.costate[:1, :, nlp.nx :]) <= tolerance
    good &= complementarity(nlp, it, torch.zeros_like(nlp.scale)) <= tolerance
    code = torch.where(good, Code.CONVERGED.value, Code.EXHAUSTED.value)
    if bool(good.any()):
        good = is_minimum(nlp, it, lin, torch.full_like(nlp.scale, LAST_BARRIER * tolerance))
    return Outcome(it, code, torch.full_like(code, iterations), good)


def of_bounds(rows: Inequalities, value: Tensor, slope: Tensor, first: int, near: float) -> Tensor:
    """Multipliers of bounds: nonzero only where a variable is within `near` of the bound.

    The first of the variables has the number `first` among those of `rows`.
    """
    low, high = rows.at_lower - first, rows.at_upper - first
    at_lower = value[..., low] <= rows.lower + near
    at_upper = value[..., high] >= rows.upper - near
    return torch.cat(
        [
            torch.where(at_lower, slope[..., low].clamp(min=0), 0.0),
            torch.where(at_upper, (-slope[..., high]).clamp(min=0), 0.0),
        ],
        -1,
    )
