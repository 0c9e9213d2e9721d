"""From the constrained problem to the one with penalties for constraints, and back."""

from .iterate import Iterate, linearise, slacks
from .start import COLD
from .transcription import inside, Transcription


def relaxed(nlp: Transcription, it: Iterate, stretch: float) -> Iterate:
    """A start of the constrained problem as one of the penalised, a free horizon stretched."""
    z = it.z.clone()
    if nlp.points.free_time:
        low, high = (bound[0] for bound in nlp.theta_bounds)
        z[..., nlp.nx] = inside(stretch * z[..., nlp.nx], low, high)
    bounded, end_bounded = nlp.along.bounded, nlp.end.bounded
    lin = linearise(nlp, it._replace(z=z))
    s, s_end = -lin.rows[..., :bounded], -lin.rows_end[..., :end_bounded]
    return it._replace(
        z=z, nu=it.nu[..., :0], s=s, y=COLD / nlp.n / s, s_end=s_end, y_end=COLD / s_end
    )


def tightened(nlp: Transcription, it: Iterate, weight: float) -> Iterate:
    """An iterate of the penalised problem as a start for the constrained one.

    The slope of the penalty estimates the multipliers: `weight psi`, `weight max(omega, 0)` and
    `weight max(g, 0)`.
    """
    lin = linearise(nlp, Iterate.without_multipliers(nlp, it.z, it.u))
    s, s_end = slacks(nlp, lin, 1e-2)
    return it._replace(
        nu=weight * lin.end.values[1],
        s=s,
        y=(COLD / s + weight * lin.rows.clamp(min=0)) / nlp.n,
        s_end=s_end,
        y_end=COLD / s_end + weight * lin.rows_end.clamp(min=0),
    )
