"""The regime of a user's own network, measured: what its initialisation and scaling do to depth."""

import copy
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float
from tabulate import tabulate
from torch import Tensor

from .._arguments import check_count, check_generator, check_kind, check_range, check_sequence
from ..control import Control
from ..evaluation import objective
from ..problem import Problem, Sample
from ..solver import Euler
from ..supervised import default_steps, SupervisedProblem
from ..types import ControlValue, State
from .limits import exponent
from .propagation import norm, Overflow, overflow_of
from .regimes import MEANING, Regime


FLAT = 0.15
"""A ratio that changes by less than `L**0.15` has a limit, as far as few depths can tell."""


@dataclass(frozen=True)
class Diagnosis:
    """What the initialisation and the scaling of a network do to its depth.

    Attributes:
        depths: The numbers of layers measured; one alone if the control was given.
        forward: `|h_L - h_0| / |h_0|` at each, geometric mean over inputs and draws.
        backward: `|p_0 - p_L| / |p_L|` likewise; NaN if the cost does not depend on the state.
        log_state: `log |h_k|` at every layer of the last network, mean over inputs and draws.
        log_costate: `log |p_k|` likewise.
        beta: How the step shrinks with depth, `alpha_L = L**-beta`.
        exponent: `q` in `forward ~ L**q` at this `beta`.
        backward_exponent: The same of `backward`.
        correlation: Of the weights of neighbouring layers.
        hurst: The Hurst index with that correlation, from 0 to 1.
        overflow: Which networks left the number range.
        regime: The name of what happens as the depth grows.
        advice: What to change.
    """

    depths: Sequence[int]
    forward: Sequence[float]
    backward: Sequence[float]
    log_state: Float[Tensor, " layer"]
    log_costate: Float[Tensor, " layer"]
    beta: float
    exponent: float
    backward_exponent: float
    correlation: float
    hurst: float
    overflow: Overflow
    regime: Regime
    advice: str

    def text(self) -> str:
        """The diagnosis as text."""
        rows = zip(self.depths, self.forward, self.backward, strict=True)
        table = tabulate(list(rows), ["layers L", "|h_L-h_0|/|h_0|", "|p_0-p_L|/|p_L|"])
        return (
            f"regime: {self.regime} ({MEANING[self.regime]})\n\n{table}\n\n"
            f"step L**-{self.beta:.3g}; forward ratio ~ L**{self.exponent:.2f}, backward ratio ~ "
            f"L**{self.backward_exponent:.2f}\n"
            f"neighbouring layers correlate by {self.correlation:.3f} (Hurst index "
            f"{self.hurst:.2f}); {self.overflow}\n\n{self.advice}"
        )


