"""What methods that vary the control alone share: rollout, costates, and an outcome."""

import torch
from torch import Tensor

from .iterate import Iterate, largest, linearise, slacks, stationarity
from .method import Code, Outcome
from .newton import is_minimum
from .optimality import violations
from .start import adjoint
from .transcription import Transcription


def check_fixed(nlp: Transcription, method: str) -> None:
    """Raises a ValueError if something beside the control is to be found."""
    if nlp.nz > nlp.nx:
        raise ValueError(f"{method} finds no free final time and no static parameters.")


def rollout(nlp: Transcription, u: Tensor) -> tuple[Tensor, Tensor]:
    """The states that the controls lead to, `(n + 1, batch, nx)`, and the cost, `(batch,)`."""
    x = nlp.rollout(nlp.x0, u)
    _, c, _ = nlp.stages(x[:-1], u)
    return x, c.sum((0, 2)) + nlp.ends(x[-1:])[0][0, :, 0]


def outcome(
    nlp: Transcription, u: Tensor, nu: Tensor, eta: Tensor, iterations: int, tolerance: float
) -> Outcome:
    """The outcome for given controls and multipliers of terminal and path constraint.

    Multipliers of bounds are the slope of the Lagrangian where the control lies on one.
    """
    x, _ = rollout(nlp, u)
    it = Iterate.without_multipliers(nlp, x, u)
    y = it.y.clone()
    y[..., nlp.along.bounded :] = eta
    it = it._replace(nu=nu, y=y)
    lin = linearise(nlp, it)
    it = it._replace(costate=adjoint(nlp, lin, it))
    _, slope, _ = stationarity(nlp, it, lin)
    near = 1e-6
    low, high = nlp.along.at_lower - nlp.nz, nlp.along.at_upper - nlp.nz
    at_lower = u[..., low] <= nlp.along.lower + near
    at_upper = u[..., high] >= nlp.along.upper - near
    y = torch.cat(
        [
            torch.where(at_lower, slope[..., low].clamp(min=0), 0.0),
            torch.where(at_upper, (-slope[..., high]).clamp(min=0), 0.0),
            eta,
        ],
        -1,
    )
    s, s_end = slacks(nlp, lin, 0.0)
    # On a bound a slack of zero would leave no finite weight for the second-order condition.
    it = it._replace(y=y, s=s.clamp(min=1e-12), s_end=s_end.clamp(min=1e-12))
    _, slope, _ = stationarity(nlp, it, lin)
    good = (largest(slope) * nlp.n <= tolerance) & (violations(lin) <= tolerance)
    code = torch.where(good, Code.CONVERGED.value, Code.EXHAUSTED.value)
    if bool(good.any()):
        good = is_minimum(nlp, it, lin, torch.full_like(nlp.scale, tolerance / 10))
    return Outcome(it, code, torch.full_like(code, iterations), good)
