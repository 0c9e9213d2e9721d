"""States and costates of many scaled networks at once, without an autograd graph."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .._arguments import check_kind
from ..solver.tableau import moved
from ..types import State
from .models import is_leaky, kept, OneMatrix, ScaledNetwork, TwoMatrices


@dataclass(frozen=True)
class Overflow:
    """How many networks left the number range.

    Attributes:
        forward: The share of the networks with a state that is not finite.
        backward: The share with finite states and a costate that is not finite.
        layer: The first layer at which any state stops being finite, or None.
    """

    forward: float
    backward: float
    layer: int | None

    def __str__(self) -> str:
        if not (self.forward or self.backward):
            return "no overflow"
        where = "" if self.layer is None else f", first at layer {self.layer}"
        return f"overflow in {self.forward:.1%} forward, {self.backward:.1%} backward{where}"


@dataclass(frozen=True)
class Propagation:
    """How states and costates change along the depth, in natural logarithms.

    Attributes:
        log_state: `log |h_k|`, shape `(L + 1, *batch)`.
        log_costate: `log |p_k|`, shape `(L + 1, *batch)`.
        log_forward: `log (|h_L - h_0| / |h_0|)`, shape `(*batch,)`.
        log_backward: `log (|p_0 - p_L| / |p_L|)`, shape `(*batch,)`.
    """

    log_state: Float[Tensor, "layer ..."]
    log_costate: Float[Tensor, "layer ..."]
    log_forward: Float[Tensor, "..."]
    log_backward: Float[Tensor, "..."]

    @property
    def overflow(self) -> Overflow:
        """How many networks left the number range; they are infinite or NaN in the fields above."""
        return overflow_of(self.log_state, self.log_costate)

    @property
    def overflows(self) -> tuple[Overflow, ...]:
        """The same for each entry of the last batch dimension: for each scaling of `measure`."""
        columns = zip(self.log_state.unbind(-1), self.log_costate.unbind(-1), strict=True)
        return tuple(overflow_of(state, costate) for state, costate in columns)


def overflow_of(
    log_state: Float[Tensor, "layer ..."], log_costate: Float[Tensor, "layer ..."]
) -> Overflow:
    """How many networks have norms that are not finite."""
    too_large = lambda log_norm: ~(log_norm < math.inf)
    forward = too_large(log_state).any(0)
    backward = too_large(log_costate).any(0) & ~forward
    layers = too_large(log_state).reshape(len(log_state), -1).any(1).nonzero()
    return Overflow(
        forward.double().mean().item(),
        backward.double().mean().item(),
        int(layers[0]) if len(layers) else None,
    )


class Scaled(NamedTuple):
    """A batch of vectors `exp(log_scale) * x`, and the logarithms of their norms."""

    x: State
    log_scale: Float[Tensor, "..."]
    log_norm: Float[Tensor, "..."]


@torch.no_grad()
def propagate(
    network: ScaledNetwork,
    weights: Float[Tensor, "layer ..."],
    h_0: State,
    p_L: State,
    alpha: Float[Tensor, "..."] | float,
    *,
    log_domain: bool = False,
) -> Propagation:
    """The sizes of states and costates along the depth.

    Arguments:
        network: The network, which gives the branch `g`.
        weights: `u_k`, shape `(L, *#batch, *weight_shape)`.
        h_0: The initial states, shape `(*batch, d)`.
        p_L: The final costates, shape `(*batch, d)`; only their direction matters to the ratios.
        alpha: The scaling, a number or a tensor that broadcasts with the states, so that one
            draw of the weights serves many scalings.
        log_domain: Carries vectors as `exp(s) x` with `|x| = 1`, which cannot overflow. Exact for
            positively homogeneous branches, `ScaledNetwork.homogeneous`; others are refused.

    Raises:
        TypeError, ValueError: If the network's branch is not what the arguments assume.
    """
    h = states(network, weights, h_0, alpha, log_domain=log_domain)
    p = costates(network, weights, h, p_L, alpha, log_domain=log_domain)
    return Propagation(
        torch.stack([h_k.log_norm for h_k in h]),
        torch.stack([p_k.log_norm for p_k in p]),
        log_displacement(h[0], h[-1]),
        log_displacement(p[-1], p[0]),
    )


def states(
    network: ScaledNetwork,
    weights: Float[Tensor, "layer ..."],
    h_0: State,
    alpha: Float[Tensor, "..."] | float,
    *,
    log_domain: bool = False,
) -> list[Scaled]:
    """`h_{k+1} = h_k + alpha g(h_k, u_k)`, from `h_0` to `h_L`.

    Arguments:
        network: The model, which gives the branch `g`.
        weights: `u_k`, shape `(L, *networks, *weight_shape)`.
        h_0: The first state, shape `(*networks, d)`.
        alpha: The scale of the branches, `L^-beta`; a number, or one for each network.
        log_domain: Keeps unit vectors and the logarithm of their scale, against overflow; for
            positively homogeneous branches.
    """
    check_branch(network, log_domain)
    h = [unscaled(h_0)]
    for u in weights.unbind():
        x, log_scale, _ = h[-1]
        h.append(scaled(moved(x, network.branch(x, u), alpha), log_scale, log_domain))
    return h


def costates(
    network: ScaledNetwork,
    weights: Float[Tensor, "layer ..."],
    h: Sequence[Scaled],
    p_L: State,
    alpha: Float[Tensor, "..."] | float,
    *,
    log_domain: bool = False,
) -> list[Scaled]:
    """`p_k = p_{k+1} + alpha (D_h g(h_k, u_k))' p_{k+1}`, from `p_0` to `p_L`.

    Arguments:
        network: The model, which gives the branch `g`.
        weights: `u_k`, shape `(L, *networks, *weight_shape)`.
        h: The states, as `states` gives them. (The Jacobian of a positively homogeneous branch
            does not depend on their scale.)
        p_L: The last costate, shape `(*networks, d)`.
        alpha: The scale of the branches, `L^-beta`; a number, or one for each network.
        log_domain: Keeps unit vectors and the logarithm of their scale, against overflow.
    """
    check_branch(network, log_domain)
    p = [unscaled(p_L)]
    for u, (h_k, *_) in zip(reversed(weights.unbind()), reversed(h[:-1]), strict=True):
        x, log_scale, _ = p[-1]
        p.append(scaled(moved(x, network.pullback(h_k, u, x), alpha), log_scale, log_domain))
    return p[::-1]


def check_branch(network: ScaledNetwork, log_domain: bool) -> None:
    """Raises a TypeError or ValueError unless a network's branch may be propagated in this way."""
    check_kind("network", network, ScaledNetwork)
    name = type(network).__name__
    if not kept(network, "dynamics", ScaledNetwork):
        raise TypeError(
            f"network must have its formula in `branch`, but {name} overrides `dynamics`, which is "
            "not read here."
        )
    if log_domain and not network.homogeneous:
        raise ValueError(
            f"log_domain=True needs a branch with g(c x, u) = c g(x, u), but {name}'s is not known "
            "to be so: leave log_domain out, or declare `homogeneous = True`."
        )
    if log_domain and not is_leaky(network, OneMatrix) and not is_leaky(network, TwoMatrices):
        refute_homogeneity(network)


