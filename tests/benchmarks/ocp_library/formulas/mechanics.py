"""Formulas of beams, pendulums, particles and arms."""

import math
from typing import Any

from .base import Formulas, INF


class Beam(Formulas):
    """A beam under a bound on its deflection, which is active at the start."""

    name = "beam"
    x0, u_bounds, boxes = (0.0, 1.0), ((-10.0, 10.0),), {0: (0.0, 0.1)}
    known = (8.891358,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[1], u[0]

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return u[0] ** 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0], x[1] + 1


class CartPendulum(Formulas):
    """The swing-up of a pendulum on a cart in least time."""

    name = "cart_pendulum"
    x0, free, boxes = (0.0, 0.0, 0.0, 0.0), {1: (-2.0, 2.0)}, {0: (-1.0, 1.0), 1: (-2.0, 2.0)}
    T, T_bounds, u_bounds, constants = 2.0, (0.1, 20.0), ((-5.0, 5.0),), {"A": (0.0, -100.0, 100.0)}
    known = (1.744363,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        _, v, th, om = x
        A, L, g, mass, mc = p[0], 1.0, 9.81, 1.0, 0.5

        def al(a: Any) -> Any:
            return -1.5 * (a * m.cos(th) + g * m.sin(th))

        R = mass * (A - L * om * m.sin(th) + L / 2 * m.cos(th) * al(A))
        a = (R - u[0] + 2 * mc * A) / mc
        return v, a, om, al(a)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[2] - math.pi, x[3]


class Chain(Formulas):
    """A chain that hangs between two points, of length 4."""

    name = "chain"
    x0 = (1.0, 0.0, 0.0)
    known = (5.068506,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        length = m.sqrt(1 + u[0] ** 2)
        return u[0], x[0] * length, length

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return x[1]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 3, x[2] - 4

    def path(self, s: float) -> tuple[float, ...]:
        d, x1 = 8 * (s - 0.25), 1 + 8 * s * (s / 2 - 0.25)
        return x1, x1 * d, d

    def start(self, s: float) -> tuple[float, ...]:
        return (8 * (s - 0.25),)


class DielectrophoreticParticle(Formulas):
    """A particle moved by an electric field in least time."""

    name = "dielectrophoretic_particle"
    x0, T, T_bounds, u_bounds = (1.0, 0.0), 1.0, (0.01, 50.0), ((-1.0, 1.0),)
    known = (7.811932,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[1] * u[0] - 0.75 * u[0] ** 2, -x[1] + u[0]

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[0] - 2,)

    def path(self, s: float) -> tuple[float, ...]:
        return 1.0, 1.0


class DoubleOscillator(Formulas):
    """Two masses and a damper that is controlled, with free initial speeds."""

    name = "double_oscillator"
    x0, free = (0.0, 0.0, 0.0, 0.0), {2: (-INF, INF), 3: (-INF, INF)}
    T, u_bounds = 2 * math.pi, ((-1.0, 1.0),)
    known = (9.110331e-4,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        m1, m2, c, k1, k2 = 100.0, 2.0, 0.5, 100.0, 3.0
        first = (-(k1 + k2) * x[0] + k2 * x[1] + m.sin(t)) / m1
        return x[2], x[3], first, (k2 * x[0] - k2 * x[1] - c * (1 - u[0]) * x[3]) / m2

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return (x[0] ** 2 + x[1] ** 2 + u[0] ** 2) / 2


class Robbins(Formulas):
    """A chain of three integrators with a state bound of third order."""

    name = "robbins"
    x0, T, boxes = (1.0, -2.0, 0.0), 10.0, {0: (0.0, INF)}
    known = (19.63789,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[1], x[2], u[0]

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 3 * x[0] + 0.5 * u[0] ** 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return tuple(x)


class Robot(Formulas):
    """A robot arm that turns in least time."""

    name = "robot"
    x0, T, T_bounds = (4.5, 0.0, 0.0, 0.0, math.pi / 4, 0.0), 1.0, (0.1, 100.0)
    u_bounds = ((-1.0, 1.0),) * 3
    boxes = {0: (0.0, 5.0), 2: (-math.pi, math.pi), 4: (0.0, math.pi)}
    known = (9.141188,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        rho, drho, _, dthe, phi, dphi = x
        I = ((5 - rho) ** 3 + rho**3) / 3
        return drho, u[0] / 5, dthe, u[1] / (I * m.sin(phi) ** 2), dphi, u[2] / I

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        goal = (4.5, 0.0, 2 * math.pi / 3, 0.0, math.pi / 4, 0.0)
        return tuple(a - b for a, b in zip(x, goal, strict=True))

    def path(self, s: float) -> tuple[float, ...]:
        return 4.5, 0.0, 2 * math.pi / 3 * s**2, 4 * math.pi / 3 * s, math.pi / 4, 0.0


class Steering(Formulas):
    """A particle steered by the direction of its thrust, in least time."""

    name = "steering"
    x0, T, T_bounds = (0.0, 0.0, 0.0, 0.0), 1.0, (0.01, 20.0)
    u_bounds = ((-math.pi / 2, math.pi / 2),)
    known = (0.554577,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[2], x[3], 100 * m.cos(u[0]), 100 * m.sin(u[0])

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[1] - 5, x[2] - 45, x[3]

    def path(self, s: float) -> tuple[float, ...]:
        return 0.0, 5 * s, 45 * s, 0.0


class VanDerPol(Formulas):
    """The oscillator of van der Pol."""

    name = "vanderpol"
    x0, T = (1.0, 0.0), 2.0
    known = (1.047830,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[1], (1 - x[0] ** 2) * x[1] - x[0] + u[0]

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return (x[0] ** 2 + x[1] ** 2 + u[0] ** 2) / 2
