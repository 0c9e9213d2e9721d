"""What a problem consists of, for any module `m` that has sin, cos, exp and so on."""

from collections.abc import Sequence
from typing import Any


Bounds = tuple[float, float]
INF = float("inf")


class Formulas:
    """An optimal control problem as plain formulas; `m` is numpy or casadi.

    States, controls and constants are sequences of scalars, or of arrays with one entry for each
    node. What is not written is zero or absent.

    Attributes:
        name: The problem's name.
        x0: The initial state, and the guess of it where it is free.
        free: The bounds of the initial states that are free, by index.
        T: The final time; the horizon starts at zero.
        T_bounds: The bounds of a final time that is free, with `T` the guess, or None.
        u_bounds: The bounds of each control.
        boxes: The bounds of states at the nodes, by index.
        constants: Guess and bounds of each free constant, by name, in the order of `p`.
        n: The number of steps.
        known: The optimal values, the best first: several if there are several local minima.
        digits: The relative accuracy of the values.
        several: Whether it has local minima, each of which counts as an answer.
    """

    name: str
    x0: tuple[float, ...]
    free: dict[int, Bounds] = {}
    T: float = 1.0
    T_bounds: Bounds | None = None
    u_bounds: tuple[Bounds, ...] = ((-INF, INF),)
    boxes: dict[int, Bounds] = {}
    constants: dict[str, tuple[float, float, float]] = {}
    n: int = 100
    known: tuple[float, ...]
    digits: float = 2e-6
    several: bool = False

    def dynamics(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        """`x'`."""
        raise NotImplementedError

    def running(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> Any:
        """The running cost."""
        return 0.0

    def final(self, m: Any, x: Any, p: Any) -> Any:
        """The terminal cost."""
        return 0.0

    def rows(self, m: Any, t: Any, x: Any, u: Any, p: Any) -> tuple:
        """What must be `<= 0` at the nodes, besides the bounds."""
        return ()

    def end(self, m: Any, x: Any, p: Any) -> tuple:
        """What must be `= 0` at the end."""
        return ()

    def path(self, s: float) -> tuple[float, ...] | None:
        """A guess of the state at `t = s T`; None for where the guessed controls lead to."""
        return None

    def better(self, s: float) -> tuple[float, ...] | None:
        """Controls at `t = s T` from which IPOPT finds the least cost; None for `start`."""
        return None

    def start(self, s: float) -> tuple[float, ...]:
        """A guess of the controls at `t = s T`."""
        return (0.0,) * len(self.u_bounds)


def rk4(problem: Formulas, m: Any, t: Any, h: Any, x: Any, u: Any, p: Sequence) -> tuple[list, Any]:
    """The state after one Runge-Kutta step, and the running cost over it.

    Arguments:
        problem: The formulas.
        m: numpy or casadi.
        t: The time at the start of the step.
        h: The width of the step.
        x: The state there.
        u: The control over the step.
        p: The free constants.
    """
    slopes, costs = [], []
    for c in (0.0, 0.5, 0.5, 1.0):
        y = [a + c * h * b for a, b in zip(x, slopes[-1], strict=True)] if slopes else x
        slopes.append(problem.dynamics(m, t + c * h, y, u, p))
        costs.append(problem.running(m, t + c * h, y, u, p))
    weights = (h / 6, h / 3, h / 3, h / 6)
    rise = [sum(w * k for w, k in zip(weights, row, strict=True)) for row in zip(*slopes)]  # noqa: B905
    return [a + b for a, b in zip(x, rise, strict=True)], sum(
        w * l for w, l in zip(weights, costs, strict=True)
    )
