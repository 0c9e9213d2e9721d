"""The Hurst index of weights: how fast their sum over the layers grows with the depth."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._arguments import check_tensor
from .fits import Exponent, fitted, UNKNOWN


ENTRIES = 4096
"""About how many entries of a layer are used."""

NEARLY_EQUAL = 0.9
"""Neighbours whose correlation is larger count as values of a path that is smooth in depth."""


def gram(weights: Float[Tensor, "layer ..."]) -> Float[Tensor, "layer layer"]:
    """The mean product of the entries of every two layers, with entries scaled to mean square 1.

    Zero where all weights are zero.
    """
    u = weights.detach().flatten(1).double().cpu()
    u = u[:, :: max(1, u.shape[1] // ENTRIES)]
    square = u.square().mean()
    return u @ u.mT / (u.shape[1] * square) if square > 0 else torch.zeros(len(u), len(u))


def correlation(products: Float[Tensor, "layer layer"], lag: int) -> float:
    """The uncentred correlation of layers at a distance."""
    size = products.diagonal()
    both = (size[lag:].sum() + size[: len(size) - lag].sum()).item()
    return 2 * products.diagonal(lag).sum().item() / both if both > 0 else 0.0


def hurst_over_depths(depths: Sequence[int], products: Sequence[Sequence[Tensor]]) -> Exponent:
    """`H` in `|sum of L layers| ~ L^H`, from networks of several depths.

    Arguments:
        depths: The depths.
        products: `gram` of each draw at each depth, of shape `(L, L)`.
    """
    found = [[log_size(p, len(p)) for p in of_depth] for of_depth in products]
    logs = torch.tensor(found, dtype=torch.float64)
    line, end = fitted(depths, logs), fitted(depths[-2:], logs[-2:])
    bend = abs(end.value - line.value)
    # Correlations over a few layers count less and less: the deepest networks tell.
    value, error = end if bend > end.error else line
    return bounded(Exponent(value, math.hypot(error, bend)))


def hurst(weights: Float[Tensor, "layer ..."]) -> Exponent:
    """`H` of one network's weights, from the variance of the sums of `m` layers in a row, `m^2H`.

    The sums are over blocks of an eighth of the depth up to all of it, so that correlations over a
    few layers do not count. Where neighbours are nearly equal, the weights are the values of a path
    that is smooth in depth. Then the blocks have up to four layers, because longer ones only tell
    how far the path is correlated, which stays a share of the depth.

    Arguments:
        weights: The weights of equal layers, in their order.

    Raises:
        TypeError, ValueError: Unless there are four layers at least.
    """
    check_tensor("weights", weights)
    if weights.dim() < 2 or len(weights) < 4:
        raise ValueError(
            f"weights must be those of four layers at least, but got {tuple(weights.shape)}."
        )
    return hurst_of(gram(weights), weights[0].numel())


def hurst_of(products: Float[Tensor, "layer layer"], entries: int) -> Exponent:
    """`hurst` from the products of the layers.

    Arguments:
        products: `gram` of the weights.
        entries: How many entries a layer has: the noise of a variance is `sqrt(2 / entries)`.
    """
    L = len(products)
    if not products.diagonal().sum() > 0 or L < 4:
        return UNKNOWN
    sizes = (1, 2, 4) if is_smooth(products) else blocks(max(1, L // 8), L)
    logs = torch.tensor([[log_size(products, m)] for m in sizes], dtype=torch.float64)
    line = fitted(sizes, logs)
    # Each variance is a mean over the entries, and over the blocks in a row.
    noise = math.sqrt(2 / min(entries, ENTRIES)) / math.log(sizes[-1] / sizes[0])
    curvature = 0.0 if math.isnan(line.error) else line.error
    return bounded(Exponent(line.value, math.hypot(noise, curvature)))


def is_smooth(products: Float[Tensor, "layer layer"]) -> bool:
    """Whether neighbours are nearly equal, or differ like the values of a smooth path: the squared
    difference is four times as large at twice the distance."""
    near, next_but_one = correlation(products, 1), correlation(products, 2)
    return near > NEARLY_EQUAL or (near > 0.5 and 1 - next_but_one > 2.5 * (1 - near))


def blocks(first: int, last: int) -> tuple[int, ...]:
    """Sizes of blocks: the first, twice that, and so on up to the last."""
    return tuple(last // 2**k for k in range((last // first).bit_length() - 1, -1, -1))


def log_size(products: Float[Tensor, "layer layer"], m: int) -> float:
    """`log` of the root mean square of the sum of `m` layers in a row, over all such blocks."""
    sums = products.cumsum(0).cumsum(1)
    padded = torch.nn.functional.pad(sums, (1, 0, 1, 0))
    start = torch.arange(0, len(products) - m + 1)
    end = start + m
    square = padded[end, end] - padded[start, end] - padded[end, start] + padded[start, start]
    mean = square.mean().item()
    return math.log(mean) / 2 if mean > 0 else -math.inf


def bounded(exponent: Exponent) -> Exponent:
    """A Hurst index lies between 0 and 1."""
    value, error = exponent
    return Exponent(min(max(value, 0.0), 1.0), error) if math.isfinite(value) else exponent
