"""Reactors and an insurance."""

import math

import torch
from torch import Tensor

from .base import Library, stacked


class Bioreactor(Library):
    x0, t1 = (0.15, 2.0, 1.5), 10.0
    free = {0: (0.05, 0.25), 1: (0.5, 5.0), 2: (0.5, 3.0)}
    control_shape, control_bounds = (1,), (0.0, 1.0)
    boxes = {0: (0.0, math.inf), 1: (0.0, math.inf), 2: (0.001, math.inf)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        y, s, b = self.true(x).unbind(-1)
        u = u[..., 0]
        light = (math.pi * t.to(x) / 5).sin().clamp(min=0) ** 2
        uptake = s / (10 * s + 0.5)
        growth = light * y / (1 + y) - (u + 0.005) * y
        return stacked(growth, u * (y - s) - uptake * b, (uptake - u) * b)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return -self.true(x)[..., 2] / 3


class CatalystMixing(Library):
    x0, control_shape, control_bounds = (1.0, 0.0), (1,), (0.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        (x1, x2), u = x.unbind(-1), u[..., 0]
        return stacked(u * (10 * x2 - x1), u * (x1 - 10 * x2) - (1 - u) * x2)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x.sum(-1) - 1


class Insurance(Library):
    x0, t1, control_shape, control_bounds = (0.0, 0.001, 0.0), 10.0, (1,), (0.0, 25.0)
    boxes, u0, static_parameters = {0: (0.0, 1.5), 1: (0.0, 1.5)}, (0.1,), {"P": (0.0, 10.0)}
    P: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("P", torch.tensor(0.1, dtype=torch.float64))

    def wealth(self, t: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """`R`, `H`, `U` and `dU`: what is left, health, utility and marginal utility."""
        R = 1 - self.P + x[..., 0] - x[..., 1]
        H = 1.5 - t.to(x) / 5 / (1 + x[..., 1] ** 2)
        return R, H, 1 + H - (-10 * R).exp(), 10 * (-10 * R).exp()

    def density(self, t: Tensor) -> Tensor:
        """The density of the time of illness."""
        return (-t / 4).exp() / 4 + math.exp(-2.5) / 10

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        h, m = u[..., 0], x[..., 1]
        *_, marginal = self.wealth(t, x)
        slope = 2 * m / (1 + m**2) ** 2
        return stacked(h - t.to(x) / 5 * slope / marginal * h, h, x[..., 0] * self.density(t.to(x)))

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return -self.wealth(t, x)[2] * self.density(t.to(x))

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        R, H, U, marginal = self.wealth(t, x)
        rows = stacked(-R, -H, -U, 0.001 - marginal)
        return torch.cat([super().path_constraint(t, x, u), rows], -1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 2:] - self.P


class Jackson(Library):
    x0, t1, control_shape, control_bounds = (1.0, 0.0, 0.0), 4.0, (1,), (0.0, 1.0)
    boxes = {0: (0.0, 1.1), 1: (0.0, 1.1), 2: (0.0, 1.1)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        (a, b, _), u = x.unbind(-1), u[..., 0]
        first, second = u * (a - 10 * b), b - u * b
        return stacked(-first, first - second, second)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 2]
