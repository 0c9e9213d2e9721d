"""Corrections of second order: a step that raises the violation is bent back to the constraints.

A. Waechter and L. T. Biegler, Mathematical Programming 106 (2006), section 2.4.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..constants import CORRECTED, CORRECTIONS
from ..transcription.backend import Linearisation
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from .filter import Filter, Merit, merit, missed
from .newton import convexified, direction, lengths, stages
from .riccati import Sweep


class Search(NamedTuple):
    """What a line search knows, for each instance.

    Attributes:
        it: Where it starts.
        filter: What it has to be better than.
        now: The merit there.
        slope: The derivative of the barrier function along the full step.
        alpha: The length of its first step.
        mu: The barrier parameter.
        shift: The multiple of the identity that made the Hessian convex.
    """

    it: Iterate
    filter: Filter
    now: Merit
    slope: Tensor
    alpha: Tensor
    mu: Tensor
    shift: Tensor

    def take(self, at: Tensor) -> "Search":
        """The search of some of the instances."""
        now = Merit(*(v[at] for v in self.now))
        values = (v[at] for v in self[3:])
        return Search(self.it.take(at), self.filter.take(at), now, *values)


def corrected(
    nlp: Transcription, lin: Linearisation, search: Search, trial: Iterate, sweep: Sweep
) -> tuple[Iterate, Tensor, Tensor]:
    """Good points near the first trial of a line search, which was not good.

    A correction solves the same linear system for what the trial still misses: `c(x)` becomes
    `alpha c(x) + c(x + alpha d)`.

    Arguments:
        nlp: The discretised problem.
        lin: The linearisation where the search starts.
        search: The search.
        trial: Its first trial.
        sweep: How the stages are gone through.

    Returns:
        The points, which of them are good, and which of these are good because of the cost.
    """
    it, mu, share = search.it, search.mu, search.alpha
    before, chosen = merit(nlp, trial, mu).violation, trial
    found = torch.zeros_like(share, dtype=torch.bool)
    for_cost, going = found, ~found
    for _ in range(CORRECTIONS):
        lin = added(nlp, lin, it, trial, share)
        step, _ = convexified(stages(nlp, it, lin, mu), -search.shift, sweep)
        change = direction(nlp, it, lin, mu, step)
        share, dual = lengths(it, change, mu)
        trial = it.moved(change, share, dual)
        after = merit(nlp, trial, mu)
        good, armijo = search.filter.judge(search.now, after, search.slope, search.alpha)
        new = good & going
        chosen, for_cost = trial.where(new, chosen), torch.where(new, armijo, for_cost)
        found = found | new
        going = going & ~good & (after.violation <= CORRECTED * before)
        before = after.violation
        if not bool(going.any()):
            break
    return chosen, found, for_cost


def added(
    nlp: Transcription, lin: Linearisation, it: Iterate, trial: Iterate, share: Tensor
) -> Linearisation:
    """A linearisation whose residuals are a share of the old ones plus those of a trial.

    Arguments:
        nlp: The discretised problem.
        lin: The linearisation.
        it: The point where it was made.
        trial: Another point.
        share: The share, shape `(batch,)`.
    """
    more, share = missed(nlp, trial), share[:, None]
    phi, psi, omega = lin.end.values
    return lin._replace(
        end=lin.end._replace(values=(phi, share * psi + more.psi, omega)),
        defect=share * lin.defect + more.defect,
        rows=share * (lin.rows + it.s) + more.rows - it.s,
        rows_end=share * (lin.rows_end + it.s_end) + more.rows_end - it.s_end,
    )
