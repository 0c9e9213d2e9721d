"""What flies and drives."""

import math

import torch
from torch import Tensor

from .base import doubles, Library, MinimumTime, stacked


class DuctedFan(Library):
    x0, boxes = (0.0,) * 6, {4: (-math.pi / 6, math.pi / 6)}
    control_shape, control_bounds = (2,), (doubles(-5.0, 0.0), doubles(5.0, 17.0))
    static_parameters = {"T": (0.1, 20.0)}
    T: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("T", torch.ones((), dtype=torch.float64))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        _, v1, _, v2, angle, rate = x.unbind(-1)
        side, lift = u.unbind(-1)
        sin, cos = angle.sin(), angle.cos()
        a1, a2 = (side * cos - lift * sin) / 2.2, (side * sin + lift * cos - 4) / 2.2
        return self.T * stacked(v1, a1, v2, a2, rate, 4 * side)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return 2 * u[..., 0] ** 2 + u[..., 1] ** 2

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (1000 * self.T).expand(x.shape[:-1])

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])


class ElectricalVehicle(Library):
    x0, control_shape = (0.0, 0.0), (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        x, v = x.unbind(-1)
        drag = 1e-3 * v**2 + 3.1 + 0.4 * x - x**2 + 0.1 * x**3
        return stacked(v, u[..., 0] - drag)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return 1000 * u[..., 0] * (x[..., 1] + u[..., 0])

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([10.0, 0.0])


class Glider(Library):
    x0, t1, final_time_bounds = (0.0, 1000.0, 13.23, -1.288), 90.0, (1.0, 400.0)
    control_shape, control_bounds, u0 = (1,), (0.0, 1.4), (0.7,)
    boxes = {0: (0.0, math.inf), 2: (0.0, math.inf)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        place, _, vx, vy = x.unbind(-1)
        cL, mass, g = u[..., 0], 100.0, 9.81
        r = (place / 100 - 2.5) ** 2
        w = vy - 2.5 * (1 - r) * (-r).exp()
        force = 1.13 * 14 / 2 * (vx**2 + w**2).sqrt() / mass
        drag, lift = (0.034 + 0.069662 * cL**2) * force, cL * force
        return stacked(vx, vy, -lift * w - drag * vx, lift * vx - drag * w - g)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 0]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 1:] - x.new_tensor([900.0, 13.23, -1.288])


class MoonLander(MinimumTime):
    x0, t1, final_time_bounds = (0.0,) * 6, 1.0, (0.1, 50.0)
    control_shape, control_bounds, u0 = (2,), (0.0, 2 * 9.81), (5.0, 5.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        _, _, v1, v2, angle, rate = x.unbind(-1)
        thrust, turn = u.sum(-1), 5 * (u[..., 1] - u[..., 0])
        return stacked(v1, v2, -thrust * angle.sin(), thrust * angle.cos() - 9.81, rate, turn)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :4] - x.new_tensor([5.0, 5.0, 0.0, 0.0])


class Quadrotor(Library):
    x0, t1, final_time_bounds = (0.0, 0.0, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0), 1.0, (0.1, 50.0)
    control_shape, u0 = (4,), (10.0, 0.0, 0.0, 0.0)
    control_bounds = doubles(0.0, -3.0, -3.0, -math.inf), doubles(45.9, 3.0, 3.0, math.inf)
    boxes = {6: (-math.pi / 2, math.pi / 2), 7: (-math.pi / 2, math.pi / 2)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        phi, theta = x[..., 6], x[..., 7]
        thrust, turn_phi, turn_theta, psi = u.unbind(-1)
        forth, side = theta.sin() * phi.cos(), phi.sin()
        a1 = thrust * (psi.cos() * forth + psi.sin() * side)
        a2 = thrust * (psi.sin() * forth - psi.cos() * side)
        a3 = thrust * theta.cos() * phi.cos() - 9.81
        return stacked(x[..., 3], x[..., 4], x[..., 5], a1, a2, a3, turn_phi, turn_theta)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        small = (x[..., 6:] ** 2).sum(-1) + u[..., 3] ** 2 + u[..., 0] ** 2
        return 1 + 1e-8 * small + 100 * u[..., 3] ** 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        tilt = math.cos(0.55) - x[..., 6:7].cos() * x[..., 7:8].cos()
        return torch.cat([super().path_constraint(t, x, u), tilt], -1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :6] - x.new_tensor([0.01, 5.0, 2.5, 0.0, 0.0, 0.0])


class Rocket(Library):
    x0, t1, final_time_bounds = (1.0, 0.0, 1.0), 1.0, (0.01, 2.0)
    control_shape, control_bounds, u0 = (1,), (0.0, 3.5), (1.75,)
    boxes = {0: (1.0, math.inf), 1: (0.0, math.inf), 2: (0.6, 1.0)}

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        (h, v, m), thrust = x.unbind(-1), u[..., 0]
        drag = 310 * v**2 * (500 - 500 * h).exp()
        return stacked(v, (thrust - drag) / m - h**-2, -2 * thrust)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 0]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 2:] - 0.6

    def guess(self, s: Tensor) -> Tensor:
        return stacked(torch.ones_like(s), s * (1 - s), 1 - 0.4 * s)


