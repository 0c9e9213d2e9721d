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
        problem: The problem with constraints.
        nu: The multipliers of the terminal constraint, shape `(batch, rows)`.
        rho: The weight of the penalties.
    """

    def __init__(self, problem: Problem, nu: Tensor, rho: float):
        super().__init__()
        self.problem, self.nu, self.rho = problem, nu, rho
        self.t0, self.t1 = problem.t0, problem.t1
        self.state_shape, self.control_shape = problem.state_shape, problem.control_shape

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.problem.dynamics(t, x, self.bounded(u))

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        u = self.bounded(u)
        over = self.problem.path_constraint(t, x, u).clamp(min=0)
        return self.problem.stage_cost(t, x, u, target) + self.rho / 2 * (over**2).sum(-1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        psi = self.problem.terminal_constraint(x, target)
        over = self.problem.terminal_inequality(x, target).clamp(min=0)
        penalty = self.rho / 2 * ((psi**2).sum(-1) + (over**2).sum(-1))
        return self.problem.terminal_cost(x, target) + (self.nu * psi).sum(-1) + penalty

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return self.problem.sample(batch_size, generator)

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The bounds of the controls, infinite where there are none."""
        low, high = self.problem.control_bounds or (-torch.inf, torch.inf)
        return torch.as_tensor(low).to(like), torch.as_tensor(high).to(like)

    def bounded(self, v: Tensor) -> Tensor:
        """`(low + high)/2 + (high - low)/2 sin v` between two bounds, `low + v^2` above one."""
        low, high = self.bounds(v)
        between, above, below = kinds(low, high)
        # The branches not taken must be finite too, or their gradients spoil the one that is.
        low, high = (torch.where(b.isfinite(), b, 0.0) for b in (low, high))
        both = (low + high) / 2 + (high - low) / 2 * v.sin()
        u = torch.where(above, low + v**2, torch.where(below, high - v**2, v))
        return torch.where(between, both, u)

    def free(self, u: Tensor) -> Tensor:
        """A `v` with `bounded(v) = u`."""
        low, high = self.bounds(u)
        between, above, below = kinds(low, high)
        both = ((2 * u - low - high) / (high - low)).clamp(-1, 1).asin()
        v = torch.where(below, (high - u).clamp(min=0).sqrt(), u)
        return torch.where(between, both, torch.where(above, (u - low).clamp(min=0).sqrt(), v))


def kinds(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where both bounds are finite, where only the lower is, and where only the upper."""
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
        check_fixed(nlp, type(self).__name__)
        if nlp.own or nlp.shared:
            raise ValueError(f"{type(self).__name__} takes the problem's own parameters only.")
        problem, size = nlp.problem, len(nlp.x0)
        batch = Sample(nlp.x0.detach().reshape(size, *problem.state_shape), nlp.target)
        shape = (size, *(problem.control_shape or ()))
        control = PiecewiseConstant(
            problem.t0, problem.t1, nlp.n, shape, dtype=nlp.x0.dtype, device=nlp.x0.device
        )
        nu, rho = nlp.x0.new_zeros(size, nlp.n_psi), 10.0
        eta = start.y[..., nlp.along.bounded :]
        constrained = nlp.n_psi + nlp.along.rows + nlp.end.rows > 0
        rounds = self.rounds if constrained else 1
        with torch.no_grad():
            u = start.u.reshape(nlp.n, *shape)
            control.path.copy_(Augmented(problem, nu, rho).free(u))
        for _ in range(rounds):
            augmented = Augmented(problem, nu, rho)
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
                u = augmented.bounded(control.path).reshape(nlp.n, size, nlp.nu)
                x, _ = rollout(nlp, u)
                _, psi, _ = nlp.ends(x[-1:])
                _, _, g = nlp.stages(x[:-1], u)
                nu = nu + rho * psi[0]
                eta = rho * g.clamp(min=0) * nlp.points.h
                rho = min(4 * rho, 1e6)
        nlp.scale = torch.ones_like(nlp.scale)
        with torch.no_grad():
            return outcome(nlp, u, nu[None], eta, rounds * self.n_steps, self.tolerance)


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