def diagnose(
    problem: Problem,
    control: Control | None = None,
    *,
    n: int | None = None,
    depths: Sequence[int] | None = None,
    beta: float | None = None,
    draws: int = 4,
    samples: int = 64,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    """Measures states and costates at every layer and at several depths, and names the regime.

    Networks of other depths are drawn with `problem.initial_control`, on the horizon that keeps
    the step at `L**-beta` (up to a constant factor). With a control given, or with projections,
    only the network's own depth is measured, in its longest stage, and its growth from layer to
    layer is fitted instead.

    Arguments:
        problem: Whose control holds the weights of each layer.
        control: A control to take as it is; several are drawn if not given.
        n: The number of steps that the problem's horizon is meant for; the control's, or the
            problem's own depth, if None.
        depths: The depths to draw; by default from an eighth of `n` to all of it,
            or up to eight times as deep if that is shallow.
        beta: The exponent of the scaling; by default the one that the step `h` means at the
            problem's own depth, `h = depth**-beta`.
        draws: How many controls to draw at each depth.
        samples: How many inputs to send through each.
        generator: Makes inputs and controls reproducible.

    Raises:
        TypeError, ValueError: If the arguments do not fit together.
    """
    check_kind("problem", problem, Problem)
    check_count("draws", draws)
    check_count("samples", samples)
    check_generator(generator)
    if control is not None:
        check_kind("control", control, Control)
    if beta is not None:
        check_range("beta", beta, "-inf <", "< inf")
    if depths is not None:
        check_sequence("depths", depths)
        for L in depths:
            check_count("depths", L, least=2)
    if n is None:
        n = default_steps(problem) if control is None else control.n_intervals
    check_count("n", n, least=2)
    if control is not None and control.n_intervals != n:
        raise ValueError(f"Must have n={control.n_intervals}, as the control has, but got {n=}.")
    if beta is None:
        beta = math.log(n / (problem.t1 - problem.t0)) / math.log(n)
    if control is not None or problem.projections:
        depths = (n,)
    depths = default_depths(n) if depths is None else tuple(sorted(depths))

    tracks = []
    for L in depths:
        check_count("depths", L, least=2)
        network = at_depth(problem, n, L, beta)
        controls = (
            [network.initial_control(L, generator) for _ in range(draws)]
            if control is None
            else [control]
        )
        batches = [network.sample(samples, generator) for _ in controls]
        tracks.append([track(network, u, L, s) for u, s in zip(controls, batches, strict=True)])
    return conclude([joined(of_depth) for of_depth in tracks], beta)


class Track(NamedTuple):
    """One network, in natural logarithms, each field `(layer, input)` but the last.

    Attributes:
        state, costate: `|h_k|` and `|p_k|`.
        forward: `|h_k - h_0| / |h_0|`.
        backward: `|p_k - p_L| / |p_L|`.
        correlation: Of the weights of neighbouring layers.
    """

    state: Float[Tensor, "layer input"]
    costate: Float[Tensor, "layer input"]
    forward: Float[Tensor, "layer input"]
    backward: Float[Tensor, "layer input"]
    correlation: float


def track(problem: Problem, control: Control, L: int, sample: Sample) -> Track:
    """The norms along one network; its costates are gradients with respect to its states."""
    device = next((p.device for p in control.parameters()), sample.x0.device)
    target = None if sample.target is None else sample.target.to(device)
    with torch.enable_grad():
        x0 = problem.embed(sample.x0.to(device)).detach().requires_grad_()
        trajectory = Euler(L).solve(problem, control, x0, target)
        cost = objective(problem, trajectory, target)
        p = tuple(torch.zeros_like(x) for x in trajectory.states)
        if cost.requires_grad:
            p = torch.autograd.grad(cost.sum(), trajectory.states, materialize_grads=True)
    stage = longest_stage(trajectory.states)
    h = torch.stack([x.detach().flatten(1) for x in trajectory.states[stage]])
    p = torch.stack([p_k.flatten(1) for p_k in p[stage]])
    return Track(
        norm(h).log(),
        norm(p).log(),
        norm(h - h[0]).log() - norm(h[0]).log(),
        norm(p - p[-1]).log() - norm(p[-1]).log(),
        neighbour_correlation(trajectory.controls[stage.start : stage.stop - 1]),
    )


def longest_stage(states: Sequence[State]) -> slice:
    """The longest run of states of one shape."""
    runs, start = [], 0
    for _, run in groupby(states, key=lambda x: x.shape):
        length = len(list(run))
        runs.append(slice(start, start + length))
        start += length
    return max(runs, key=lambda run: run.stop - run.start)


def neighbour_correlation(controls: Sequence[ControlValue]) -> float:
    """The uncentred correlation of the weights of layers next to each other; 0 if all are 0."""
    u = torch.stack([weights_of(control) for control in controls])
    squares = u[:-1].square().sum() + u[1:].square().sum()
    return (2 * (u[:-1] * u[1:]).sum() / squares).item() if squares > 0 else 0.0


def weights_of(control: ControlValue) -> Float[Tensor, " weight"]:
    """The weights of a layer in one vector; of a module its matrices and filters only, because
    the scales and shifts of a normalisation start equal in every layer."""
    if isinstance(control, Tensor):
        return control.detach().flatten()
    matrices = [p.detach().flatten() for p in control.parameters() if p.dim() > 1]
    return torch.cat(matrices or [p.detach().flatten() for p in control.parameters()])


def joined(tracks: Sequence[Track]) -> Track:
    """Several draws of one depth as one."""
    *fields, correlations = zip(*tracks, strict=True)
    state, costate, forward, backward = (torch.cat(field, dim=1) for field in fields)
    return Track(state, costate, forward, backward, statistics.fmean(correlations))


def conclude(tracks: Sequence[Track], beta: float) -> Diagnosis:
    """The diagnosis that tracks of networks of increasing depth support."""
    depths = tuple(len(t.state) - 1 for t in tracks)
    forward = [t.forward[-1].mean().exp().item() for t in tracks]
    backward = [t.backward[0].mean().exp().item() for t in tracks]
    deepest = tracks[-1]
    if len(tracks) > 1:
        exponents = exponent(depths, forward), exponent(depths, backward)
    else:
        # Within one network the step is fixed and the ratio begins as L^-beta k^q, before weights
        # that are smooth in depth have lost their correlation: at k = L it would be L^(q - beta).
        k = [2**j for j in range(1 + int(math.log2(max(4, depths[0] / 8))))]
        layers = torch.tensor(k)
        growth = deepest.forward[layers].mean(1).exp().tolist()
        turning = deepest.backward[depths[0] - layers].mean(1).exp().tolist()
        exponents = exponent(k, growth) - beta, exponent(k, turning) - beta
    correlation = deepest.correlation
    # Neighbours in fractional noise correlate by 2^(2H-1) - 1.
    hurst = (1 + math.log2(1 + min(max(correlation, -0.5), 1))) / 2
    overflow = overflow_of(deepest.state, deepest.costate)
    name = name_regime(exponents[0], hurst, overflow)
    return Diagnosis(
        depths=depths,
        forward=forward,
        backward=backward,
        log_state=deepest.state.mean(1),
        log_costate=deepest.costate.mean(1),
        beta=beta,
        exponent=exponents[0],
        backward_exponent=exponents[1],
        correlation=correlation,
        hurst=hurst,
        overflow=overflow,
        regime=name,
        advice=advise(name, beta, hurst, depths[-1], still=max(forward) == 0),
    )


def name_regime(exponent: float, hurst: float, overflow: Overflow) -> Regime:
    """The regime that an exponent of the forward ratio means."""
    if overflow.forward > 0 or exponent > FLAT:
        return "explosion"
    # A network that does nothing has no exponent.
    if math.isnan(exponent) or exponent < -FLAT:
        return "identity"
    return "ODE" if hurst > 0.9 else "SDE"


def advise(regime: Regime, beta: float, hurst: float, L: int, still: bool) -> str:
    """What to change, in a sentence or two."""
    if still:
        return (
            "The control is zero, so that nothing happens: fill it with ocnet.init, for example "
            "init.iid_(control.path)."
        )
    critical = max(0.5, hurst)
    change = (
        f"scale with beta = {critical:.2g} instead of {beta:.2g}, that is multiply the branches "
        f"by {L ** (beta - critical):.3g} at depth {L}"
    )
    if regime == "identity":
        smooth = (
            " Or correlate the layers (init.smooth_), so that they add up, and keep beta = 1."
            if hurst < 0.9 and abs(beta - 1) < FLAT
            else ""
        )
        return f"The branches are too small to matter in a deep network: {change}.{smooth}"
    if regime == "explosion":
        return f"The branches are too large for a deep network: {change}."
    if regime == "SDE":
        return (
            "Nothing has to change: depth has a limit, a random one. For one that is smooth in "
            "depth use init.smooth_ and beta = 1."
        )
    return "Nothing has to change: depth has a limit, and more layers approach it."


def default_depths(n: int) -> tuple[int, ...]:
    """Four depths, each twice the one before."""
    deepest = n if n >= 64 else 8 * n
    return tuple(deepest // 2**k for k in (3, 2, 1, 0))


def at_depth(problem: Problem, n: int, L: int, beta: float) -> Problem:
    """The problem on the horizon where `L` steps have a width ~ `L**-beta`; parameters shared.

    Arguments:
        problem: Whose control holds the weights of each layer.
        n: The number of steps that its horizon is meant for.
        L: The number of steps.
        beta: The exponent.
    """
    if L == n:
        return problem
    deep = copy.copy(problem)
    if isinstance(deep, SupervisedProblem):
        deep.depth = L
    deep.t1 = problem.t0 + (problem.t1 - problem.t0) * (L / n) ** (1 - beta)
    return deep
