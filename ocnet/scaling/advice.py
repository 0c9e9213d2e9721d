"""What a measured regime means, and what to change, in words."""

import math
from dataclasses import dataclass

from .fits import Exponent
from .propagation import Overflow
from .regimes import Regime


FLAT = 0.15
"""A ratio that changes by less than `L**0.15` has a limit, as far as few depths can tell."""

MODERATE = 8.0
"""Ratios up to this, and down to its inverse, are of order one."""

SMOOTH = 0.9
"""A larger Hurst index counts as 1: the weights are smooth in depth."""


@dataclass(frozen=True)
class Verdict:
    """What was measured of a network, as far as the verdict depends on it.

    Attributes:
        n: Its own depth.
        beta: How its step shrinks with depth.
        declared: Whether that is known, and not read off the step.
        forward, backward: The exponents of the ratios.
        state, costate: Those of `|h_L| / |h_0|` and `|p_0| / |p_L|`.
        shrunk: The smaller of these in the deepest network.
        ratios: Both ratios at its own depth.
        alone: Whether one depth alone was measured.
        overflow: Which networks left the number range.
        hurst: The memory of the weights.
        still: Whether no state moves at all.
        empty: Whether all weights are zero.
        signal: Whether the control is a signal of time, not weights.
        shape: The shape of a control value, None for modules.
    """

    n: int
    beta: float
    declared: bool
    forward: Exponent
    backward: Exponent
    state: Exponent
    costate: Exponent
    shrunk: float
    ratios: tuple[float, float]
    alone: bool
    overflow: Overflow
    hurst: Exponent
    still: bool
    empty: bool
    signal: bool
    shape: tuple[int, ...] | None

    @property
    def scalable(self) -> bool:
        """Whether another scaling could change anything."""
        return not (self.still or self.signal)

    @property
    def worst(self) -> str:
        """Which ratio grows faster."""
        if self.overflow.forward or self.overflow.backward:
            return "forward" if self.overflow.forward else "backward"
        return "backward" if self.backward.value > self.forward.value else "forward"

    @property
    def first_shift(self) -> float:
        """The first guess of how much `beta` must change: the exponent that was measured."""
        found = [q.value for q in (self.forward, self.backward) if math.isfinite(q.value)]
        if self.overflow.forward or self.overflow.backward or not found or falls(self):
            return max(1 - self.beta, 0.5)
        return min(max(found), 1.0)

    @property
    def moderate(self) -> bool:
        """Whether both ratios are of order one at the network's own depth."""
        return all(1 / MODERATE <= ratio <= MODERATE for ratio in self.ratios)

    @property
    def right_as_it_is(self) -> bool:
        """Whether the network is right at its own depth, though a deeper one might not be.

        A constant inside the block may be chosen for this depth: then no more can be said.
        """
        return not self.declared and self.moderate and (grows(self.forward) or grows(self.backward))


@dataclass(frozen=True)
class Cure:
    """The advice, applied and measured again.

    Attributes:
        beta, error: The scaling `L**-beta` of step times branch, and its error bar.
        shift: The part of `beta` that the advice adds.
        factor: What to multiply the branches by at the network's own depth.
        forward, backward: The ratios that this makes.
        exponent, backward_exponent: How they change with depth then.
    """

    beta: float
    error: float
    shift: float
    factor: float
    forward: float
    backward: float
    exponent: Exponent
    backward_exponent: Exponent

    @property
    def holds(self) -> bool:
        """Whether the ratios no longer change with depth, the worse of them within its error."""
        return max((self.exponent, self.backward_exponent), key=lambda q: q.value).is_flat

    def text(self) -> str:
        """What was measured with the advice, in a line."""
        found = "" if self.holds else " (not flat within the error bar: other depths may tell more)"
        return (
            f"measured again with that: forward ratio {self.forward:.3g} ~ L**({self.exponent}), "
            f"backward ratio {self.backward:.3g} ~ L**({self.backward_exponent}){found}"
        )


def grows(q: Exponent) -> bool:
    """Whether a ratio grows with depth."""
    return q.value > FLAT and not q.value <= q.error


def falls(verdict: Verdict) -> bool:
    """Whether states or costates shrink away as the network gets deeper."""
    decay = any(q.value < -FLAT and not q.is_flat for q in (verdict.state, verdict.costate))
    return verdict.shrunk < 1e-20 or (verdict.shrunk < 0.5 and decay)


