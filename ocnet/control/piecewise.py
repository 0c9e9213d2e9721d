"""Controls that are polynomials between knots: constant, linear, cubic spline."""

import abc
import functools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn, Tensor

from .._arguments import check_count
from .base import constants, OpenLoop, Piece, Side, unbound


class PiecewisePolynomial(OpenLoop):
    """A control that is a polynomial on each of `n_intervals` equal intervals.

    Arguments:
        t0, t1: The horizon.
        n_intervals: How many intervals.
        shape: The shape of a control value; leading dimensions may be a batch of controls.
        dtype, device: Of the parameters.

    Attributes:
        path: The parameters, shape `(n_values, *shape)`, zero at first.
    """

    def __init__(
        self,
        t0: float,
        t1: float,
        n_intervals: int,
        shape: int | Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(t0, t1, n_intervals)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        for size in shape:
            check_count("shape", size)
        self.shape = shape
        size = self.n_values(n_intervals)
        self.path: nn.Parameter = nn.Parameter(
            torch.zeros(size, *shape, dtype=dtype, device=device)
        )

    @staticmethod
    @abc.abstractmethod
    def n_values(n_intervals: int) -> int:
        """How many control values parametrise `n_intervals` intervals."""

    @abc.abstractmethod
    def coefficients(self) -> Sequence[Float[Tensor, "interval ..."]]:
        """The coefficients `a_0, a_1, ...` of `u(t) = sum_j a_j (t - t_i)^j` on each interval."""

    def values(self, ts: Sequence[float], side: Side = "right") -> Float[Tensor, "time ..."]:
        intervals = self.intervals(ts, side)
        coefficients = self.coefficients()
        # Where the grid is the control's own there is nothing to gather.
        if intervals != list(range(self.n_intervals)):
            i = constants(intervals, torch.long, self.path.device)
            coefficients = [a[i] for a in coefficients]
        if len(coefficients) == 1:
            return coefficients[0]
        s = [t - self.knots[i] for t, i in zip(ts, intervals, strict=True)]
        s = constants(s, self.path.dtype, self.path.device)
        return horner(coefficients, s.reshape(-1, *[1] * len(self.shape)))

    def pieces(self) -> Sequence[Piece]:
        def polynomial(start: float, coefficients: Sequence[Tensor]) -> Piece:
            if len(coefficients) == 1:
                return lambda t, x: coefficients[0]
            return lambda t, x: horner(coefficients, (t - start).to(self.path))

        by_interval = zip(*[unbound(a) for a in self.coefficients()], strict=True)
        return [polynomial(t, a) for t, a in zip(self.knots[:-1], by_interval, strict=True)]

    def refine(self) -> "PiecewisePolynomial":
        fine = type(self)(
            self.t0,
            self.t1,
            2 * self.n_intervals,
            self.shape,
            dtype=self.path.dtype,
            device=self.path.device,
        )
        with torch.no_grad():
            fine.path.copy_(self.values(fine.knots[: len(fine.path)]))
        return fine


class PiecewiseConstant(PiecewisePolynomial):
    """`u(t) = path[k]` on the `k`-th of `n_intervals` equal intervals.

    With one Euler step per interval this is a residual network: `path[k]` holds the weights of
    layer `k`.
    """

    @staticmethod
    def n_values(n_intervals: int) -> int:
        return n_intervals

    def coefficients(self) -> Sequence[Float[Tensor, "interval ..."]]:
        return [self.path]


class PiecewiseLinear(PiecewisePolynomial):
    """The control that interpolates `path[k]` at the `k`-th of `n_intervals + 1` equal knots."""

    @staticmethod
    def n_values(n_intervals: int) -> int:
        return n_intervals + 1

    def coefficients(self) -> Sequence[Float[Tensor, "interval ..."]]:
        width = (self.t1 - self.t0) / self.n_intervals
        return [self.path[:-1], self.path.diff(dim=0) / width]


class CubicSpline(PiecewisePolynomial):
    """The natural cubic spline through `path[k]` at the `k`-th of `n_intervals + 1` equal knots.

    Natural (no curvature at `t0` and `t1`), because refining it then leaves it unchanged.
    """

    @staticmethod
    def n_values(n_intervals: int) -> int:
        return n_intervals + 1

    def coefficients(self) -> Sequence[Float[Tensor, "interval ..."]]:
        width = (self.t1 - self.t0) / self.n_intervals
        curvature = natural_curvature(self.n_intervals).to(self.path)
        second = torch.tensordot(curvature, self.path, dims=1) / width**2
        left, right = second[:-1], second[1:]
        slope = self.path.diff(dim=0) / width - width * (2 * left + right) / 6
        return [self.path[:-1], slope, left / 2, (right - left) / (6 * width)]


@functools.cache
def natural_curvature(n_intervals: int) -> Float[Tensor, "value value"]:
    """The matrix from values at unit spacing to second derivatives of the natural spline.

    Solves `M[k-1] + 4 M[k] + M[k+1] = 6 (y[k-1] - 2 y[k] + y[k+1])`, `M[0] = M[n] = 0`.
    """
    size = n_intervals + 1
    curvature = torch.zeros(size, size, dtype=torch.float64)
    if n_intervals > 1:
        eye = torch.eye(size, dtype=torch.float64)
        difference = eye[:-2] - 2 * eye[1:-1] + eye[2:]
        off_diagonal = torch.ones(size - 3, dtype=torch.float64)
        tridiagonal = 4 * eye[2:, 2:] + off_diagonal.diag(1) + off_diagonal.diag(-1)
        curvature[1:-1] = torch.linalg.solve(tridiagonal, 6 * difference)
    return curvature


def horner(coefficients: Sequence[Tensor], s: Tensor) -> Tensor:
    """The polynomial `sum_j a_j s^j`."""
    *lower, value = coefficients
    for a in reversed(lower):
        value = a + s * value
    return value