def refute_homogeneity(network: ScaledNetwork) -> None:
    """Raises a ValueError if a branch is declared homogeneous but is not."""
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(shape, dtype=torch.float64, generator=generator)
    x, u = normal(8, network.d), normal(*network.weight_shape(network.d)) / math.sqrt(network.d)
    g = network.branch(x, u)
    for factor in (1e-3, 1e3):
        off = (network.branch(factor * x, u) - factor * g).norm() / (factor * g.norm())
        if off > 1e-6:
            raise ValueError(
                f"{type(network).__name__} declares `homogeneous = True`, but g({factor:g} x, u) "
                f"differs from {factor:g} g(x, u) by {off.item():.2g} of its size."
            )


def unscaled(x: State) -> Scaled:
    """Vectors with the scale 1."""
    size = norm(x)
    return Scaled(x, torch.zeros_like(size), size.log())


def scaled(x: State, log_scale: Tensor, log_domain: bool) -> Scaled:
    """The vectors `exp(log_scale) x`, made of unit vectors in the log domain."""
    size = norm(x)
    log_norm = log_scale + size.log()
    if log_domain:
        return Scaled(x / size.unsqueeze(-1), log_norm, log_norm)
    return Scaled(x, log_scale, log_norm)


def log_displacement(start: Scaled, end: Scaled) -> Float[Tensor, "..."]:
    """`log (|end - start| / |start|)`."""
    # The larger of the two scales stays outside the norm: inside, the difference would overflow.
    outer = torch.maximum(start.log_scale, end.log_scale)
    factor = lambda v: (v.log_scale - outer).exp().unsqueeze(-1)
    moved = factor(end) * end.x - factor(start) * start.x
    return outer + norm(moved).log() - start.log_norm


def norm(x: State) -> Float[Tensor, "..."]:
    """The Euclidean norm of each vector."""
    return torch.linalg.vector_norm(x, dim=-1)
