"""Controls that are a sum of smooth basis functions over depth: Fourier and Chebyshev."""

import abc
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn, Tensor

from .._arguments import check_count
from .base import OpenLoop, Piece, Side


class Galerkin(OpenLoop):
    """`u(t) = sum_j phi_j(s) coefficients[j]`, `s = (t - t0) / (t1 - t0)`, smooth everywhere.

    Arguments:
        t0, t1: The horizon.
        n_basis: How many basis functions.
        shape: The shape of a control value; leading dimensions may be a batch of controls.
        dtype, device: Of the parameters.

    Attributes:
        path: The coefficients, shape `(n_basis, *shape)`, zero at first.
    """

    def __init__(
        self,
        t0: float,
        t1: float,
        n_basis: int,
        shape: int | Sequence[int],
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(t0, t1)
        check_count("n_basis", n_basis)
        self.n_basis = n_basis
        self.shape: tuple[int, ...] = (shape,) if isinstance(shape, int) else tuple(shape)
        self.path: nn.Parameter = nn.Parameter(
            torch.zeros(n_basis, *self.shape, dtype=dtype, device=device)
        )

    @staticmethod
    @abc.abstractmethod
    def basis(s: Float[Tensor, " time"], n_basis: int) -> Float[Tensor, "time basis"]:
        """The first `n_basis` basis functions at `s` in `[0, 1]`."""

    def values(self, ts: Sequence[float], side: Side = "right") -> Float[Tensor, "time ..."]:
        return self.at(torch.tensor(ts, dtype=torch.float64))

    def at(self, t: Float[Tensor, " time"]) -> Float[Tensor, "time ..."]:
        """The control at the times `t`, which may require a gradient."""
        s = (t - self.t0) / (self.t1 - self.t0)
        return torch.tensordot(self.basis(s, self.n_basis).to(self.path), self.path, dims=1)

    def pieces(self) -> Sequence[Piece]:
        return [lambda t, x: self.at(t.reshape(1))[0]]

    def refine(self) -> "Galerkin":
        fine = type(self)(
            self.t0,
            self.t1,
            2 * self.n_basis,
            self.shape,
            dtype=self.path.dtype,
            device=self.path.device,
        )
        with torch.no_grad():
            fine.path[: self.n_basis] = self.path
        return fine


class Fourier(Galerkin):
    """The basis `1, sin(2 pi s), cos(2 pi s), sin(4 pi s), ...`: periodic over the depth."""

    @staticmethod
    def basis(s: Float[Tensor, " time"], n_basis: int) -> Float[Tensor, "time basis"]:
        j = torch.arange(n_basis, device=s.device)
        angle = 2 * math.pi * ((j + 1) // 2) * s[:, None]
        return torch.where(j % 2 == 1, angle.sin(), angle.cos())


class Chebyshev(Galerkin):
    """The Chebyshev polynomials `T_j(y)`, `y = 2 s - 1`, from `T_{j+1} = 2 y T_j - T_{j-1}`."""

    @staticmethod
    def basis(s: Float[Tensor, " time"], n_basis: int) -> Float[Tensor, "time basis"]:
        y = 2 * s - 1
        T = [torch.ones_like(y), y]
        for _ in range(n_basis - 2):
            T.append(2 * y * T[-1] - T[-2])
        return torch.stack(T[:n_basis], 1)
