"""Nonlinear problems with a fixed horizon and a known optimum."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ocnet import ControlEnergy, Sample, SolvedProblem


class Tanh(SolvedProblem):
    """`x1' = u, x2' = x1^2 + u^2` from (1, 0), minimise `x2(1)`: optimum tanh 1.

    The scalar LQR in Mayer form: `x1(t) = cosh(1 - t)/cosh 1`, `u = -sinh(1 - t)/cosh 1`.
    """

    state_shape = (2,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        u = u[..., 0].expand(x.shape[:-1])
        return torch.stack([u, x[..., 0] ** 2 + u**2], -1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 1]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.0]).expand(batch_size, 2))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return math.tanh(1) * x0[..., 0] ** 2 + x0[..., 1]

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        u = -torch.sinh(1 - t) / math.cosh(1)
        return torch.tensordot(u.to(x0), x0[..., :1], dims=0)

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor:
        """`P <- h + P - (P h)^2/(h + h^2 P)` from 0; the cost is `P x1^2 + x2`."""
        h, P = 1 / n, 0.0
        for _ in range(n):
            P = h + P - (P * h) ** 2 / (h + h**2 * P)
        return P * x0[..., 0] ** 2 + x0[..., 1]


class BilinearPenalty(SolvedProblem):
    """`x' = u x` from 1, minimise `1/2 int u^2 + 5 (x(1) - 3)^2`: optimum .5967621017.

    The effort to reach `x(1) = e^c` is least for constant `u = c`, which solves
    `c + 10 (e^c - 3) e^c = 0`.
    """

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u * x

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 / 2

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 5 * (x[..., 0] - 3) ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 1))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return least(lambda c: c**2 / 2 + 5 * (x0[..., 0] * c.exp() - 3) ** 2, x0[..., 0])

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        c = minimiser(lambda c: c**2 / 2 + 5 * (x0[..., 0] * c.exp() - 3) ** 2, x0[..., 0])
        return c[..., None].expand(len(t), *x0.shape)

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor:
        """By symmetry every step has the same `u = c`, and `x(1) = x0 (1 + c/n)^n`."""
        x = x0[..., 0]
        return least(lambda c: c**2 / 2 + 5 * (x * (1 + c / n) ** n - 3) ** 2, x)


class VanDerPol(SolvedProblem):
    """`x1' = (1 - x2^2) x1 - x2 + u, x2' = x1` from (0, 1), T = 5, `int |x|^2 + u^2`.

    Without bounds on `u`. Optimum 2.86695242, computed in two ways that agree to these digits: a
    cubic spline of 160 intervals under RK4, and Pontryagin's boundary value problem by collocation.
    The oscillator is that of Vassiliadis, Sargent and Pantelides, Ind. Eng. Chem. Res. 33, 1994.
    """

    t1 = 5.0
    state_shape = (2,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        x1, x2 = x.unbind(-1)
        return torch.stack([(1 - x2**2) * x1 - x2 + u[..., 0], x1], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + u[..., 0] ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([0.0, 1.0]).expand(batch_size, 2))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], 2.86695242)


class DeepLinear(SolvedProblem):
    """A linear ResNet `X' = A X` from I, minimise `int |A|_F^2 + rho/2 |X(1) - M|_F^2`.

    With `M` symmetric positive definite, eigenvalues `sigma_i`: the singular values `e^{c_i}` of
    `X(1)` cost at least `sum c_i^2`, because `d ln s_i/dt` is the diagonal of `A` in the singular
    frame, and `|X(1) - M|_F^2 >= sum (e^{c_i} - sigma_i)^2` (Mirsky 1960). A constant `A` with the
    eigenvectors of `M` attains both, so the optimum is
    `sum_i min_c c^2 + rho/2 (e^c - sigma_i)^2`.
    """

    state_shape = (2, 2)
    control_shape = (2, 2)

    def __init__(self, rho: float = 10.0):
        super().__init__()
        if not rho > 0:
            raise ValueError(f"Must have rho > 0, but got {rho=}.")
        self.rho = rho
        self.register_buffer("M", torch.tensor([[2.0, 0.5], [0.5, 1.0]]))
        self.stage_cost = 2 * ControlEnergy(ndim=2)

    M: Tensor

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u @ x

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.rho / 2 * ((x - self.M) ** 2).sum((-2, -1))

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.eye(2).expand(batch_size, 2, 2))

    def eigen(self) -> tuple[Tensor, Tensor]:
        """The eigenvalues and eigenvectors of `M` in double precision."""
        return torch.linalg.eigh(self.M.double())

    def optimal_cost(self, x0: Tensor) -> Tensor:
        sigma, _ = self.eigen()
        total = least(lambda c: c**2 + self.rho / 2 * (c.exp() - sigma) ** 2, sigma).sum()
        return total.to(x0).expand(x0.shape[:-2])

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        sigma, V = self.eigen()
        c = minimiser(lambda c: c**2 + self.rho / 2 * (c.exp() - sigma) ** 2, sigma)
        return (V * c @ V.mT).to(x0).expand(len(t), *x0.shape)

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor:
        """The same with `(1 + c/n)^n` for `e^c`."""
        sigma, _ = self.eigen()
        cost = least(lambda c: c**2 + self.rho / 2 * ((1 + c / n) ** n - sigma) ** 2, sigma).sum()
        return cost.to(x0).expand(x0.shape[:-2])


def minimiser(cost: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The minimiser of a cost that acts entrywise, by Newton's method in double precision."""
    c = torch.full(like.shape, 0.5, dtype=torch.float64, device=like.device)
    for _ in range(50):
        c = c.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(cost(c).sum(), c, create_graph=True)
            (curvature,) = torch.autograd.grad(slope.sum(), c)
        c = c - slope / curvature
    return c.detach().to(like)


def least(cost: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The least value of a cost that acts entrywise."""
    return cost(minimiser(cost, like))
