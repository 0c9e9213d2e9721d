"""First-order methods: L-BFGS and Adam by ocnet's training loop, with an augmented Lagrangian."""

import abc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn, Tensor

from ..._arguments import check_integer, check_real
from ...learning import NonFiniteCost
from ...learning.descent import descent, Objective
from ...problem import Sample
from ..constants import Code
from ..method import Method, Outcome
from ..settings import check_tolerance
from ..transcription.iterate import largest, linearise, stationarity
from ..transcription.start import adjoint
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import violations
from .single_shooting import outcome


HUGE = 1e10
"""A control that grows beyond this counts as growing without end."""

STILL = 1e-12
"""A cost that changes by less than this share of itself counts as standing still."""


class AugmentedMultipliers(NamedTuple):
    """The weights of the constraints in an augmented Lagrangian.

    Attributes:
        nu: The multipliers of the terminal constraint, shape `(batch, rows)`.
        eta: Those of the path constraint, shape `(time, batch, rows)`.
        eta_end: Those of the terminal inequality, shape `(batch, rows)`.
        rho: The weight of the squares.
    """

    nu: Tensor
    eta: Tensor
    eta_end: Tensor
    rho: float


def augmented_lagrangian(
    nlp: Transcription, u: Tensor, theta: Tensor, held: AugmentedMultipliers
) -> tuple[Tensor, Tensor, Tensor, AugmentedMultipliers]:
    r"""Cost, its gradients in controls and constants, and the next estimate of the multipliers.

    $$ \sum_k c_k + \phi + \nu \cdot \psi + \frac{\rho}{2} |\psi|^2
       + \frac{1}{2 \rho} \Big( |\omega^+|^2 - |\eta_n|^2
       + \frac{1}{h} \sum_k |g_k^+|^2 - |\eta_k|^2 \Big), $$

    with `g^+ = max(eta_k + rho h g_k, 0)` and `omega^+ = max(eta_n + rho omega, 0)`, which are
    the next estimates, as is `nu + rho psi`. The gradients follow from the costates.
    """
    h, rho = nlp.points.h, held.rho
    z = nlp.rollout(torch.cat([nlp.x0, theta], -1), u)
    it = Iterate.without_multipliers(nlp, z, u)
    lin = linearise(nlp, it)
    (_, c, _), (phi, psi, omega) = lin.along.values, lin.end.values
    psi, omega, g = psi[0], omega[0], lin.rows[..., nlp.along.bounded :]
    eta = (held.eta + rho * h * g).clamp(min=0)
    eta_end = (held.eta_end + rho * omega).clamp(min=0)
    along = (eta**2 - held.eta**2).sum((0, 2)) / (2 * rho * h)
    at_end = (eta_end**2 - held.eta_end**2).sum(-1) / (2 * rho)
    met = (held.nu * psi).sum(-1) + rho / 2 * (psi**2).sum(-1)
    cost = c.sum((0, 2)) + phi[0, :, 0] + met + along + at_end
    nu = held.nu + rho * psi
    y, y_end = it.y.clone(), it.y_end.clone()
    y[..., nlp.along.bounded :], y_end[0, :, nlp.end.bounded :] = eta, eta_end
    it = it._replace(nu=nu[None], y=y, y_end=y_end)
    it = it._replace(costate=adjoint(nlp, lin, it))
    _, slope, _ = stationarity(nlp, it, lin)
    return cost, slope, it.costate[0, :, nlp.nx :], AugmentedMultipliers(nu, eta, eta_end, rho)


class Augmented(Objective):
    """The augmented Lagrangian of a discretised problem, as what the training loop minimises.

    A variable with bounds is `b(v)` with `v` free. The gradients come from the costates, through
    `b`.

    Arguments:
        nlp: The discretised problem with constraints.
        u: The controls to start from, `(n, batch, control)`.
        theta: The constants to start from (final time and parameters), `(batch, constants)`.

    Attributes:
        v_u, v_theta: The free variables `v` of controls and constants.
        held: The multipliers.
        batch: The initial states and targets, as a batch of the loop.
    """

    nlp: Transcription

    def __init__(self, nlp: Transcription, u: Tensor, theta: Tensor):
        self.nlp, size, zeros = nlp, len(nlp.x0), nlp.x0.new_zeros
        self.held: AugmentedMultipliers = AugmentedMultipliers(
            zeros(size, nlp.n_psi), zeros(nlp.n, size, nlp.along.rows), zeros(size, nlp.end.rows),
            10.0,
        )  # fmt: skip
        self.v_u: nn.Parameter = nn.Parameter(free(u, *nlp.u_bounds))
        self.v_theta: nn.Parameter = nn.Parameter(free(theta, *nlp.theta_bounds))
        self.batch: Sample = Sample(nlp.x0, nlp.given.target)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The free variables, without those that are empty."""
        return [p for p in (self.v_u, self.v_theta) if p.numel() > 0]

    def variables(self) -> tuple[Tensor, Tensor]:
        """Controls and constants between their bounds."""
        nlp = self.nlp
        return bounded(self.v_u, *nlp.u_bounds), bounded(self.v_theta, *nlp.theta_bounds)

    def backward(self, sample: Sample) -> Tensor:
        u, theta = self.variables()
        with torch.no_grad():
            cost, *slopes, _ = augmented_lagrangian(self.nlp, u, theta, self.held)
        # The mean over the instances.
        torch.autograd.backward([u, theta], [slope / len(cost) for slope in slopes])
        return cost.mean()

    @torch.no_grad()
    def value(self, sample: Sample) -> Tensor:
        return augmented_lagrangian(self.nlp, *self.variables(), self.held)[0].mean()

    @torch.no_grad()
    def place(self, sample: Sample) -> tuple[int, float] | None:
        nlp, (u, theta) = self.nlp, self.variables()
        z = nlp.rollout(torch.cat([nlp.x0, theta], -1), u)
        finite = z.isfinite().flatten(1).all(1)
        if bool(finite.all()):
            return None
        k = int((~finite).nonzero()[0, 0])
        return k, nlp.problem.t0 + k * nlp.points.h


def bounded(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`(low + high)/2 + (high - low)/2 sin v` between two bounds, `low + v^2` above one."""
    between, above, below = kinds(low, high)
    # The branches not taken must be finite too, or their gradients spoil the one that is.
    low, high = (torch.where(b.isfinite(), b, 0.0) for b in (low, high))
    both = (low + high) / 2 + (high - low) / 2 * v.sin()
    u = torch.where(above, low + v**2, torch.where(below, high - v**2, v))
    return torch.where(between, both, u)


