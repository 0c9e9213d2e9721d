"""Formulas of reactors and an insurance."""

import math
from typing import Any

from .base import Formulas, INF


class Bioreactor(Formulas):
    """Algae and methane, one period of ten days of the thirty; all initial states are free."""

    name = "bioreactor"
    x0, free = (0.15, 2.0, 1.5), {0: (0.05, 0.25), 1: (0.5, 5.0), 2: (0.5, 3.0)}
    T, u_bounds, boxes = 10.0, ((0.0, 1.0),), {0: (0.0, INF), 1: (0.0, INF), 2: (0.001, INF)}
    known = (-17.018211,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        y, s, b = x
        mu = m.fmax(0, m.sin(2 * math.pi * t / 10)) ** 2
        n = 0.1 * s / (s + 0.05)
        growth = mu * y / (1 + y) - (0.005 + u[0]) * y
        return growth, -n * b + u[0] * (y - s), (n - u[0]) * b

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return -x[2] / 3


class CatalystMixing(Formulas):
    """The mixing of two catalysts along a reactor (COPS), of length 1."""

    name = "catalyst_mixing"
    x0, u_bounds = (1.0, 0.0), ((0.0, 1.0),)
    known = (-0.0480556,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        there = u[0] * (10 * x[1] - x[0])
        return there, -there - (1 - u[0]) * x[1]

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return x[0] + x[1] - 1


class Insurance(Formulas):
    """An insurance against illness; its price is free."""

    name = "insurance"
    x0, T, u_bounds = (0.0, 0.001, 0.0), 10.0, ((0.0, 25.0),)
    boxes, constants = {0: (0.0, 1.5), 1: (0.0, 1.5)}, {"P": (0.1, 0.0, 10.0)}
    known, several = (-2.058436, -2.040775), True

    def parts(self, m: Any, t: Any, x: Any, p: Any) -> tuple[Any, ...]:
        """`R`, `H`, `U`, `dU` and `vp` of the sheet."""
        I, ill, _ = x
        v, vp = ill**2 / (1 + ill**2), 2 * ill / (1 + ill**2) ** 2
        R = 1 - p[0] + I - ill
        H = 1.5 - 0.2 * t * (1 - v)
        return R, H, 1 - m.exp(-10 * R) + H, 10 * m.exp(-10 * R), vp

    def density(self, m: Any, t: Any) -> Any:
        """The density of the time of illness."""
        return 0.25 * m.exp(-0.25 * t) + math.exp(-2.5) / 10

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        _, _, _, dU, vp = self.parts(m, t, x, p)
        return (1 - 0.2 * t * vp / dU) * u[0], u[0], x[0] * self.density(m, t)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return -self.parts(m, t, x, p)[2] * self.density(m, t)

    def rows(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        R, H, U, dU, _ = self.parts(m, t, x, p)
        return -R, -H, -U, 0.001 - dU

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[2] - p[0],)

    def start(self, s: float) -> tuple[float, ...]:
        return (0.1,)


class Jackson(Formulas):
    """A reaction in two steps, with a catalyst to share between them."""

    name = "jackson"
    x0, T, u_bounds = (1.0, 0.0, 0.0), 4.0, ((0.0, 1.0),)
    boxes = {0: (0.0, 1.1), 1: (0.0, 1.1), 2: (0.0, 1.1)}
    known = (-0.191809,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        w, q = u[0] * (x[0] - 10 * x[1]), (1 - u[0]) * x[1]
        return -w, w - q, q

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return -x[2]
