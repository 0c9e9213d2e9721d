"""The primal-dual interior point method on a batch of discretised control problems."""

from dataclasses import dataclass
from typing import get_args, NamedTuple

import torch
from torch import Tensor

from ..._arguments import check_integer
from ..constants import (
    BARRIER_FACTOR,
    BARRIER_POWER,
    BARRIER_REACHED,
    Code,
    HALVINGS,
    INSIST,
    LAST_BARRIER,
    LESS,
    MOST_FAILURES,
    MOST_MULTIPLIER,
    MOST_SHIFT,
    MOST_VARIABLE,
    PATIENCE,
    SAFEGUARD,
    SHORT,
)
from ..method import accuracy, Method, Outcome, replaced
from ..settings import check_tolerance
from ..transcription.backend import Linearisation
from ..transcription.bounds import inside
from ..transcription.iterate import complementarity, largest, linearise, over, residuals
from ..transcription.sizes import by_size, in_own_units, in_units, most_ratio
from ..transcription.start import again_from, COLD, WARM, with_multipliers
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import violations
from .correction import corrected, Search
from .filter import Filter, merit
from .newton import convexified, direction, is_minimum, lengths, stages
from .probing import refuted
from .restoration import better, finite, relaxed, tightened
from .riccati import Sweep


STRETCHES = 4.0, 12.0, 1.0
"""How much longer a free horizon is in further attempts, because one that is too short is a trap.

A state that first has to turn back misses its target by more when given a little more time.
"""

ASIDE = 1e-2
"""How far the controls move away from a stationary point that is not a minimum."""

LIGHT = 1e3
"""The weight of the penalties that replace the constraints where the constraints lead nowhere."""

HOLD = 1e3
"""How strongly such a penalty holds a free final time."""

ACCEPTABLE, FEASIBLE = 1e3, 1e-8
"""The limits below which a point that cannot be improved is accepted.

They are for its residual, as a multiple of the tolerance, and for its violation.
"""

ROOM = 1e-8
"""The most by which rows other than bounds are relaxed, as constraints may leave no interior.

They leave none where the terminal constraint demands a state on the edge of the path constraint.
"""

RESTORING, INFEASIBLE = 1e3, 1e-6
"""The weight of the violation where it alone counts, and the least that counts as a violation."""

REFUTATIONS = 3
"""How often to search again for a least violation after other controls have refuted one."""

COARSE = 1e3
"""The cost may have been scaled down by up to this factor more than the answer's size asks for.

The residuals are absolute: where all terms of the optimality conditions turn out to be small, they
say little. Beyond this factor, the answer is therefore improved in units that suit it.
"""


class Work(NamedTuple):
    """What one iteration hands to the next, for each instance that still runs.

    Attributes:
        mu: The barrier parameter.
        shift: The multiple of the identity that made the Hessian convex last (`convexified`).
        failures: How many line searches in a row found no good step.
        least: The least residual so far.
        waited: How many iterations ago that was.
        best: The variables there.
        place: Which instances these are.
    """

    it: Iterate
    best: Iterate
    filter: Filter
    mu: Tensor
    shift: Tensor
    failures: Tensor
    least: Tensor
    waited: Tensor
    place: Tensor

    def take(self, at: Tensor) -> "Work":
        """Some of the instances."""
        variables = self.it.take(at), self.best.take(at)
        return type(self)(*variables, self.filter.take(at), *(v[at] for v in self[3:]))


