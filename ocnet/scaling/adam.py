"""Adam for networks that are trained side by side, each with a learning rate of its own."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..learning.capture import DeviceOptimizer


class NetworkwiseAdam(DeviceOptimizer):
    r"""Adam with a learning rate for each of many networks that share their tensors.

        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        theta_i <- theta_i - rate_i (m_i / (1 - b1^k)) / (sqrt(v_i / (1 - b2^k)) + eps)

    at step `k`, for network `i`. The rates and the number of steps are tensors on the device, and
    all memory is allocated at the start. Source: Kingma and Ba, ICLR 2015, Algorithm 1.

    Arguments:
        groups: Parameters under "params", and under "axis" the dimension that tells the networks
            apart.
        rates: The learning rate of each network.
        betas: The decay of the moments, `(b1, b2)`.
        eps: What keeps the denominator from being zero.

    Raises:
        ValueError: If a parameter does not hold as many networks as there are rates, or a rate is
            not positive.
    """

    betas: tuple[float, float]
    eps: float

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        rates: Float[Tensor, " network"],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(groups, {})
        if not (rates > 0).all():
            raise ValueError(f"rates must be positive, but got {rates.tolist()}.")
        self.betas, self.eps = betas, eps
        self.rates: Tensor = rates.double().clone()
        # In double precision: in single, 1 - b2^k would lose four digits in the first steps.
        self.count: Tensor = torch.zeros_like(self.rates[0])
        for group in self.param_groups:
            for p in group["params"]:
                if p.shape[group["axis"]] != len(rates):
                    raise ValueError(
                        f"Must have a rate for each network, but got {len(rates)} rates and "
                        f"parameters of shape {tuple(p.shape)}."
                    )
                self.state[p] = {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}

    def decay(self, factor: float) -> None:
        """Multiplies all rates, in place."""
        self.rates.mul_(factor)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> None:  # pyright: ignore
        """One update of all networks, in place; a closure computes their gradients first."""
        if closure is not None:
            with torch.enable_grad():
                closure()
        b1, b2 = self.betas
        self.count.add_(1)
        widths = self.rates / (1 - b1**self.count)
        correction = 1 - b2**self.count
        for group in self.param_groups:
            for p in group["params"]:
                m, v = self.state[p]["m"], self.state[p]["v"]
                m.lerp_(p.grad, 1 - b1)
                v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                update = (v / correction).sqrt_().add_(self.eps)
                torch.div(m, update, out=update)
                by_network = [1] * p.dim()
                by_network[group["axis"]] = -1
                p.sub_(update.mul_(widths.to(p.dtype).view(by_network)))
