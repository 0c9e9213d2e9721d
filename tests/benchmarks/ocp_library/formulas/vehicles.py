"""Formulas of what flies and drives."""

import math
from typing import Any

from .base import Formulas, INF


class DuctedFan(Formulas):
    """A ducted fan that moves sideways; the horizon is scaled, its length `T` a constant."""

    name = "ducted_fan"
    x0, boxes = (0.0,) * 6, {4: (-math.pi / 6, math.pi / 6)}
    u_bounds, constants = ((-5.0, 5.0), (0.0, 17.0)), {"T": (1.0, 0.1, 20.0)}
    known = (1832.208,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        _, v1, _, v2, a, w = x
        r, J, mass, weight = 0.2, 0.05, 2.2, 4.0
        sideways = (u[0] * m.cos(a) - u[1] * m.sin(a)) / mass
        upward = (-weight + u[0] * m.sin(a) + u[1] * m.cos(a)) / mass
        return tuple(p[0] * k for k in (v1, sideways, v2, upward, w, r * u[0] / J))

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 2 * u[0] ** 2 + u[1] ** 2

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return 1000 * p[0]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 1, *x[1:]


class ElectricalVehicle(Formulas):
    """A car on a hilly road, with little energy."""

    name = "electrical_vehicle"
    x0 = (0.0, 0.0)
    known = (1228700.39,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        slope = 3 + 0.4 * x[0] - x[0] ** 2 + 0.1 * x[0] ** 3
        return x[1], u[0] - 0.001 * x[1] ** 2 - 0.1 - slope

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1000 * u[0] * x[1] + 1000 * u[0] ** 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 10, x[1]


class Glider(Formulas):
    """A hang glider in an upwind, as far as it gets."""

    name = "glider"
    x0, T, T_bounds = (0.0, 1000.0, 13.23, -1.288), 90.0, (1.0, 400.0)
    u_bounds, boxes = ((0.0, 1.4),), {0: (0.0, INF), 2: (0.0, INF)}
    known = (-1247.696,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        x1, _, vx, vy = x
        mass, g, S, rho = 100.0, 9.81, 14.0, 1.13
        r = (x1 / 100 - 2.5) ** 2
        w = vy - 2.5 * (1 - r) * m.exp(-r)
        V = m.sqrt(vx**2 + w**2)
        D = 0.5 * (0.034 + 0.069662 * u[0] ** 2) * rho * S * V**2
        L = 0.5 * u[0] * rho * S * V**2
        return vx, vy, (-L * w / V - D * vx / V) / mass, (L * vx / V - D * w / V) / mass - g

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return -x[0]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[1] - 900, x[2] - 13.23, x[3] + 1.288

    def start(self, s: float) -> tuple[float, ...]:
        return (0.7,)


class MoonLander(Formulas):
    """A lander with two engines that moves up and sideways, in least time."""

    name = "moonlander"
    x0, T, T_bounds, u_bounds = (0.0,) * 6, 1.0, (0.1, 50.0), ((0.0, 2 * 9.81),) * 2
    known = (0.961929,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        _, _, v1, v2, th, om = x
        F = u[0] + u[1]
        return v1, v2, -F * m.sin(th), F * m.cos(th) - 9.81, om, 5 * (u[1] - u[0])

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 5, x[1] - 5, x[2], x[3]

    def start(self, s: float) -> tuple[float, ...]:
        return 5.0, 5.0


class Quadrotor(Formulas):
    """A quadrotor that flies 5 m sideways, in least time."""

    name = "quadrotor"
    x0, T, T_bounds = (0.0, 0.0, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0), 1.0, (0.1, 50.0)
    u_bounds = ((0.0, 9.18 * 5), (-3.0, 3.0), (-3.0, 3.0), (-INF, INF))
    boxes = {6: (-math.pi / 2, math.pi / 2), 7: (-math.pi / 2, math.pi / 2)}
    known = (1.49242,)
    digits = 1e-5

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        _, _, _, v1, v2, v3, ph, th = x
        at, dph, dth, ps = u
        a1 = at * (m.cos(ps) * m.sin(th) * m.cos(ph) + m.sin(ps) * m.sin(ph))
        a2 = at * (m.sin(ps) * m.sin(th) * m.cos(ph) - m.cos(ps) * m.sin(ph))
        return v1, v2, v3, a1, a2, at * m.cos(th) * m.cos(ph) - 9.81, dph, dth

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1 + 1e-8 * (x[6] ** 2 + x[7] ** 2 + u[3] ** 2 + u[0] ** 2) + 100 * u[3] ** 2

    def rows(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return (math.cos(0.55) - m.cos(x[7]) * m.cos(x[6]),)

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 0.01, x[1] - 5, x[2] - 2.5, x[3], x[4], x[5]

    def start(self, s: float) -> tuple[float, ...]:
        return 10.0, 0.0, 0.0, 0.0


class Rocket(Formulas):
    """Goddard's rocket, as high as it gets."""

    name = "rocket"
    x0, T, T_bounds, u_bounds = (1.0, 0.0, 1.0), 1.0, (0.01, 2.0), ((0.0, 3.5),)
    boxes = {0: (1.0, INF), 1: (0.0, INF), 2: (0.6, 1.0)}
    known = (-1.0128365,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        h, v, mass = x
        drag = 310 * v**2 * m.exp(-500 * (h - 1))
        return v, (u[0] - drag) / mass - 1 / h**2, -2 * u[0]

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return -x[0]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[2] - 0.6,)

    def path(self, s: float) -> tuple[float, ...]:
        return 1.0, s * (1 - s), 1 - 0.4 * s

    def start(self, s: float) -> tuple[float, ...]:
        return (1.75,)


DEG = math.pi / 180


class SpaceShuttle(Formulas):
    """The reentry of the space shuttle, as far north as it gets."""

    name = "space_shuttle"
    x0, T, n = (2.6, 0.0, 0.0, 2.56, -DEG, 90 * DEG), 2012.0, 200
    u_bounds = ((-90 * DEG, 90 * DEG), (-89 * DEG, DEG))
    boxes = {0: (0.0, INF), 2: (-89 * DEG, 89 * DEG), 3: (1e-4, INF), 4: (-89 * DEG, 89 * DEG)}
    known = (-0.5958727,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        H, _, th, W, ga, ps = x
        h, v, d, mass = 1e5 * H, 1e4 * W, 180 * u[0] / math.pi, 203000 / 32.174
        cD, cL = 0.07854 - 0.0061592 * d + 0.000621408 * d**2, -0.20704 + 0.029244 * d
        q = 0.5 * 2690 * 0.002378 * m.exp(-h / 23800) * v**2
        D, L, r = q * cD, q * cL, 20902900 + h
        g = 1.4076539e16 / r**2
        return (
            v * m.sin(ga) / 1e5,
            v / r * m.cos(ga) * m.sin(ps) / m.cos(th),
            v / r * m.cos(ga) * m.cos(ps),
            (-D / mass - g * m.sin(ga)) / 1e4,
            L * m.cos(u[1]) / (mass * v) + m.cos(ga) * (v / r - g / v),
            L * m.sin(u[1]) / (mass * v * m.cos(ga))
            + v / r * m.cos(ga) * m.sin(ps) * m.sin(th) / m.cos(th),
        )

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return -x[2]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 0.8, x[3] - 0.25, x[4] + 5 * DEG

    def path(self, s: float) -> tuple[float, ...]:
        goal = (0.8, 0.0, 0.0, 0.25, -5 * DEG, 90 * DEG)
        return tuple(a + s * (b - a) for a, b in zip(self.x0, goal, strict=True))

    def better(self, s: float) -> tuple[float, ...]:
        return 15 * DEG, -75 * DEG * (1 - s)


class TruckTrailer(Formulas):
    """A truck with two trailers that parks."""

    name = "truck_trailer"
    x0 = (0.0, 0.0, 0.0, 0.0, 0.0, -0.19, 0.0)
    free = {5: (-0.2, 0.2), 6: (-math.pi / 6, math.pi / 6)}
    T, T_bounds, u_bounds = 20.0, (1.0, 200.0), ((-1.0, 1.0), (-math.pi / 10, math.pi / 10))
    boxes = {
        2: (-math.pi / 2, math.pi / 2), 3: (-math.pi / 2, math.pi / 2), 5: (-0.2, 0.2),
        6: (-math.pi / 6, math.pi / 6),
    }  # fmt: skip
    known, several = (50.5626,), True
    digits = 1e-5

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        _, _, th0, th1, th2, v, de = x
        L0, M0, L1, M1, L2 = 0.4, 0.1, 1.1, 0.2, 0.8
        b01, b12 = th0 - th1, th1 - th2
        w0 = v / L0 * m.tan(de)
        w1 = v / L1 * m.sin(b01) - M0 / L1 * m.cos(b01) * w0
        v1 = v * m.cos(b01) + M0 * m.sin(b01) * w0
        w2 = v1 / L2 * m.sin(b12) - M1 / L2 * m.cos(b12) * w1
        v2 = v1 * m.cos(b12) + M1 * m.sin(b12) * w1
        return v2 * m.cos(th2), v2 * m.sin(th2), w0, w1, w2, u[0], u[1]

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1 + (x[2] - x[3]) ** 2 + (x[3] - x[4]) ** 2

    def rows(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        bends = (x[2] - x[3], x[3] - x[4])
        return tuple(sign * bend - math.pi / 2 for bend in bends for sign in (-1, 1))

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0], x[1] + 2, x[4] - math.pi / 2, x[2] - x[3], x[3] - x[4]

    def path(self, s: float) -> tuple[float, ...]:
        return 0.0, 0.0, 0.1, 0.0, 0.0, -0.19, 0.0
