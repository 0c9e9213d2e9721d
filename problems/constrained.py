"""Problems with end and control constraints on a fixed horizon, and known optima."""

import math

import torch
from torch import Tensor

from ocnet import Sample, SolvedProblem

from .nonlinear import DeepLinear, Tanh, VanDerPol


class TanhTo(SolvedProblem):
    """`Tanh` with the end constraint `x1(1) = 1`: optimum `2 tanh(1/2)`.

    `x1(t) = cosh(t - 1/2)/cosh(1/2)`, `u = sinh(t - 1/2)/cosh(1/2)`.
    """

    state_shape = (2,)
    control_shape = (1,)

    def __init__(self):
        super().__init__()
        self.free = Tanh()

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.free.dynamics(t, x, u)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.free.terminal_cost(x, target)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :1] - 1

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return self.free.sample(batch_size, generator)

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], 2 * math.tanh(1 / 2))

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        u = torch.sinh(t - 1 / 2) / math.cosh(1 / 2)
        return u.to(x0).reshape(-1, *[1] * x0.dim()).expand(-1, *x0.shape[:-1], 1)


class Bilinear(SolvedProblem):
    """`x' = u x` from 1 to 3 in T = 1, minimise `int u^2`: optimum `(ln 3)^2`, `u = ln 3`.

    With n Euler steps `n^2 (3^(1/n) - 1)^2`.
    """

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u * x

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 3

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 1))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return (3 / x0[..., 0]).log() ** 2

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        return (3 / x0).log().expand(len(t), *x0.shape)

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor:
        return n**2 * ((3 / x0[..., 0]) ** (1 / n) - 1) ** 2


class LinearResNet(SolvedProblem):
    """A linear ResNet `X' = A X` from I to M, minimise `int |A|_F^2`: `sum_i ln^2 sigma_i`.

    `M = [[2, .5], [.5, 1]]` is symmetric positive definite with eigenvalues `sigma_i`, and
    `A = ln M` is best; with L layers `L^2 sum_i (sigma_i^(1/L) - 1)^2`.
    """

    state_shape = (2, 2)
    control_shape = (2, 2)

    def __init__(self):
        super().__init__()
        self.free = DeepLinear()

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.free.dynamics(t, x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum((-2, -1))

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x - self.free.M).flatten(-2)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return self.free.sample(batch_size, generator)

    def optimal_cost(self, x0: Tensor) -> Tensor:
        sigma, _ = self.free.eigen()
        return (sigma.log() ** 2).sum().to(x0).expand(x0.shape[:-2])

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        sigma, V = self.free.eigen()
        return (V * sigma.log() @ V.mT).to(x0).expand(len(t), *x0.shape)

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor:
        sigma, _ = self.free.eigen()
        return (n**2 * ((sigma ** (1 / n) - 1) ** 2).sum()).to(x0).expand(x0.shape[:-2])


class TurnpikeLQ(SolvedProblem):
    """`x' = x + u` from 2 to 2 in T = 10, `1/2 int (x - 1)^2 + u^2`: optimum 5.6819759249.

    Most of the time is spent at the turnpike `x = .5, u = -.5`, which is left at the rate
    `sqrt 2`.

    References:
        E. Trelat, E. Zuazua, Journal of Differential Equations 258, 2015.
    """

    t1 = 10.0
    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x + u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x[..., 0] - 1) ** 2 + u[..., 0] ** 2) / 2

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.full((batch_size, 1), 2.0))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], 5.6819759249)


class Hypersensitive(SolvedProblem):
    """`x' = -x^3 + u` from 1 to 1.5 in T = 10, minimise `int x^2 + u^2`: optimum 6.723926.

    References:
        A. V. Rao, K. D. Mease, Optimal Control Applications and Methods 21(1), 2000. The optimum
        of this horizon is that of Radau collocation on a converged mesh.
    """

    t1 = 10.0
    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return -(x**3) + u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 0] ** 2 + u[..., 0] ** 2

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - 1.5

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 1))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], 6.723926)


class BoundedVanDerPol(SolvedProblem):
    """`VanDerPol` with `-.3 <= u <= 1`: optimum 2.867261.

    The optimum is that of Radau collocation on a converged mesh; with 100 Euler steps 2.97309479.
    """

    t1 = 5.0
    state_shape = (2,)
    control_shape = (1,)
    control_bounds = (-0.3, 1.0)

    def __init__(self):
        super().__init__()
        self.free = VanDerPol()

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.free.dynamics(t, x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return self.free.stage_cost(t, x, u, target)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return self.free.sample(batch_size, generator)

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], 2.867261)


class PendulumSwingUp(SolvedProblem):
    """`th'' = -9.81 sin th + u` from rest to upright, T = 5, `|u| <= 3`, minimise `int u^2`.

    There are several local optima, and none is known to be the global one. The published figure,
    27.18839 by Radau collocation, belongs to a local optimum: it is found from a straight line
    of states (`straight=True`). The cold start of `solve` leads to a better one of cost 19.397
    (19.3989 under `RK4(400)`), the best known here and what `optimal_cost` says. Euler with 100
    steps gives 13.63 and 8.67 instead: it pumps energy.
    """

    t1 = 5.0
    state_shape = (2,)
    control_shape = (1,)
    control_bounds = (-3.0, 3.0)

    def __init__(self, straight: bool = False):
        super().__init__()
        self.straight = straight

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        theta, rate = x.unbind(-1)
        return torch.stack([rate, u[..., 0] - 9.81 * theta.sin()], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([math.pi, 0.0])

    def initial_states(self, t: Tensor, x0: Tensor) -> Tensor | None:
        if not self.straight:
            return None
        rate = math.pi / self.t1
        line = torch.stack([rate * t, torch.full_like(t, rate)], -1)
        return line.reshape(-1, *[1] * (x0.dim() - 1), 2).expand(-1, *x0.shape)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], 27.18839 if self.straight else 19.3966)
