"""Formulas of the problems in `problems`, which come with optima of their own."""

import math
from typing import Any

from .base import Formulas


class Own(Formulas):
    """Known are optima in continuous time, from which those of 100 steps differ."""

    digits = 1e-3


class Tanh(Own):
    """A regulator in Mayer form."""

    name, x0 = "tanh", (1.0, 0.0)
    known = (math.tanh(1),)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return u[0], x[0] ** 2 + u[0] ** 2

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return x[1]


class TanhTo(Tanh):
    """The same with a given end."""

    name = "tanh_to"
    known = (2 * math.tanh(0.5),)

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[0] - 1,)


class BilinearPenalty(Own):
    """Growth with a penalty on missing 3."""

    name, x0 = "bilinear_penalty", (1.0,)
    known = (0.5967621017,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return (u[0] * x[0],)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return u[0] ** 2 / 2

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return 5 * (x[0] - 3) ** 2


class Bilinear(BilinearPenalty):
    """Growth from 1 to 3."""

    name = "bilinear"
    known = (math.log(3) ** 2,)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return u[0] ** 2

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return 0.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[0] - 3,)


class DeepLinear(Own):
    """A linear residual network with a penalty on missing a matrix."""

    name, x0, u_bounds = "deep_linear", (1.0, 0.0, 0.0, 1.0), Own.u_bounds * 4
    known = (0.6426,)
    goal = (2.0, 0.5, 0.5, 1.0)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return tuple(u[2 * i] * x[j] + u[2 * i + 1] * x[2 + j] for i in (0, 1) for j in (0, 1))

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return sum(v**2 for v in u)

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return 5 * sum((a - b) ** 2 for a, b in zip(x, self.goal, strict=True))


class LinearResNet(DeepLinear):
    """A linear residual network that is a given matrix."""

    name = "linear_resnet"
    known = (math.log(1.5 + 0.5**0.5) ** 2 + math.log(1.5 - 0.5**0.5) ** 2,)

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return 0.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return tuple(a - b for a, b in zip(x, self.goal, strict=True))


class TurnpikeLQ(Own):
    """A regulator with a turnpike."""

    name, x0, T = "turnpike_lq", (2.0,), 10.0
    known = (5.6819759249,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return (x[0] + u[0],)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return ((x[0] - 1) ** 2 + u[0] ** 2) / 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[0] - 2,)


class Hypersensitive(Own):
    """A problem whose boundary layers are short."""

    name, x0, T, n = "hypersensitive", (1.0,), 10.0, 1000
    known = (6.723926,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return (-(x[0] ** 3) + u[0],)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return x[0] ** 2 + u[0] ** 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[0] - 1.5,)


class FreeVanDerPol(Own):
    """The oscillator of van der Pol without bounds."""

    name, x0, T = "van_der_pol", (0.0, 1.0), 5.0
    known = (2.86695242,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return (1 - x[1] ** 2) * x[0] - x[1] + u[0], x[0]

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return x[0] ** 2 + x[1] ** 2 + u[0] ** 2


class BoundedVanDerPol(FreeVanDerPol):
    """The same with bounds."""

    name, u_bounds = "bounded_van_der_pol", ((-0.3, 1.0),)
    known = (2.867261,)


class PendulumSwingUp(Own):
    """The swing-up of a pendulum with little torque; it has several local minima."""

    name, x0, T, u_bounds = "pendulum", (0.0, 0.0), 5.0, ((-3.0, 3.0),)
    known, several = (19.3966, 27.18839), True
    digits = 1e-2

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[1], u[0] - 9.81 * m.sin(x[0])

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return u[0] ** 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - math.pi, x[1]


class StraightPendulum(PendulumSwingUp):
    """The same from a straight line."""

    name = "pendulum_straight"

    def path(self, s: float) -> tuple[float, ...]:
        return math.pi * s, math.pi / 5


class DoubleIntegrator(Own):
    """What the double integrators share."""

    x0 = (0.0, 0.0)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[1], u[0]


class MinEnergy(DoubleIntegrator):
    """From rest to rest, with least energy."""

    name = "min_energy"
    known = (12.0,)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return u[0] ** 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 1, x[1]


class BrysonDenham(DoubleIntegrator):
    """Under a bound on the position."""

    name, x0, boxes = "bryson_denham", (0.0, 1.0), {0: (-math.inf, 1 / 9)}
    known = (4.0,)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return u[0] ** 2 / 2

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0], x[1] + 1