def name_regime(verdict: Verdict) -> Regime:
    """The regime: the worse of forward and backward decides."""
    v = verdict
    limit: Regime = "ODE" if v.signal or v.hurst.value > SMOOTH else "SDE"
    if v.signal and v.overflow.forward == 0:
        return limit
    if v.still:
        return "identity"
    if v.alone and (not v.declared or math.isnan(v.forward.value)):
        return limit if v.moderate else "identity" if max(v.ratios) < 1 else "explosion"
    if v.overflow.forward > 0 or v.overflow.backward > 0 or grows(v.forward) or grows(v.backward):
        return "explosion"
    if falls(v):
        return "collapse"
    if math.isnan(v.forward.value) or (v.forward.value < -FLAT and not v.forward.is_flat):
        return "identity"
    return limit


def advise(regime: Regime, verdict: Verdict, cure: Cure | None) -> str:
    """What to change, in a sentence or two."""
    v = verdict
    if v.signal:
        return (
            f"The control is a signal u(t) of shape {v.shape}, the same in every draw, not weights "
            "that are drawn layer by layer: depth is the number of Euler steps, and nothing has to "
            "be scaled. `compare` tells how many steps the ODE takes."
        )
    if v.still and v.empty:
        return (
            "The control is zero, so that nothing happens: fill it with ocnet.init, for example "
            "init.iid_(control.path)."
        )
    if v.still:
        return (
            "Every branch is zero, whatever its weights: the last layer or a gate of each starts "
            "at zero, and the network as the identity. There is nothing to scale before training; "
            "what depth does to it shows in the trained network."
        )
    if regime in ("ODE", "SDE"):
        return settled(regime, v)
    return change(regime, v, cure)


def settled(regime: Regime, v: Verdict) -> str:
    """What to say where depth has a limit."""
    if v.alone:
        forward, backward = v.ratios
        return (
            f"Nothing has to change at depth {v.n}: both ratios are of order one, {forward:.2g} "
            f"forward and {backward:.2g} backward."
        )
    if regime == "SDE":
        return (
            "Nothing has to change: depth has a limit, a random one. For one that is smooth in "
            "depth use init.smooth_ and beta = 1."
        )
    return "Nothing has to change: depth has a limit, and more layers approach it."


def change(regime: Regime, v: Verdict, cure: Cure | None) -> str:
    """What to change where depth has no limit."""
    what = {
        "explosion": f"The branches are too large for a deep network: the {v.worst} ratio grows.",
        "identity": "The branches are too small to matter in a deep network.",
        "collapse": "States or gradients shrink to nothing in a deep network.",
    }[regime]
    if cure is None:
        return f"{what} {single(v)}"
    if v.right_as_it_is:
        return (
            f"Nothing has to change at depth {v.n}, where the ratios are {v.ratios[0]:.2g} forward "
            f"and {v.ratios[1]:.2g} backward. With branches of the same size deeper networks "
            f"explode: at another depth L multiply them by ({v.n}/L)**{cure.shift:.2f} "
            f"(+- {cure.error:.2f})."
        )
    by = f"L**{-cure.shift:.2f}"
    if v.declared:
        advice = (
            f"Scale with beta = {cure.beta:.2f} +- {cure.error:.2f} instead of {v.beta:.2g}: "
            f"multiply the branches by {by}, {cure.factor:.3g} at depth {v.n}."
        )
    else:
        advice = (
            f"Multiply them, as they are, by {by} (+- {cure.error:.2f}), {cure.factor:.3g} at "
            f"depth {v.n}."
        )
    smooth = ""
    if regime == "identity" and v.hurst.value < SMOOTH and abs(v.beta - 1) < FLAT:
        smooth = " Or correlate the layers (init.smooth_), so that they add up, and keep beta = 1."
    return f"{what} {advice}{smooth}"


def single(v: Verdict) -> str:
    """What one network alone tells: its own ratios."""
    largest = max(v.ratios)
    if not math.isfinite(largest) or largest > MODERATE:
        q = max(v.forward.value, v.backward.value)
        power = f"L**{-q:.2f}, {v.n**-q:.3g} " if math.isfinite(q) and q > 0 else "less than 1 "
        return f"Multiply the branches by about {power}at depth {v.n}, and measure again."
    return f"Multiply the branches by about {1 / max(largest, 1e-300):.2g} at depth {v.n}."
