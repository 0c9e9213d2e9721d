"""The filter line search: a step is good if it lowers the cost or the constraint violation.

A. Waechter and L. T. Biegler, Mathematical Programming 106 (2006), section 2.3.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..constants import (
    ARMIJO,
    DESCENT_POWER,
    GAMMA,
    LITTLE_VIOLATION,
    MOST_GROWTH,
    MOST_VIOLATION,
    ROUNDINGS,
    VIOLATION_POWER,
)
from ..transcription.iterate import over
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate


class Merit(NamedTuple):
    """What a step is judged by, for each instance.

    Attributes:
        violation: The sum of all constraint violations.
        cost: The barrier function: the scaled cost minus `mu sum w log s`.
        rounding: A violation that rounding alone explains.
    """

    violation: Tensor
    cost: Tensor
    rounding: Tensor


class Miss(NamedTuple):
    """The amounts by which an iterate misses each constraint, and the parts of its cost.

    Attributes:
        defect: The dynamics, `F - x`.
        psi: The terminal constraint.
        rows, rows_end: The inequalities with their slacks.
        c, phi: The costs of the steps and of the end.
    """

    defect: Tensor
    psi: Tensor
    rows: Tensor
    rows_end: Tensor
    c: Tensor
    phi: Tensor


def missed(nlp: Transcription, it: Iterate) -> Miss:
    """By how much an iterate misses each constraint."""
    F, c, g = nlp.stages(it.z[:-1], it.u)
    phi, psi, omega = nlp.ends(it.z[-1:], it.u[-1:])
    rows = nlp.along.values(torch.cat([it.z[:-1], it.u], -1), nlp.imposed(g))
    rows_end = nlp.end.values(it.end, omega - nlp.rooms()[1])
    return Miss(F - it.z[1:, :, : nlp.nx], psi, rows + it.s, rows_end + it.s_end, c, phi)


def merit(nlp: Transcription, it: Iterate, mu: Tensor) -> Merit:
    """Violation and barrier function of an iterate; infinite where they are not finite."""
    parts, x = missed(nlp, it), it.z[1:, :, : nlp.nx]
    violation = over(torch.abs, *parts[:4])
    eps = torch.finfo(x.dtype).eps
    rounding = eps * over(lambda v: 1 + v.abs(), x, parts.psi, it.s, it.s_end)
    barrier = over(torch.log, it.s) / nlp.n + over(torch.log, it.s_end)
    cost = nlp.scale * over(lambda v: v, parts.c, parts.phi) - mu * barrier
    finite = violation.isfinite() & cost.isfinite()
    inf = torch.full_like(cost, torch.inf)
    return Merit(torch.where(finite, violation, inf), torch.where(finite, cost, inf), rounding)


class Filter(NamedTuple):
    """Pairs of violation and cost that no later iterate may be worse than in both.

    Attributes:
        entries: The pairs, shape `(batch, entries, 2)`; infinite where there is none.
        most: The largest violation allowed, shape `(batch,)`.
        little: The violation below which only the cost counts, shape `(batch,)`.
    """

    entries: Tensor
    most: Tensor
    little: Tensor

    @classmethod
    def empty(cls, violation: Tensor) -> "Filter":
        """The filter of a first iterate with that violation."""
        scale = violation.clamp(min=1)
        return cls(
            violation.new_empty(len(violation), 0, 2),
            MOST_VIOLATION * scale,
            LITTLE_VIOLATION * scale,
        )

    def take(self, index: Tensor) -> "Filter":
        """The filters of some of the instances."""
        return type(self)(*(value[index] for value in self))

    def accepts(self, trial: Merit) -> Tensor:
        """Whether no pair of the filter dominates the trial.

        A trial whose violation rounding explains is never dominated.
        """
        violation, cost = self.entries.unbind(-1)
        lower = torch.maximum((1 - GAMMA) * violation, trial.rounding[:, None])
        better = (trial.violation[:, None] <= lower) | (
            trial.cost[:, None] <= cost - GAMMA * violation
        )
        return better.all(1) & (trial.violation <= self.most)

    def extended(self, now: Merit, mask: Tensor) -> "Filter":
        """The filter with one more pair where `mask` holds."""
        inf = torch.full_like(now.cost, torch.inf)
        pair = torch.stack([torch.where(mask, v, inf) for v in now[:2]], -1)
        return self._replace(entries=torch.cat([self.entries, pair[:, None]], 1))

    def cleared(self, mask: Tensor) -> "Filter":
        """The filter without pairs where `mask` holds."""
        entries = torch.where(mask[:, None, None], torch.inf, self.entries)
        kept = entries.isfinite().any(2).any(0)
        return self._replace(entries=entries[:, kept])

    def judge(
        self, now: Merit, trial: Merit, slope: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Whether the step of length `alpha` is good, and whether it is so because of the cost.

        Arguments:
            now, trial: Before and after the step.
            slope: The derivative of the cost along the full step.
            alpha: The length of the step.
        """
        tiny = ROUNDINGS * torch.finfo(now.cost.dtype).eps * now.cost.abs()
        descent = -slope.clamp(max=0)
        for_cost = (slope < 0) & (alpha * descent**DESCENT_POWER > now.violation**VIOLATION_POWER)
        for_cost &= now.violation <= self.little
        armijo = trial.cost <= now.cost + ARMIJO * alpha * slope + tiny
        real = (now.violation - now.rounding).clamp(min=0)
        progress = (trial.violation <= (1 - GAMMA) * now.violation) | (
            trial.cost <= now.cost - GAMMA * real + tiny
        )
        good = torch.where(for_cost, armijo, progress) & self.accepts(trial)
        first = self.most / MOST_VIOLATION
        good &= trial.violation <= torch.maximum(MOST_GROWTH * now.violation, first)
        return good & trial.cost.isfinite(), for_cost & armijo
