"""Small problems of one and two integrators, each of which changes one thing."""

import math

import torch
from torch import Tensor

from ocnet import Problem, Sample
from problems.double_integrator import double_integrator


class Mass(Problem):
    """`x1' = x2, x2' = u / m` from rest to 1 at rest; the mass is a parameter."""

    state_shape = (2,)
    control_shape = (1,)

    def __init__(self, bounds: tuple[float, float] | None = None):
        super().__init__()
        self.mass = torch.nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.static_parameters = {} if bounds is None else {"mass": bounds}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return double_integrator(x, u / self.mass)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 + 4 / self.mass**2 * torch.ones_like(x[..., 0])

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([1.0, 0.0])

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))


class Integrator(Problem):
    """`x1' = x2, x2' = u`, minimise `int u^2`; the problems below change one thing each."""

    state_shape = (2,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return double_integrator(x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))


class Reach(Integrator):
    control_bounds = (-0.1, 0.1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([1.0, 0.0])


class Contradiction(Integrator):
    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :1] - x.new_tensor([1.0, 2.0])


class Redundant(Integrator):
    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x[..., :1] - 1) * x.new_tensor([1.0, 2.0])


class Forbidden(Integrator):
    control_bounds = (-1.0, 1.0)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return 1 - x[..., :1]


class Downhill(Integrator):
    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 0]


class Concave(Integrator):
    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return -(u[..., 0] ** 2)


class BoundedConcave(Concave):
    control_bounds = (-1.0, 1.0)


class Explosion(Integrator):
    control_bounds = (-1.0, 1.0)
    t1 = 5.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x**3 + u + 3

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (x**2).sum(-1) + u[..., 0] ** 2


class NotANumber(Integrator):
    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return double_integrator(x, u * math.nan)


class Kink(Integrator):
    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u[..., 0] - 0.3).abs() + (x**2).sum(-1)


class AtLeast(Problem):
    """`x' = u`, minimise `int u^2` with `x(1) >= 1`: u = max(1 - x0, 0)."""

    state_shape = (1,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        return 1 - x

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 1))