DEGREE = math.pi / 180


class SpaceShuttle(Library):
    x0, t1 = (2.6, 0.0, 0.0, 2.56, -DEGREE, 90 * DEGREE), 2012.0
    control_shape = (2,)
    control_bounds = DEGREE * doubles(-90.0, -89.0), DEGREE * doubles(90.0, 1.0)
    boxes = {
        0: (0.0, math.inf), 2: (-89 * DEGREE, 89 * DEGREE), 3: (1e-4, math.inf),
        4: (-89 * DEGREE, 89 * DEGREE),
    }  # fmt: skip

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        height, _, latitude, speed, path, azimuth = x.unbind(-1)
        (attack, bank), h, v, mass = u.unbind(-1), 1e5 * height, 1e4 * speed, 203000 / 32.174
        d, r = attack / DEGREE, 20902900 + h
        pressure = 0.5 * 0.002378 * (-h / 23800).exp() * v**2 * 2690
        drag = pressure * (0.07854 - 0.0061592 * d + 0.000621408 * d**2)
        lift, g = pressure * (0.029244 * d - 0.20704), 1.4076539e16 / r**2
        level = v * path.cos() / r
        east, north = level * azimuth.sin() / latitude.cos(), level * azimuth.cos()
        slower = -drag / mass - g * path.sin()
        turn = lift * bank.cos() / (mass * v) + path.cos() * (v / r - g / v)
        veer = lift * bank.sin() / (mass * v * path.cos()) + east * latitude.sin()
        return stacked(v * path.sin() / 1e5, east, north, slower / 1e4, turn, veer)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 2]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., [0, 3, 4]] - x.new_tensor([0.8, 0.25, -5 * DEGREE])

    def guess(self, s: Tensor) -> Tensor:
        first = s.new_tensor(self.x0)
        last = s.new_tensor([0.8, 0.0, 0.0, 0.25, -5 * DEGREE, 90 * DEGREE])
        return torch.lerp(first, last, s[:, None])


class TruckTrailer(Library):
    x0, t1, final_time_bounds = (0.0, 0.0, 0.0, 0.0, 0.0, -0.19, 0.0), 20.0, (1.0, 200.0)
    free = {5: (-0.2, 0.2), 6: (-math.pi / 6, math.pi / 6)}
    control_shape = (2,)
    control_bounds = doubles(-1.0, -math.pi / 10), doubles(1.0, math.pi / 10)
    boxes = {
        2: (-math.pi / 2, math.pi / 2), 3: (-math.pi / 2, math.pi / 2), 5: (-0.2, 0.2),
        6: (-math.pi / 6, math.pi / 6),
    }  # fmt: skip

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        _, _, th0, th1, th2, v0, steer = self.true(x).unbind(-1)
        L0, M0, L1, M1, L2 = 0.4, 0.1, 1.1, 0.2, 0.8
        first, second = th0 - th1, th1 - th2
        w0 = v0 * steer.tan() / L0
        w1 = (v0 * first.sin() - M0 * w0 * first.cos()) / L1
        v1 = v0 * first.cos() + M0 * w0 * first.sin()
        w2 = (v1 * second.sin() - M1 * w1 * second.cos()) / L2
        v2 = v1 * second.cos() + M1 * w1 * second.sin()
        return stacked(v2 * th2.cos(), v2 * th2.sin(), w0, w1, w2, u[..., 0], u[..., 1])

    def bends(self, x: Tensor) -> Tensor:
        """The angles between truck and trailers."""
        return x[..., 2:4] - x[..., 3:5]

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return 1 + (self.bends(x) ** 2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        bends = self.bends(x)
        rows = torch.cat([-bends, bends], -1) - math.pi / 2
        return torch.cat([super().path_constraint(t, x, u), rows], -1)

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        end = x[..., [0, 1, 4]] - x.new_tensor([0.0, -2.0, math.pi / 2])
        return torch.cat([end, self.bends(x)], -1)

    def guess(self, s: Tensor) -> Tensor:
        return s.new_tensor([0.0, 0.0, 0.1, 0.0, 0.0, -0.19, 0.0]).expand(len(s), -1)
