"""Exact sampling of stationary Gaussian sequences by circulant embedding and FFT."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


MAX_DOUBLINGS = 6
"""The embedding gives up at a circulant matrix 64 times the size of the sequence."""

TOLERANCE = 1e-9
"""How much rounding may change a covariance of unit-variance entries."""


def embed(autocovariance: Callable[[Tensor], Tensor], n: int) -> Float[Tensor, " frequency"] | None:
    """The square roots of the eigenvalues of a circulant matrix that embeds a Toeplitz matrix.

    The circulant's first row is `gamma(0..m), gamma(m-1..1)` with `m >= n`, so that its leading
    `n x n` block is the covariance of the sequence. Its eigenvalues are the FFT of that row,
    Nyquist mode included. If one of them is negative, `m` is doubled: the process is continued
    until its correlations have died out.

    Source: Dietrich and Newsam, SIAM J. Sci. Comput. 18 (1997), 1088-1107.

    Arguments:
        autocovariance: `gamma(lag)` at integer lags, elementwise, in double precision.
        n: The length of the sequence.

    Returns:
        The roots at the `m + 1` frequencies of a real FFT of length `2 m`; None if no embedding
        of moderate size is positive semidefinite.
    """
    for doubling in range(MAX_DOUBLINGS + 1):
        m = n * 2**doubling
        gamma = autocovariance(torch.arange(m + 1, dtype=torch.float64))
        eigenvalues = torch.fft.rfft(torch.cat([gamma, gamma[1:-1].flip(0)])).real
        # Clipping changes no covariance by more than the mean of what is clipped.
        if eigenvalues.clamp(max=0).sum() / m > -TOLERANCE:
            return eigenvalues.clamp(min=0).sqrt()
    return None


def colour(
    white: Float[Tensor, "path noise"], root: Float[Tensor, " frequency"]
) -> Float[Tensor, "path time"]:
    """Sequences of length `2 m` with the circulant covariance, from white noise by one FFT.

    The noise is drawn where the circulant is diagonal: the real and imaginary parts at its `m + 1`
    frequencies, one after the other. At zero and at Nyquist the transform is real: the
    imaginary part there is not read.
    """
    m = len(root) - 1
    # White noise in time has a transform of variance 2 m: m in each part where there are two.
    amplitude = root * math.sqrt(m)
    amplitude[0] *= math.sqrt(2)
    amplitude[-1] *= math.sqrt(2)
    spectrum = torch.view_as_complex(white.unflatten(-1, (-1, 2)))
    return torch.fft.irfft(amplitude.to(white) * spectrum, n=2 * m)


def toeplitz(gamma: Float[Tensor, " time"]) -> Float[Tensor, "time time"]:
    """The symmetric matrix with entries `gamma[|i - j|]`."""
    lag = torch.arange(len(gamma))
    return gamma[(lag[:, None] - lag).abs()]


def square_root(covariance: Float[Tensor, "time time"]) -> Float[Tensor, "time time"]:
    """A matrix `A` with `A A' = covariance`.

    Raises:
        ValueError: If the covariance is not positive semidefinite.
    """
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    if eigenvalues[0] < -TOLERANCE * len(covariance):
        raise ValueError(
            "kernel must be positive semidefinite, but its covariance over depth has the "
            f"eigenvalue {eigenvalues[0].item():.3g}."
        )
    return vectors * eigenvalues.clamp(min=0).sqrt()
