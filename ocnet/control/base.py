"""What every control can do, and the open-loop controls that are linear in their coefficients."""

import abc
import functools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import nn, Tensor

from .._arguments import as_number, check_count
from ..types import ControlValue, State, Time


Law = Callable[[State], ControlValue]
"""The control at one time, as a function of the state."""

Piece = Callable[[Time, State], ControlValue]
"""The control between two knots, as a function of time and state."""

Side = Literal["left", "right"]
"""Which limit to take where the control jumps."""

TIME_TOLERANCE = 1e-9
"""Times closer than this share of the horizon are the same grid point."""

ULPS = 4
"""Far from 0, times closer than this many units in the last place are the same point, too."""


class Control(nn.Module, abc.ABC):
    """A control law on `[t0, t1]`, open-loop `u(t)` or feedback `u(t, x)`.

    It is smooth between two knots. Its grid is independent of the solver, which may take any number
    of steps.

    Attributes:
        t0, t1: The horizon.
        knots: The times at which the control or a derivative of it jumps, `t0` and `t1` included.
    """

    t0: float
    t1: float
    knots: list[float]

    def __init__(self, t0: float, t1: float, n_intervals: int = 1):
        super().__init__()
        t0, t1 = as_number("t0", t0), as_number("t1", t1)
        if not -math.inf < t0 < t1 < math.inf:
            raise ValueError(f"Must have t0 < t1, but got {t0=} and {t1=}.")
        check_count("n_intervals", n_intervals)
        check_resolved(t0, t1, n_intervals)
        self.t0 = t0
        self.t1 = t1
        self.knots = equal_times(t0, t1, n_intervals)

    @property
    def n_intervals(self) -> int:
        """How many intervals the knots bound."""
        return len(self.knots) - 1

    @abc.abstractmethod
    def laws(self, ts: Sequence[float], side: Side = "right") -> Sequence[Law]:
        """The maps `x -> u` at each of the times `ts`.

        One call serves a whole grid: looking the control up anew at each step would make the
        backward pass quadratic in the number of intervals.

        Arguments:
            ts: The times; Python floats, because a time in single precision may land next to a
                knot.
            side: The limit to take at a knot; a Runge-Kutta stage at the end of its step needs the
                left one.
        """

    @abc.abstractmethod
    def pieces(self) -> Sequence[Piece]:
        """The maps `(t, x) -> u`, one for each interval between knots; each is smooth."""

    @abc.abstractmethod
    def refine(self) -> "Control":
        """The same function on a grid twice as fine, with parameters of its own."""

    def forward(self, t: Tensor | float, x: Any = None) -> ControlValue:
        """The control applied at time `t` in state `x`."""
        (law,) = self.laws([as_number("t", t)])
        return law(x)

    def intervals(self, ts: Sequence[float], side: Side = "right") -> list[int]:
        """The index of the interval that holds each time."""
        # Rounding may put a solver's grid point just next to the knot that it stands for.
        slack = time_slack(self.t0, self.t1)
        inner = self.knots[1:-1]
        if torch.compiler.is_compiling():
            # The compiler cannot look into bisect, and this runs only once, while it traces.
            if side == "right":
                return [sum(knot <= t + slack for knot in inner) for t in ts]
            return [sum(knot < t - slack for knot in inner) for t in ts]
        if side == "right":
            return [bisect_right(inner, t + slack) for t in ts]
        return [bisect_left(inner, t - slack) for t in ts]


class OpenLoop(Control):
    """A control that is a function of time alone."""

    @abc.abstractmethod
    def values(self, ts: Sequence[float], side: Side = "right") -> Float[Tensor, "time ..."]:
        """The control at the times `ts`, shape `(time, *control_shape)`."""

    def laws(self, ts: Sequence[float], side: Side = "right") -> Sequence[Law]:
        return [lambda x, u=u: u for u in unbound(self.values(ts, side))]


def unbound(z: Tensor) -> list[Tensor]:
    """`z[0], ..., z[n - 1]`, with a backward pass whose time grows like `n`.

    The autograd engine spends a time proportional to `n` on each gradient that reaches a function
    with `n` outputs, so a single `unbind` would make the pass quadratic. Here each function has
    about `sqrt(n)` outputs.
    """
    size = math.isqrt(max(0, len(z) - 1)) + 1
    return [row for block in z.split(size) for row in block.unbind()]


def equal_times(t0: float, t1: float, n: int) -> list[float]:
    """The ends of `n` equal intervals that cover `[t0, t1]`, in double precision."""
    return [t0 + k * (t1 - t0) / n for k in range(n)] + [t1]


def time_slack(t0: float, t1: float) -> float:
    """How close two times of a horizon must be to count as the same."""
    return max(TIME_TOLERANCE * (t1 - t0), ULPS * math.ulp(max(abs(t0), abs(t1))))


def check_resolved(t0: float, t1: float, n: int) -> None:
    """Raises a ValueError unless double precision tells the ends of `n` equal intervals apart."""
    width = (t1 - t0) / n
    if not width > 4 * time_slack(t0, t1):
        raise ValueError(
            f"{n} intervals of [{t0!r}, {t1!r}] are {width:.3g} wide each, which double precision "
            "does not tell apart there: take fewer, or let the horizon begin at 0."
        )


def time_dtype(device: torch.device) -> torch.dtype:
    """Double precision, where a device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def as_times(ts: Sequence[float], device: torch.device) -> Tensor:
    """Times as a tensor, in double precision whatever the state's dtype is."""
    return constants(ts, time_dtype(device), device)


def constants(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers as a tensor, made once for each device other than the CPU; not to be changed.

    Copying from the host makes such a device wait, and cannot be recorded in a CUDA graph.
    """
    if device.type == "cpu" or torch.compiler.is_compiling():
        return torch.tensor(values, dtype=dtype, device=device)
    return kept_constants(tuple(values), dtype, device)


@functools.lru_cache(maxsize=256)
def kept_constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The tensor that `constants` keeps."""
    return torch.tensor(values, dtype=dtype, device=device)
