"""What training did to the weights over depth: sizes, increments, smooth part and noise.

After Cohen, Cont, Rossier and Xu, "Scaling properties of deep residual networks", ICML 2021: the
weights of trained networks are taken as `V_k = L^-a S(k / L) + L^-b N_k`, a part that is smooth in
depth and independent noise, and the exponents are fitted over several depths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from tabulate import tabulate
from torch import Tensor

from .._arguments import check_all, check_kind, check_sequence, check_tensor
from ..control import Control, Layers, PiecewisePolynomial
from .fits import Exponent, fitted
from .memory import hurst
from .tracks import weights_of


FEWEST = 8
"""How many layers a profile takes at least: fewer have no second differences to speak of."""


@dataclass(frozen=True)
class WeightProfile:
    """The weights of equal layers against the depth, all as root mean squares over the entries.

    Attributes:
        sizes: Those of `V_k`, shape `(L,)`.
        increments: Those of `V_{k+1} - V_k`, shape `(L - 1,)`.
        noise: That of the independent part: second differences of a smooth path are `O(L^-2)`,
            those of noise have six times its variance.
        smooth: That of the rest.
        hurst: How the sum over layers grows, with its error bar.
    """

    sizes: Float[Tensor, " layer"]
    increments: Float[Tensor, " step"]
    noise: float
    smooth: float
    hurst: Exponent

    @property
    def size(self) -> float:
        """The root mean square of all weights."""
        return self.sizes.square().mean().sqrt().item()

    @property
    def increment(self) -> float:
        """The root mean square of all increments."""
        return self.increments.square().mean().sqrt().item()


def weight_profile(weights: Float[Tensor, "layer ..."]) -> WeightProfile:
    """The profile of the weights of equal layers.

    Arguments:
        weights: Shape `(L, *layer_shape)`, `L >= 8`.

    Raises:
        TypeError, ValueError: If they are something else.
    """
    check_tensor("weights", weights)
    if weights.dim() < 2 or len(weights) < FEWEST or weights.numel() == 0:
        raise ValueError(
            f"weights must be those of {FEWEST} layers at least, but got {tuple(weights.shape)}."
        )
    V = weights.detach().flatten(1).double().cpu()
    if not torch.isfinite(V).all():
        raise ValueError("weights must be finite, but some are not: did the training diverge?")
    total = V.square().mean().item()
    second = (V[2:] - 2 * V[1:-1] + V[:-2]).square().mean().item()
    noise = min(second / 6, total)
    return WeightProfile(
        sizes=V.square().mean(1).sqrt(),
        increments=V.diff(dim=0).square().mean(1).sqrt(),
        noise=math.sqrt(noise),
        smooth=math.sqrt(total - noise),
        hurst=hurst(V),
    )


@dataclass(frozen=True)
class TrainingEffect:
    """What training did to the weights of one network, or of several of different depths.

    Attributes:
        depths: How many layers each network has.
        before, after: The profiles of each.
    """

    depths: Sequence[int]
    before: Sequence[WeightProfile]
    after: Sequence[WeightProfile]

    def exponents(self) -> dict[str, tuple[Exponent, Exponent]]:
        """How sizes, increments, smooth part and noise change with depth, before and after.

        Each as `q` in `value ~ L^q`, with its error bar; nothing for one depth alone.
        """
        if len(set(self.depths)) < 2:
            return {}
        law = lambda name, profiles: fitted(
            self.depths,
            # A part that is zero somewhere has no exponent.
            torch.tensor([[getattr(p, name)] for p in profiles], dtype=torch.float64).log(),
        )
        names = ("size", "increment", "smooth", "noise")
        return {name: (law(name, self.before), law(name, self.after)) for name in names}

    def text(self) -> str:
        """The effect as text."""
        rows = [
            (L, when, p.size, p.increment, p.smooth, p.noise, str(p.hurst))
            for L, before, after in zip(self.depths, self.before, self.after, strict=True)
            for when, p in (("before", before), ("after", after))
        ]
        headers = ["layers L", "training", "size", "increment", "smooth", "noise", "Hurst index"]
        lines = [tabulate(rows, headers, floatfmt=".3g")]
        for name, (before, after) in self.exponents().items():
            lines.append(f"{name} ~ L**({before}) before and L**({after}) after training")
        return "\n".join(lines)


def training_effect(
    before: Sequence[Tensor] | Tensor, after: Sequence[Tensor] | Tensor
) -> TrainingEffect:
    """What training did to the weights of a network, or to those of several of different depths.

    Arguments:
        before: The weights before training, `(L, *layer_shape)`, or those of several networks.
        after: The same after training.

    Raises:
        TypeError, ValueError: If the two do not fit together.
    """
    pairs = [[some] if isinstance(some, Tensor) else some for some in (before, after)]
    for name, some in zip(("before", "after"), pairs, strict=True):
        check_sequence(name, some, "tensors")
        check_all(name, some, Tensor)
    first, second = pairs
    if [x.shape for x in first] != [x.shape for x in second] or not first:
        raise ValueError(
            "before and after must hold the same networks, but got shapes "
            f"{[tuple(x.shape) for x in first]} and {[tuple(x.shape) for x in second]}."
        )
    depths = [len(x) for x in first]
    return TrainingEffect(depths, *(list(map(weight_profile, some)) for some in pairs))


def layer_weights(control: Control) -> Float[Tensor, "layer weight"]:
    """A copy of the weights of all layers of a control; for modules, the matrices and filters.

    If layers differ in shape, as in a network in stages, only the longest equal run is taken.

    Raises:
        TypeError: If the control has no layers.
    """
    check_kind("control", control, Control)
    if isinstance(control, PiecewisePolynomial):
        return control.path.detach().flatten(1).cpu().clone()
    if not isinstance(control, Layers):
        raise TypeError(f"control must have layers, but got a {type(control).__name__}.")
    runs: list[list[Tensor]] = []
    for layer in control.layers:
        weights = weights_of(layer)
        if not runs or runs[-1][0].shape != weights.shape:
            runs.append([])
        runs[-1].append(weights)
    return torch.stack(max(runs, key=len)).clone()
