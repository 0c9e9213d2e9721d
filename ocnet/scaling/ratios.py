"""Norm ratios of thousands of randomly initialised networks, drawn and measured in batches."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .._arguments import (
    as_device,
    check_count,
    check_float_type,
    check_generator,
    check_kind,
    check_range,
    check_sequence,
    check_tensor,
)
from .models import ScaledNetwork
from .propagation import check_branch, propagate, Propagation


MEMORY = 2**29
"""How many bytes the weights and the states of one batch may take."""


@torch.no_grad()
def measure(
    network: ScaledNetwork,
    betas: Sequence[float],
    *,
    repeats: int,
    inputs: int = 1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    log_domain: bool | None = None,
    memory: int = MEMORY,
) -> Propagation:
    """The sizes of states and costates in networks with random weights, embedding and head.

    Each draw of the weights serves all scalings and all inputs. Inputs are standard normal; the
    last costate is `B' e` with `e` standard normal, so a multiple of `B'` for one output.

    Arguments:
        network: The model: its depth, its sizes and the kind of its initialisation.
        betas: The scalings.
        repeats: How many networks to draw.
        inputs: How many inputs to send through each of them.
        generator: Makes the draws reproducible.
        dtype, device: The type to compute in, and where to compute.
        log_domain: Keeps the logarithm of the scale; by default where the
            branch is known to be positively homogeneous. Without it states may overflow, which
            `overflow` and `overflows` report.
        memory: How many bytes a batch may take.

    Returns:
        The propagation with the batch dimensions `(repeats, inputs, len(betas))`.

    Raises:
        TypeError, ValueError: If a count is not a positive integer or a beta is not finite.
    """
    check_count("repeats", repeats)
    check_count("inputs", inputs)
    check_count("memory", memory)
    check_kind("network", network, ScaledNetwork)
    if log_domain is None:
        log_domain = network.homogeneous
    check_branch(network, log_domain)
    check_generator(generator)
    check_float_type(dtype)
    device = as_device(device)
    check_sequence("betas", betas)
    if not len(betas):
        raise ValueError(f"betas must hold a scaling at least, but got {betas!r}.")
    for beta in betas:
        check_range("betas", beta, "-inf <", "< inf")
    columns = inputs * len(betas)
    alpha = torch.tensor([network.depth**-beta for beta in betas], dtype=torch.float64)
    alpha = alpha.to(dtype).to(device).repeat(inputs).unsqueeze(-1)

    vectors = 2 * columns * network.d
    matrices = math.prod(network.weight_shape(network.d))
    per_network = network.depth * (vectors + matrices) * dtype.itemsize
    chunk = min(repeats, max(1, memory // per_network))
    numbers = torch.empty(network.depth * chunk * matrices, dtype=dtype, device=device)
    parts = []
    for start in range(0, repeats, chunk):
        count = min(chunk, repeats - start)
        normal = lambda *shape: torch.randn(shape, dtype=dtype, device=device, generator=generator)
        A = normal(count, network.d, network.n_in) / math.sqrt(network.n_in)
        B = normal(count, network.n_out, network.d) / math.sqrt(network.d)
        h_0 = normal(count, inputs, network.n_in) @ A.mT
        p_L = normal(count, inputs, network.n_out) @ B
        out = numbers[: network.depth * count * matrices].view(network.depth, -1)
        weights = network.draw(count, generator, dtype, device, out).unsqueeze(2)
        h_0, p_L = (v.repeat_interleave(len(betas), dim=1) for v in (h_0, p_L))
        parts.append(propagate(network, weights, h_0, p_L, alpha, log_domain=log_domain))
    return joined(parts, (inputs, len(betas)))


def joined(parts: Sequence[Propagation], columns: tuple[int, int]) -> Propagation:
    """Batches of networks as one, with their columns unflattened into inputs and scalings."""
    fields = zip(*(vars(part).values() for part in parts), strict=True)
    return Propagation(*(torch.cat(field, dim=-2).unflatten(-1, columns) for field in fields))


def rms(log_ratio: Float[Tensor, "network ..."]) -> Float[Tensor, "..."]:
    """The root mean square, over all networks, of ratios given by their logarithms."""
    check_tensor("log_ratio", log_ratio)
    if not len(log_ratio):
        raise ValueError(
            f"log_ratio must hold a network at least, but got shape {tuple(log_ratio.shape)}."
        )
    return ((2 * log_ratio.double()).logsumexp(0) - math.log(len(log_ratio))).div(2).exp()