def free(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A `v` with `bounded(v) = u`."""
    between, above, below = kinds(low, high)
    both = ((2 * u - low - high) / (high - low)).clamp(-1, 1).asin()
    v = torch.where(below, (high - u).clamp(min=0).sqrt(), u)
    return torch.where(between, both, torch.where(above, (u - low).clamp(min=0).sqrt(), v))


def kinds(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Masks of the variables with two bounds, with a lower one only, and with an upper one only."""
    lower, upper = low.isfinite(), high.isfinite()
    return lower & upper, lower & ~upper, upper & ~lower


@dataclass(frozen=True)
class FirstOrder(Method):
    """Gradient steps on controls, final time and static parameters, by ocnet's one training loop.

    Constraints are met by an augmented Lagrangian, bounds by a smooth map. The instances of a
    batch share the optimiser's step lengths.

    Arguments:
        max_iterations: Optimiser steps in all, at most a million.
        steps_per_round: The most steps before the optimiser starts anew with new multipliers. There
            are at most `max_iterations / steps_per_round` rounds, rounded up. A round that does not
            bring the violation down to a quarter multiplies the penalty by 4, up to 1e6.
        tolerance: The tolerance of stationarity and violation.

    Raises:
        TypeError, ValueError: If a setting is of the wrong kind or out of range.
    """

    max_iterations: int = 600
    steps_per_round: int = 30
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        check_integer("max_iterations", self.max_iterations)
        check_integer("steps_per_round", self.steps_per_round)
        check_tolerance(self.tolerance)

    @property
    def accuracy(self) -> float | None:
        return self.tolerance

    @property
    def by_torch(self) -> str | None:
        return "its optimiser is torch's"

    @abc.abstractmethod
    def optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of one round."""

    def run(self, nlp: Transcription, start: Iterate, mu: float) -> Outcome:
        nlp.scale = torch.ones_like(nlp.scale)
        with torch.no_grad():
            augmented = Augmented(nlp, start.u, start.z[0, :, nlp.nx :])
        count, before, left = 0, torch.inf, -(-self.max_iterations // self.steps_per_round)
        while True:
            left -= 1
            most = min(self.steps_per_round, self.max_iterations - count)
            steps, lost = self.descend(augmented, most)
            count += steps
            with torch.no_grad():
                u, theta = augmented.variables()
                *_, found = augmented_lagrangian(nlp, u, theta, augmented.held)
                nu, eta, eta_end, rho = found
                now = outcome(nlp, u, theta, nu[None], eta, eta_end[None], count, self.tolerance)
                violation = float(violations(nlp, linearise(nlp, now.it)).max())
            now.code[largest(u) > HUGE] = Code.UNBOUNDED.value
            running = now.code == Code.EXHAUSTED.value
            if left == 0 or count == self.max_iterations or lost or not bool(running.any()):
                now.code[running & lost] = Code.STALLED.value
                return now
            weight = rho if violation <= before / 4 else min(4 * rho, 1e6)
            augmented.held, before = found._replace(rho=weight), violation

    def descend(self, augmented: Augmented, most: int) -> tuple[int, bool]:
        """One round: how many steps until the cost stands still, and whether it became infinite."""
        optimizer = self.optimizer(augmented.parameters)
        steps = descent(augmented, optimizer, itertools.repeat(augmented.batch))
        costs: list[float] = []
        try:
            for record in itertools.islice(steps, most):
                costs.append(record.cost)
                if len(costs) > 1 and abs(costs[-1] - costs[-2]) <= STILL * abs(costs[-1]):
                    break
        except NonFiniteCost:
            return len(costs), True
        return len(costs), False


@dataclass(frozen=True)
class LBFGS(FirstOrder):
    """`FirstOrder` by L-BFGS with a strong Wolfe line search."""

    def optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(
            parameters,
            history_size=30,
            tolerance_grad=1e-12,
            tolerance_change=1e-16,
            line_search_fn="strong_wolfe",
        )


@dataclass(frozen=True)
class Adam(FirstOrder):
    """`FirstOrder` by Adam.

    Arguments:
        max_iterations, steps_per_round, tolerance: As in `FirstOrder`.
        lr: The learning rate.

    Raises:
        TypeError, ValueError: If a setting is of the wrong kind or out of range.
    """

    max_iterations: int = 20_000
    steps_per_round: int = 1000
    lr: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("lr", self.lr, 1e-12, 1e3)

    def optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr)