@dataclass(frozen=True)
class InteriorPoint(Method):
    """A second-order primal-dual interior point method with a filter line search, for a batch.

    Multiple shooting: the states are variables, the dynamics constraints, so that a start need
    not satisfy them. Each iteration solves the Newton system by a Riccati sweep; instances share
    the sweep but nothing else, and leave it when they are done.

    Arguments:
        tolerance: That of the residuals; by default 1e-9 in double, 1e-4 in single precision.
        max_iterations: The number of iterations after which to give up an instance, including
            further attempts and penalised problems; at most a million.
        sweep: "sequential" goes through the stages one after the other; "scan" is parallel in
            time, `2 log2 N` levels deep, by torch; "auto" takes the faster one: machine code
            where there is some, else the scan for few instances with very many stages.

    The barrier parameter ends at a tenth of the tolerance.

    Raises:
        TypeError, ValueError: If a setting is of the wrong kind or out of range.
    """

    tolerance: float | None = None
    max_iterations: int = 1000
    sweep: Sweep = "auto"

    def __post_init__(self) -> None:
        check_integer("max_iterations", self.max_iterations)
        if self.tolerance is not None:
            check_tolerance(self.tolerance)
        if self.sweep not in get_args(Sweep):
            names = " or ".join(f'"{name}"' for name in get_args(Sweep))
            raise ValueError(f"sweep must be {names}, but got {self.sweep!r}.")

    @property
    def accuracy(self) -> float | None:
        return self.tolerance

    @property
    def by_torch(self) -> str | None:
        return 'sweep="scan"' if self.sweep == "scan" else None

    @torch.no_grad()
    def run(self, nlp: Transcription, start: Iterate, mu: float) -> Outcome:
        tolerance = accuracy(self, start.z.dtype)
        nlp.room = min(tolerance, ROOM if start.z.dtype == torch.float64 else 1e2 * ROOM)
        budget = torch.full_like(nlp.scale, self.max_iterations, dtype=torch.int64)
        out = self.in_suggested_units(nlp, start, mu, budget)
        lin = linearise(nlp, out.it)
        out = out._replace(lin=lin)
        coarse = (out.code == Code.CONVERGED.value) & (self.left(out) > 0)
        coarse &= most_ratio(nlp, out.it, lin) > COARSE
        at = coarse.nonzero()[:, 0]
        if len(at) == 0:
            return out
        finer, ratio = by_size(nlp.take(at), out.it.take(at))
        too = (ratio > COARSE).nonzero()[:, 0]
        if len(too) == 0:
            return out
        at, part, ratio = at[too], finer.take(too), ratio[too]
        before = out.take(at)
        start = again_from(part, before.it, ratio)
        again = self.in_suggested_units(part, start, WARM, self.left(before)).after(before)
        return replaced(out, at, again._replace(it=again.it.weighed(1 / ratio)))

    def in_suggested_units(
        self, nlp: Transcription, start: Iterate, mu: float, budget: Tensor
    ) -> Outcome:
        """`attempts` in the units that a start suggested; the outcome is in the user's.

        Arguments:
            nlp: The discretised problem.
            start: Where to start.
            mu: The barrier parameter to start with.
            budget: How many iterations each instance may take, shape `(batch,)`.
        """
        units = nlp.sizes
        if units is None or units.are_ones():
            return self.attempts(nlp, start, mu, budget)
        inner = nlp.in_units(units)
        out = self.attempts(inner, in_units(nlp, units, start), mu, budget)
        return out._replace(it=in_own_units(nlp, units, out.it))

    def attempts(self, nlp: Transcription, start: Iterate, mu: float, budget: Tensor) -> Outcome:
        """The best result of iterating from the start and of going by way of other problems.

        Arguments:
            nlp: The discretised problem, in the units that it is solved in.
            start: Where to start.
            mu: The barrier parameter to start with.
            budget: How many iterations each instance may take, shape `(batch,)`.
        """
        tolerance = accuracy(self, start.z.dtype)
        out = self.left_saddles(nlp, self.iterate(nlp, start, mu, budget))
        out = self.accepted(nlp, out, tolerance)
        if len(nlp.along) + len(nlp.end) + nlp.n_psi == 0:
            return out
        further = [lambda nlp, start, out, stretch=s: self.detour(nlp, start, out, stretch)
                   for s in (STRETCHES if nlp.points.free_time else (1.0,))]  # fmt: skip
        lost = torch.tensor([Code.STALLED.value, Code.DIVERGED.value]).to(out.code)
        for attempt in (*further, self.restored):
            at = (torch.isin(out.code, lost) & (self.left(out) > 0)).nonzero()[:, 0]
            if len(at) > 0:
                part, before = nlp.take(at), out.take(at)
                again = attempt(part, start.take(at), before)
                again = self.accepted(part, again, tolerance)
                out = replaced(out, at, better(part, before, again))
        return out

    def accepted(self, nlp: Transcription, out: Outcome, tolerance: float) -> Outcome:
        """Marks as converged the answers that only rounding keeps from being closer."""
        doubtful = (out.code == Code.STALLED.value) | (out.code == Code.DIVERGED.value)
        at = (doubtful & out.minimum).nonzero()[:, 0]
        if len(at) == 0:
            return out
        part, it = nlp.take(at), out.it.take(at)
        lin = linearise(part, it)
        close = residuals(part, it, lin).error <= ACCEPTABLE * tolerance
        close &= violations(part, lin) <= max(tolerance, FEASIBLE)
        code = torch.where(close, Code.CONVERGED.value, out.code[at])
        return out._replace(code=out.code.index_copy(0, at, code))

    def left(self, out: Outcome) -> Tensor:
        """How many iterations each instance may still take."""
        return self.max_iterations - out.iterations

    def left_saddles(self, nlp: Transcription, out: Outcome) -> Outcome:
        """Where the answer is stationary but no minimum, goes on from controls near it."""
        saddle = (out.code == Code.CONVERGED.value) & ~out.minimum
        at = (saddle & (self.left(out) > 0)).nonzero()[:, 0]
        if len(at) == 0:
            return out
        part, nlp = out.take(at), nlp.take(at)
        start = with_multipliers(nlp, part.it.z, shifted(nlp, part.it.u), COLD, rescale=False)
        again = self.iterate(nlp, start, COLD, self.left(part))
        return replaced(out, at, again.after(part))

    def detour(self, nlp: Transcription, start: Iterate, lost: Outcome, stretch: float) -> Outcome:
        """Tries again by way of the problem with penalties for constraints.

        The second attempt starts where the penalised cost is least.

        Arguments:
            nlp: The transcribed problem.
            start: Where the first attempt started.
            lost: How it ended.
            stretch: The factor for the guess of a free final time.
        """
        start = relaxed(nlp, start, stretch)
        anchor = start.z[0, :, nlp.nx :]
        penalised = nlp.relaxed(LIGHT, anchor, hold=HOLD)
        soft = self.iterate(penalised, start, COLD, self.left(lost)).after(lost)
        return self.iterate(nlp, tightened(nlp, soft.it, LIGHT), COLD, self.left(soft)).after(soft)

    def restored(self, nlp: Transcription, start: Iterate, lost: Outcome) -> Outcome:
        """Looks for the least violation, without the cost, and goes on from where it is zero.

        The violation is that of `restoration.violation_norm`. A minimum of it that is not zero
        proves that the problem is infeasible, as far as one can see from there.
        """
        best, iterations = lost, lost.iterations
        # The second start is not symmetric: symmetric ones may never leave a saddle of the
        # violation.
        for it, share in ((lost.it, 3), (start._replace(u=shifted(nlp, start.u)), 1)):
            before = best._replace(iterations=iterations)
            at = ((best.code != Code.CONVERGED.value) & (self.left(before) > 0)).nonzero()[:, 0]
            if len(at) > 0:
                part = nlp.take(at)
                found = self.least_violation(part, it.take(at), before.take(at), share)
                iterations = iterations.index_copy(0, at, found.iterations)
                best = replaced(best, at, better(part, best.take(at), found))
        best = best._replace(iterations=iterations)
        for _ in range(REFUTATIONS):
            claimed = (best.code == Code.INFEASIBLE.value) & (self.left(best) > 0)
            at = claimed.nonzero()[:, 0]
            if len(at) == 0:
                break
            it, less = refuted(nlp.take(at), best.it.take(at))
            at, it = at[less], it.take(less.nonzero()[:, 0])
            if len(at) == 0:
                break
            part, before = nlp.take(at), best.take(at)
            found = self.least_violation(part, it, before, 1)
            best = replaced(best, at, better(part, before, found))
        return best

    def least_violation(
        self, nlp: Transcription, it: Iterate, before: Outcome, share: int
    ) -> Outcome:
        """The point of least violation near an iterate; where that is zero, an attempt from there.

        Arguments:
            nlp: The discretised problem.
            it: Where the search starts.
            before: What was tried before.
            share: The search for the least violation may use one `share`-th of the iterations left.
        """
        anchor = torch.zeros_like(nlp.anchor)
        penalised = nlp.relaxed(RESTORING, anchor, share=0.0)
        start = relaxed(nlp, finite(it, nlp), 1.0)
        start = start._replace(costate=torch.zeros_like(start.costate))
        most = -(-self.left(before) // share)
        found = self.iterate(penalised, start, COLD, most).after(before)
        found = self.left_saddles(penalised, found)
        z, u = found.it.z, found.it.u
        start = with_multipliers(nlp, z, u, COLD, rescale=False)
        again = self.iterate(nlp, start, COLD, self.left(found))
        again = self.accepted(nlp, again.after(found), accuracy(self, z.dtype))
        lin = linearise(nlp, Iterate.without_multipliers(nlp, z, u))
        proof = (found.code == Code.CONVERGED.value) & found.minimum
        proof &= (violations(nlp, lin) > INFEASIBLE) & (again.code != Code.CONVERGED.value)
        code = torch.where(proof, Code.INFEASIBLE.value, again.code)
        it = tightened(nlp, found.it, RESTORING).where(proof, again.it)
        return Outcome(it, code, again.iterations, again.minimum)

    def iterate(self, nlp: Transcription, start: Iterate, mu: float, most: Tensor) -> Outcome:
        """Newton steps until each instance is done.

        Arguments:
            nlp: The discretised problem.
            start: Where to start.
            mu: The barrier parameter to start with.
            most: How many steps each instance may take, shape `(batch,)`.
        """
        tolerance = accuracy(self, start.z.dtype)
        if self.sweep != "scan":
            ended = nlp.backend.iterate(nlp, start, tolerance, mu, most)
            if ended is not None:
                return Outcome(*ended)
        least = LAST_BARRIER * tolerance
        size = start.z.shape[1]
        none = nlp.scale.new_zeros(size)
        out = Outcome(start, none.long(), none.long(), none.bool())
        barrier = none + (mu if len(nlp.along) + len(nlp.end) else least)
        work = Work(
            start, start, Filter.empty(merit(nlp, start, barrier).violation), barrier, none,
            none.long(), none + torch.inf, none.long(), torch.arange(size, device=none.device),
        )  # fmt: skip
        for iteration in range(int(most.max()) + 1):
            lin = linearise(nlp, work.it)
            work, code = self.assess(nlp, work, lin, tolerance)
            spent = (code == Code.RUNNING.value) & (most[work.place] <= iteration)
            code = torch.where(spent, Code.EXHAUSTED.value, code)
            done = code != Code.RUNNING.value
            if bool(done.any()):
                at = done.nonzero()[:, 0]
                part = work.take(at)
                ended = self.ended(nlp.take(at), part, lin.take(at), code[at], least)
                iterations = torch.full_like(part.place, iteration)
                out = replaced(out, part.place, ended._replace(iterations=iterations))
                if bool(done.all()):
                    break
                at = (~done).nonzero()[:, 0]
                nlp, work, lin = nlp.take(at), work.take(at), lin.take(at)
            work = self.advance(nlp, work, lin)
        return out

    def ended(
        self, nlp: Transcription, work: Work, lin: Linearisation, code: Tensor, least: float
    ) -> Outcome:
        """The outcome of instances that are done; for a failed attempt, its best point.

        Arguments:
            nlp: The discretised problem of these instances.
            work: Their iterates, barriers, filters and counters.
            lin: The linearisation at its variables.
            code: How they ended.
            least: The last barrier parameter.
        """
        good = (code == Code.CONVERGED.value) | (code == Code.UNBOUNDED.value)
        it = work.it
        if not bool(good.all()):
            it = it.where(good | ~work.least.isfinite(), work.best)
            lin = linearise(nlp, it)
        minimum = is_minimum(nlp, it, lin, torch.full_like(work.mu, least))
        return Outcome(it, code, code, minimum)

    def assess(
        self, nlp: Transcription, work: Work, lin: Linearisation, tolerance: float
    ) -> tuple[Work, Tensor]:
        """Finds finished instances, and lowers the barrier where the barrier problem is solved.

        Arguments:
            nlp: The transcribed problem.
            work: Iterate, barrier, filter and counters of all instances.
            lin: The derivatives at the iterate.
            tolerance: The residual at which an instance has converged.
        """
        it = work.it
        final = residuals(nlp, it, lin)
        code = torch.full_like(work.failures, Code.RUNNING.value)
        better = final.error < LESS * work.least
        work = work._replace(
            best=it.where(better, work.best),
            least=torch.where(better, final.error, work.least),
            waited=torch.where(better, 0, work.waited + 1),
        )
        hopeless = (work.failures > MOST_FAILURES) | (final.size > MOST_MULTIPLIER)
        hopeless |= work.waited > PATIENCE
        code[hopeless] = Code.STALLED.value
        huge = torch.maximum(largest(it.u), largest(it.z)) > MOST_VARIABLE
        code[huge] = Code.UNBOUNDED.value
        code[~final.error.isfinite()] = Code.DIVERGED.value
        code[final.error <= tolerance] = Code.CONVERGED.value
        mu, cleared = work.mu, torch.zeros_like(code, dtype=torch.bool)
        least = LAST_BARRIER * tolerance
        while True:
            error = final._replace(complementarity=complementarity(nlp, it, mu)).error
            lower = (error <= BARRIER_REACHED * mu) & (mu > least)
            if not bool(lower.any()):
                break
            less = torch.minimum(BARRIER_FACTOR * mu, mu**BARRIER_POWER).clamp(min=least)
            mu = torch.where(lower, less, mu)
            cleared |= lower
        if bool(cleared.any()):
            work = work._replace(mu=mu, filter=work.filter.cleared(cleared))
        return work, code

    def advance(self, nlp: Transcription, work: Work, lin: Linearisation) -> Work:
        """One step along the Newton direction, as far as it is good."""
        it, mu = work.it, work.mu
        step, shift = convexified(stages(nlp, it, lin, mu), work.shift, self.sweep)
        change = direction(nlp, it, lin, mu, step)
        primal, dual = lengths(it, change, mu)
        slope = slope_along(nlp, work, lin, change)

        now = merit(nlp, it, mu)
        alpha, found = primal, torch.zeros_like(primal, dtype=torch.bool)
        for_cost, chosen = found, it
        for attempt in range(HALVINGS):
            trial = it.moved(change, alpha, dual)
            after = merit(nlp, trial, mu)
            good, armijo = work.filter.judge(now, after, slope, alpha)
            worse = ~good & (after.violation >= now.violation) & after.violation.isfinite()
            if attempt == 0 and bool(worse.any()):
                at = worse.nonzero()[:, 0]
                search = Search(it, work.filter, now, slope, alpha, mu, shift).take(at)
                point, fits, for_its_cost = corrected(
                    nlp.take(at), lin.take(at), search, trial.take(at), self.sweep
                )
                trial = trial.put(at, point)
                good, armijo = good.index_copy(0, at, fits), armijo.index_copy(0, at, for_its_cost)
            new = good & ~found
            chosen = trial.where(new, chosen)
            for_cost = torch.where(new, armijo, for_cost)
            found = found | good
            if bool(found.all()):
                break
            alpha = torch.where(found, alpha, alpha / 2)
        failures = torch.where(found & (alpha > SHORT), 0, work.failures + 1)
        insist = -INSIST * torch.maximum(shift, torch.full_like(shift, SHORT))
        needed = torch.where(shift > 0, shift, work.shift.abs())
        return work._replace(
            it=safeguarded(nlp, chosen, mu),
            filter=work.filter.extended(now, found & ~for_cost).cleared(~found),
            shift=torch.where(found, needed, insist.clamp(min=-MOST_SHIFT)),
            failures=failures,
        )


def shifted(nlp: Transcription, u: Tensor) -> Tensor:
    """Controls a little away from others, without a pattern that a problem could share."""
    wave = torch.arange(u[:, 0].numel(), device=u.device).to(u).cos()
    return inside(u + ASIDE * wave.reshape(nlp.n, 1, nlp.nu), *nlp.u_bounds)


def slope_along(nlp: Transcription, work: Work, lin: Linearisation, change: Iterate) -> Tensor:
    """The derivative of the barrier function along the step."""
    it, scale = work.it, nlp.scale[:, None]
    dw = torch.cat([change.z[:-1], change.u], -1)
    cost = over(
        lambda v: v,
        scale * lin.along.jacobians[1][..., 0, :] * dw,
        scale * lin.end.jacobians[0][..., 0, :] * change.end,
    )
    barrier = over(lambda v: v, change.s / it.s / nlp.n, change.s_end / it.s_end)
    return cost - work.mu * barrier


def safeguarded(nlp: Transcription, it: Iterate, mu: Tensor) -> Iterate:
    """Multipliers kept within a factor of `SAFEGUARD` of `mu w / s`."""
    mu = mu[:, None]
    centre, centre_end = mu / nlp.n / it.s, mu / it.s_end
    return it._replace(
        y=torch.minimum(torch.maximum(it.y, centre / SAFEGUARD), SAFEGUARD * centre),
        y_end=torch.minimum(
            torch.maximum(it.y_end, centre_end / SAFEGUARD), SAFEGUARD * centre_end
        ),
    )
