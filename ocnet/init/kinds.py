"""Kinds of initialisation: unit-variance processes over depth, with their exact covariance."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .._arguments import check_count, check_range, shown
from .circulant import colour, embed, square_root, toeplitz
from .kernels import Covariance, RBF, smoothness


BLOCK = 2**20
"""How many numbers are drawn at a time: few enough for the caches, enough to be worth the call."""


NOISE = torch.float32
"""What white noise is drawn in, whatever is computed in: a seed means the same in every dtype."""


class Kind(abc.ABC):
    """A process over depth: how the entries of stacked weights depend on each other.

    Entries of a layer are independent of one another and have mean 0 and variance 1, in every
    kind; kinds differ in the correlation over depth only (and `Iid` also in its marginal law).
    """

    @property
    @abc.abstractmethod
    def hurst(self) -> float:
        """`H`, the memory: the sum over `L` layers has a standard deviation that grows like
        `L**H`, 1/2 without memory and 1 where neighbours become equal as `L` grows."""

    @abc.abstractmethod
    def correlation(self, n: int) -> Float[Tensor, "layer layer"]:
        """The exact covariance of one entry over `n` layers, in double precision."""

    def first_row(self, n: int) -> Float[Tensor, " layer"] | None:
        """The first row of `correlation(n)` where that is a Toeplitz matrix, which it determines.

        None where the correlation does not depend on the distance of two layers alone.
        """
        return None

    def correlation_rows(self, start: int, stop: int, n: int) -> Float[Tensor, "row layer"]:
        """`correlation(n)[start:stop]`."""
        return self.correlation(n)[start:stop]

    @abc.abstractmethod
    def draw(
        self,
        n: int,
        count: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        out: Tensor | None = None,
    ) -> Float[Tensor, "layer path"]:
        """`count` independent sequences over `n` layers, shape `(n, count)`.

        Arguments:
            n: The number of layers.
            count: The number of sequences.
            generator: Makes the draw reproducible; on `device`.
            dtype, device: Those of the sequences.
            out: Memory to draw into, contiguous and of that shape, dtype and device: new memory
                takes half the time of a long draw.
        """


class Synthesis(NamedTuple):
    """How sequences are made of white noise.

    Attributes:
        length: How many independent Gaussians a sequence is made of.
        of: The linear map `(path, length) -> (path, layer)`.
    """

    length: int
    of: Callable[[Tensor], Tensor]


class Gaussian(Kind):
    """A kind whose sequences are a linear map of white noise."""

    @abc.abstractmethod
    def synthesis(self, n: int) -> Synthesis:
        """The map from white noise to sequences over `n` layers."""

    def draw(
        self,
        n: int,
        count: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        out: Tensor | None = None,
    ) -> Float[Tensor, "layer path"]:
        synthesis = self.synthesis(n)
        paths = memory(n, count, dtype, device, out)
        for some in paths.split(max(1, BLOCK // synthesis.length), dim=1):
            white = torch.empty(some.shape[1], synthesis.length, dtype=NOISE, device=device)
            some.copy_(synthesis.of(white.normal_(generator=generator).to(dtype)).mT)
        return paths


@dataclass(frozen=True)
class Iid(Kind):
    """Independent layers, uniform on `(-sqrt 3, sqrt 3)` or Gaussian."""

    distribution: Literal["uniform", "gaussian"] = "uniform"

    def __post_init__(self) -> None:
        if self.distribution not in ("uniform", "gaussian"):
            raise ValueError(
                f'distribution must be "uniform" or "gaussian", but got {self.distribution!r}.'
            )

    @property
    def hurst(self) -> float:
        return 0.5

    def correlation(self, n: int) -> Float[Tensor, "layer layer"]:
        return torch.eye(n, dtype=torch.float64)

    def first_row(self, n: int) -> Float[Tensor, " layer"]:
        return (torch.arange(n) == 0).double()

    def draw(
        self,
        n: int,
        count: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        out: Tensor | None = None,
    ) -> Float[Tensor, "layer path"]:
        paths = memory(n, count, dtype, device, out)
        drawn = paths if dtype == NOISE else torch.empty(n, count, dtype=NOISE, device=device)
        if self.distribution == "gaussian":
            drawn.normal_(generator=generator)
        else:
            drawn.uniform_(-math.sqrt(3), math.sqrt(3), generator=generator)
        return paths if drawn is paths else paths.copy_(drawn)


class Stationary(Gaussian):
    """A kind whose covariance depends on the distance of two layers only; drawn by FFT."""

    @abc.abstractmethod
    def autocovariance(self, lag: Float[Tensor, "..."], n: int) -> Float[Tensor, "..."]:
        """`gamma(lag)`: the covariance of layers `k` and `k + lag` out of `n` over the depth."""

    def correlation(self, n: int) -> Float[Tensor, "layer layer"]:
        return toeplitz(self.first_row(n))

    def first_row(self, n: int) -> Float[Tensor, " layer"]:
        return self.autocovariance(torch.arange(n, dtype=torch.float64), n)

    def root(self, n: int) -> Float[Tensor, " frequency"] | None:
        """The circulant embedding of the covariance over `n` layers, if there is one."""
        return embed(lambda lag: self.autocovariance(lag, n), n)

    def synthesis(self, n: int) -> Synthesis:
        root = self.root(n)
        if root is None:
            factor = square_root(self.correlation(n))
            return Synthesis(n, lambda white: white @ factor.mT.to(white))
        return Synthesis(2 * len(root), lambda white: colour(white, root)[:, :n])


@dataclass(frozen=True)
class SmoothValues(Stationary):
    """`X_k = G(k / L)` with `G` a Gaussian process: `gamma(j) = k(j / L)`.

    Raises:
        ValueError: If the kernel is not 1 at distance 0.
    """

    kernel: Covariance = field(default_factory=RBF)

    def __post_init__(self) -> None:
        check_kernel(self.kernel)

    @property
    def hurst(self) -> float:
        return 1.0

    def autocovariance(self, lag: Float[Tensor, "..."], n: int) -> Float[Tensor, "..."]:
        return self.kernel(lag / n)


@dataclass(frozen=True)
class SmoothIncrements(Stationary):
    """`X_k` proportional to `G((k+1) / L) - G(k / L)`, of variance 1:

        gamma(j) = [2 k(j/L) - k((j+1)/L) - k(|j-1|/L)] / [2 k(0) - 2 k(1/L)]

    Raises:
        ValueError: If the kernel is not 1 at distance 0.
    """

    kernel: Covariance = field(default_factory=RBF)

    def __post_init__(self) -> None:
        check_kernel(self.kernel)

    @property
    def hurst(self) -> float:
        """`min(nu, 1)` where `1 - k(r) ~ r^(2 nu)` at short distances: the sum of `L` increments
        is one of `G` over the whole depth, and a single one has the size `L^-nu`."""
        return min(smoothness(self.kernel), 1.0)

    def autocovariance(self, lag: Float[Tensor, "..."], n: int) -> Float[Tensor, "..."]:
        k = lambda j: self.kernel(j.abs() / n)
        zero, one = torch.zeros_like(lag), torch.ones_like(lag)
        second_difference = 2 * k(lag) - k(lag + 1) - k(lag - 1)
        return second_difference / (2 * k(zero) - 2 * k(one))

    def root(self, n: int) -> Float[Tensor, " frequency"] | None:
        # G is differenced in the frequency domain: differences of its covariance would cancel.
        root = embed(lambda lag: self.kernel(lag / n), n)
        if root is None:
            return None
        angle = torch.linspace(0, math.pi, len(root), dtype=torch.float64)
        step = self.kernel(torch.tensor([0, 1 / n], dtype=torch.float64))
        return root * 2 * (angle / 2).sin() / (2 * step[0] - 2 * step[1]).sqrt()


@dataclass(frozen=True)
class FractionalNoise(Stationary):
    """The increments of a fractional Brownian motion with Hurst index `H`:

        gamma(j) = (|j+1|^{2H} - 2 |j|^{2H} + |j-1|^{2H}) / 2

    `H = 1/2` is independent layers, `H -> 1` the same layer at every depth.

    Raises:
        ValueError: Unless `0 < H < 1`.
    """

    H: float

    def __post_init__(self) -> None:
        check_range("H", self.H, "0 <", "< 1")

    @property
    def hurst(self) -> float:
        return float(self.H)

    def autocovariance(self, lag: Float[Tensor, "..."], n: int) -> Float[Tensor, "..."]:
        power = lambda j: j.abs() ** (2 * self.H)
        return (power(lag + 1) - 2 * power(lag) + power(lag - 1)) / 2


@dataclass(frozen=True)
class Repeated(Gaussian):
    """The same layer at every depth."""

    @property
    def hurst(self) -> float:
        return 1.0

    def correlation(self, n: int) -> Float[Tensor, "layer layer"]:
        return torch.ones(n, n, dtype=torch.float64)

    def first_row(self, n: int) -> Float[Tensor, " layer"]:
        return torch.ones(n, dtype=torch.float64)

    def synthesis(self, n: int) -> Synthesis:
        return Synthesis(1, lambda white: white.expand(-1, n))


@dataclass(frozen=True)
class Spline(Gaussian):
    """A cubic B-spline over depth with `n_knots` independent Gaussian coefficients.

    Each layer is divided by the norm of its row of the basis `b`, so that every layer has variance
    1: the covariance of layers `k` and `l` is `b_k . b_l / (|b_k| |b_l|)`.

    Raises:
        TypeError, ValueError: Unless `n_knots` is an integer of at least 4.
    """

    n_knots: int = 8

    def __post_init__(self) -> None:
        check_count("n_knots", self.n_knots, least=4)

    @property
    def hurst(self) -> float:
        return 1.0

    def correlation(self, n: int) -> Float[Tensor, "layer layer"]:
        return self.correlation_rows(0, n, n)

    def correlation_rows(self, start: int, stop: int, n: int) -> Float[Tensor, "row layer"]:
        basis = self.basis(n)
        return basis[start:stop] @ basis.mT

    def synthesis(self, n: int) -> Synthesis:
        basis = self.basis(n)
        return Synthesis(self.n_knots, lambda white: white @ basis.mT.to(white))

    def basis(self, n: int) -> Float[Tensor, "layer knot"]:
        """The uniform cubic B-splines at `n` equal depths, each row of norm 1."""
        s = torch.linspace(0, self.n_knots - 3, n, dtype=torch.float64)
        distance = (s[:, None] + 1 - torch.arange(self.n_knots)).abs()
        inner = 2 / 3 - distance.square() + distance**3 / 2
        outer = (2 - distance).clamp(min=0) ** 3 / 6
        basis = torch.where(distance < 1, inner, outer)
        return basis / basis.norm(dim=1, keepdim=True)


def memory(
    n: int, count: int, dtype: torch.dtype, device: torch.device | str, out: Tensor | None
) -> Tensor:
    """`out`, or new memory if there is none."""
    if out is None:
        return torch.empty(n, count, dtype=dtype, device=device)
    if out.shape != (n, count) or out.dtype != dtype:
        raise ValueError(
            f"out must have shape {(n, count)} and {dtype}, but got {tuple(out.shape)} and "
            f"{out.dtype}."
        )
    return out


def check_kernel(kernel: Covariance) -> None:
    """Raises a TypeError or ValueError unless `kernel` is a correlation at distance 0."""
    if not callable(kernel) or isinstance(kernel, type):
        hint = f": write {kernel.__name__}()" if isinstance(kernel, type) else ""
        raise TypeError(f"kernel must be a function of distance, but got {kernel!r}{hint}.")
    r = torch.cat([torch.zeros(1), torch.logspace(-6, 0, 25)]).double()
    k = kernel(r)
    if not isinstance(k, Tensor) or k.shape != r.shape:
        raise TypeError(f"kernel must map distances to numbers of their shape, but got {shown(k)}.")
    if not abs(k[0].item() - 1) < 1e-12:
        raise ValueError(f"kernel must be 1 at distance 0, but got {k[0].item()}.")
    if not torch.isfinite(k).all():
        bad = r[~torch.isfinite(k)][0].item()
        raise ValueError(f"kernel must be finite, but got {float(k[r == bad][0])} at r={bad:.3g}.")