class MinTime(DoubleIntegrator):
    """From rest to rest, in least time."""

    name, T_bounds, u_bounds = "min_time", (0.1, 20.0), ((-1.0, 1.0),)
    known = (2.0,)

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 1, x[1]


class OwnMoonLander(Own):
    """A soft landing with little fuel."""

    name, x0, T, T_bounds, u_bounds = "landing", (10.0, -2.0), 4.0, (0.1, 20.0), ((0.0, 3.0),)
    known = (math.sqrt(68),)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[1], u[0] - 1.5

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return u[0]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return tuple(x)


class Brachistochrone(Own):
    """The curve of quickest descent."""

    name, x0, T_bounds = "brachistochrone", (0.0, 10.0, 0.0), (0.1, 20.0)
    known = (1.8016031225,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        return x[2] * m.sin(u[0]), -x[2] * m.cos(u[0]), 9.80665 * m.cos(u[0])

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return 1.0

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[0] - 10, x[1] - 5

    def path(self, s: float) -> tuple[float, ...]:
        return 10 * s, 10 - 5 * s, math.sqrt(2 * 9.80665 * 5 * s)


class Goddard(Own):
    """Goddard's rocket without bounds of states, from a cold start."""

    name, x0, T, T_bounds, u_bounds = "goddard", (1.0, 0.0, 1.0), 0.2, (0.01, 1.0), ((0.0, 3.5),)
    known = (-1.0128375,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        h, v, mass = x
        drag = 310 * v**2 * m.exp(-500 * (h - 1))
        return v, (u[0] - drag) / mass - 1 / h**2, -2 * u[0]

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return -x[0]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return (x[2] - 0.6,)


class OrbitRaising(Own):
    """A transfer between circular orbits."""

    name, x0, T = "orbit_raising", (1.0, 0.0, 1.0), 3.32
    known = (-1.5252777,)

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        r, w, v = x
        a = 0.1405 / (1 - 0.0749 * t)
        return w, v**2 / r - 1 / r**2 + a * m.sin(u[0]), -w * v / r + a * m.cos(u[0])

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return -x[0]

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        return x[1], x[2] - 1 / m.sqrt(x[0])


class Regulator(Own):
    """`x' = A x + B u` with one control: `A` and the diagonals of all weights."""

    A: tuple[tuple[float, ...], ...] = ((0.0, 1.0), (0.0, 0.0))
    Q: tuple[float, ...] = (1.0, 1.0)
    Q_T: tuple[float, ...] = (0.0, 0.0)
    R: float = 1.0

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        free = [sum(a * v for a, v in zip(row, x, strict=True)) for row in self.A]
        return (*free[:-1], free[-1] + u[0])

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        return (sum(q * v**2 for q, v in zip(self.Q, x, strict=True)) + self.R * u[0] ** 2) / 2

    def final(self, m: Any, x: Any, p: Any) -> Any:
        return sum(q * v**2 for q, v in zip(self.Q_T, x, strict=True)) / 2


class ScalarLQR(Regulator):
    """An integrator."""

    name, x0, A, Q, Q_T = "scalar_lqr", (1.0,), ((0.0,),), (1.0,), (0.0,)
    known = (math.tanh(1) / 2,)


class DoubleIntegratorLQR(Regulator):
    """A double integrator."""

    name, x0, T = "double_integrator_lqr", (1.0, 0.0), 5.0
    known = (0.8654252995521777,)


class TerminalLQR(Regulator):
    """A double integrator with a terminal cost."""

    name, x0, T, Q, Q_T, R = "terminal_lqr", (1.0, 1.0), 2.0, (1.0, 0.1), (10.0, 10.0), 0.1
    known = (0.8966743947753623,)


class OscillatorLQR(Regulator):
    """An oscillator."""

    name, x0, T, A = "oscillator_lqr", (1.0, 0.0), 10.0, ((0.0, 1.0), (-1.0, 0.0))
    known = (0.9561419767349852,)


OWN: tuple[type[Formulas], ...] = (
    Tanh, TanhTo, BilinearPenalty, Bilinear, DeepLinear, LinearResNet, TurnpikeLQ, Hypersensitive,
    FreeVanDerPol, BoundedVanDerPol, PendulumSwingUp, StraightPendulum, MinEnergy, BrysonDenham,
    MinTime, OwnMoonLander, Brachistochrone, Goddard, OrbitRaising, ScalarLQR, DoubleIntegratorLQR,
    TerminalLQR, OscillatorLQR,
)  # fmt: skip
"""All of them."""
