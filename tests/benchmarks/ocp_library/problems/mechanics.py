"""Beams, pendulums, particles and arms."""

import math

import torch
from torch import Tensor

from .base import Library, MinimumTime, stacked


class Beam(Library):
    x0, control_shape, control_bounds, boxes = (0.0, 1.0), (1,), (-10.0, 10.0), {0: (0.0, 0.1)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return stacked(x[..., 1], u[..., 0])

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([0.0, -1.0])


class CartPendulum(MinimumTime):
    x0, free, t1, final_time_bounds = (0.0,) * 4, {1: (-2.0, 2.0)}, 2.0, (0.1, 20.0)
    control_shape, control_bounds = (1,), (-5.0, 5.0)
    boxes, static_parameters = {0: (-1.0, 1.0), 1: (-2.0, 2.0)}, {"A": (-100.0, 100.0)}
    A: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("A", torch.zeros((), dtype=torch.float64))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        _, v, theta, omega = self.true(x).unbind(-1)
        sin, cos, g, cart = theta.sin(), theta.cos(), 9.81, 0.5
        turn = -1.5 * (self.A * cos + g * sin)
        R = self.A - omega * sin + cos / 2 * turn
        a = (R - u[..., 0] + 2 * cart * self.A) / cart
        return stacked(v, a, omega, -1.5 * (a * cos + g * sin))

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return self.true(x)[..., 2:] - x.new_tensor([math.pi, 0.0])


class Chain(Library):
    x0, control_shape = (1.0, 0.0, 0.0), (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        length = (1 + u[..., 0] ** 2).sqrt()
        return stacked(u[..., 0], x[..., 0] * length, length)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 1]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., [0, 2]] - x.new_tensor([3.0, 4.0])

    def guess(self, s: Tensor) -> Tensor:
        slope, height = 8 * (s - 1 / 4), 1 + 8 * s * (s / 2 - 1 / 4)
        return stacked(height, height * slope, slope)

    def control_guess(self, s: Tensor) -> Tensor:
        return 8 * (s - 1 / 4).unsqueeze(-1)


class DielectrophoreticParticle(MinimumTime):
    x0, t1, final_time_bounds = (1.0, 0.0), 1.0, (0.01, 50.0)
    control_shape, control_bounds = (1,), (-1.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        y, u = x[..., 1], u[..., 0]
        return stacked(y * u - 3 / 4 * u**2, u - y)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :1] - 2

    def guess(self, s: Tensor) -> Tensor:
        return stacked(torch.ones_like(s), torch.ones_like(s))


class DoubleOscillator(Library):
    x0, t1 = (0.0,) * 4, 2 * math.pi
    free = {2: (-math.inf, math.inf), 3: (-math.inf, math.inf)}
    control_shape, control_bounds = (1,), (-1.0, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        x1, x2, v1, v2 = self.true(x).unbind(-1)
        m1, m2, c, k1, k2 = 100.0, 2.0, 0.5, 100.0, 3.0
        a1 = (t.to(x).sin() - (k1 + k2) * x1 + k2 * x2) / m1
        return stacked(v1, v2, a1, (k2 * (x1 - x2) - c * (1 - u[..., 0]) * v2) / m2)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x[..., :2] ** 2).sum(-1) + u[..., 0] ** 2) / 2


class Robbins(Library):
    x0, t1, control_shape, boxes = (1.0, -2.0, 0.0), 10.0, (1,), {0: (0.0, math.inf)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return stacked(x[..., 1], x[..., 2], u[..., 0])

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return 3 * x[..., 0] + u[..., 0] ** 2 / 2

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x


class Robot(MinimumTime):
    x0, t1, final_time_bounds = (4.5, 0.0, 0.0, 0.0, math.pi / 4, 0.0), 1.0, (0.1, 100.0)
    control_shape, control_bounds = (3,), (-1.0, 1.0)
    boxes = {0: (0.0, 5.0), 2: (-math.pi, math.pi), 4: (0.0, math.pi)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        rho, v_rho, _, v_theta, phi, v_phi = x.unbind(-1)
        u1, u2, u3 = u.unbind(-1)
        I = ((5 - rho) ** 3 + rho**3) / 3
        return stacked(v_rho, u1 / 5, v_theta, u2 / (I * phi.sin() ** 2), v_phi, u3 / I)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([4.5, 0.0, 2 * math.pi / 3, 0.0, math.pi / 4, 0.0])

    def guess(self, s: Tensor) -> Tensor:
        zero, c = torch.zeros_like(s), 2 * math.pi / 3
        return stacked(zero + 4.5, zero, c * s**2, 2 * c * s, zero + math.pi / 4, zero)


class Steering(MinimumTime):
    x0, t1, final_time_bounds = (0.0,) * 4, 1.0, (0.01, 20.0)
    control_shape, control_bounds = (1,), (-math.pi / 2, math.pi / 2)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        angle = u[..., 0]
        return stacked(x[..., 2], x[..., 3], 100 * angle.cos(), 100 * angle.sin())

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 1:] - x.new_tensor([5.0, 45.0, 0.0])

    def guess(self, s: Tensor) -> Tensor:
        return stacked(0 * s, 5 * s, 45 * s, 0 * s)


class VanDerPol(Library):
    x0, t1, control_shape = (1.0, 0.0), 2.0, (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        x1, x2 = x.unbind(-1)
        return stacked(x2, (1 - x1**2) * x2 - x1 + u[..., 0])

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x**2).sum(-1) + u[..., 0] ** 2) / 2
