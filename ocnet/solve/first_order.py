"""First-order methods: L-BFGS and Adam through `train`, constraints by augmented Lagrangian."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn, Tensor

from ..control import PiecewiseConstant
from ..problem import Problem, Sample
from ..solver import ExplicitRungeKutta
from ..train import train
from .iterate import Iterate
from .method import Method, Outcome
from .single_shooting import check_fixed, outcome, rollout
from .transcription import Transcription


class Augmented(Problem):
    r"""A problem without constraints whose minimisers are those of the problem with them.

    Bounded controls are `u = b(v)` with `v` free; the costs are

    $$ l + \frac{\rho}{2} \big| \max(g, 0) \big|^2, \quad
       \phi + \nu \cdot \psi + \frac{\rho}{2} |\psi|^2
            + \frac{\rho}{2} \big| \max(\omega, 0) \big|^2. $$

    Arguments:
        nlp: The discretised problem with constraints.
    """

    def __init__(self, nlp: Transcription):
        super().__init__()
        self.nlp = nlp
        self.nu, self.rho = nlp.x0.new_zeros(len(nlp.x0), nlp.n_psi), 10.0
        problem = nlp.problem
        self.t0, self.t1 = problem.t0, problem.t1
        self.state_shape, self.control_shape = problem.state_shape, problem.control_shape
        low, high = problem.control_bounds or (-torch.inf, torch.inf)
        self.u_bounds = torch.as_tensor(low).to(nlp.x0), torch.as_tensor(high).to(nlp.x0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.nlp.problem.dynamics(t, x, bounded(u, *self.u_bounds))

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        problem, v = self.nlp.problem, bounded(u, *self.u_bounds)
        over = problem.path_constraint(t, x, v).clamp(min=0)
        return problem.stage_cost(t, x, v, target) + self.rho / 2 * (over**2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        problem = self.nlp.problem
        psi = problem.terminal_constraint(x, target)
        over = problem.terminal_inequality(x, target).clamp(min=0)
        penalty = self.rho / 2 * ((psi**2).sum(-1) + (over**2).sum(-1))
        return problem.terminal_cost(x, target) + (self.nu * psi).sum(-1) + penalty

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return self.nlp.problem.sample(batch_size, generator)


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
    """Where there are two bounds, a lower one alone and an upper one alone."""
    lower, upper = low.isfinite(), high.isfinite()
    return lower & upper, lower & ~upper, upper & ~lower


@dataclass(frozen=True)
class FirstOrder(Method):
    """Gradient steps on the controls, by the one training loop of ocnet.

    Terminal constraints are met by an augmented Lagrangian, path constraints and terminal
    inequalities by its penalty alone, bounds by a smooth map. One problem at a time or a batch
    that shares all parameters; no free final time.

    Arguments:
        n_steps: Optimiser steps in each round.
        rounds: Updates of the multipliers; each multiplies the penalty by 4 up to 1e6.
        tolerance: Of stationarity and violation.
    """

    n_steps: int = 100
    rounds: int = 8
    tolerance: float = 1e-5

    @property
    def accuracy(self) -> float | None:
        return self.tolerance

    @abc.abstractmethod
    def optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of one round."""

    def run(self, nlp: Transcription, start: Iterate, mu: float) -> Outcome:
        problem, size, name = nlp.problem, len(nlp.x0), type(self).__name__
        check_fixed(nlp, name)
        if nlp.own or nlp.shared:
            raise ValueError(f"{name} takes the problem's own parameters only.")
        batch = Sample(nlp.x0.detach().reshape(size, *problem.state_shape), nlp.target)
        shape = (size, *(problem.control_shape or ()))
        control = PiecewiseConstant(
            problem.t0, problem.t1, nlp.n, shape, dtype=nlp.x0.dtype, device=nlp.x0.device
        )
        augmented = Augmented(nlp)
        with torch.no_grad():
            control.path.copy_(free(start.u.reshape(nlp.n, *shape), *augmented.u_bounds))
        constrained = nlp.n_psi + nlp.along.rows + nlp.end.rows > 0
        rounds = self.rounds if constrained else 1
        nlp.scale = torch.ones_like(nlp.scale)
        for _ in range(rounds):
            train(
                augmented,
                control,
                ExplicitRungeKutta(nlp.points.tableau, nlp.n),
                self.optimizer([control.path]),
                n_steps=self.n_steps,
                data=[batch],
                progress=False,
            )
            with torch.no_grad():
                u, theta, nu, eta, eta_end = self.multiplied(nlp, augmented, control)
        with torch.no_grad():
            sweeps = rounds * self.n_steps
            return outcome(nlp, u, theta, nu, eta, eta_end, sweeps, self.tolerance)  # pyright: ignore

    @staticmethod
    def multiplied(
        nlp: Transcription, augmented: Augmented, control: PiecewiseConstant
    ) -> tuple[Tensor, ...]:
        """Controls and the multipliers that belong to them; updates those of the penalty."""
        u = bounded(control.path, *augmented.u_bounds).reshape(nlp.n, -1, nlp.nu)
        theta, rho = nlp.x0.new_zeros(len(nlp.x0), 0), augmented.rho
        z, _ = rollout(nlp, u, theta)
        _, psi, omega = nlp.ends(z[-1:])
        _, _, g = nlp.stages(z[:-1], u)
        augmented.nu = augmented.nu + rho * psi[0]
        augmented.rho = min(4 * rho, 1e6)
        eta, eta_end = rho * g.clamp(min=0) * nlp.points.h, rho * omega.clamp(min=0)
        return u, theta, augmented.nu[None], eta, eta_end


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
        lr: The learning rate; the others as of `FirstOrder`.
    """

    n_steps: int = 1000
    lr: float = 1e-2

    def optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.lr)
