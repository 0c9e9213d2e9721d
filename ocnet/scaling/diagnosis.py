"""The regime of a user's own network, measured: what its initialisation and scaling do to depth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from tabulate import tabulate
from torch import nn, Tensor

from .._arguments import check_count, check_generator, check_kind, check_range, check_sequence
from ..control import Control
from ..init import Kind
from ..networks import ResidualProblem, ResNet, wrap
from ..problem import Problem, Sample
from ..supervised import default_steps
from .advice import advise, Cure, name_regime, Verdict
from .fits import Exponent, fitted, UNKNOWN
from .memory import correlation, hurst_of, hurst_over_depths
from .models import ScaledNetwork
from .propagation import Overflow, overflow_of
from .regimes import MEANING, Regime
from .tracks import at_depth, initialised, Track, track


Subject = Problem | nn.Module | Callable[[int], Any]
"""What can be diagnosed: a problem, a network, or a function that makes one of a given depth."""

GONE = -100.0
"""The logarithm of a norm that counts as zero."""

ATTEMPTS = 8
"""The most corrections of the advice before it is given."""


@dataclass(frozen=True)
class Diagnosis:
    """What the initialisation and the scaling of a network do to its depth.

    Attributes:
        name: What was diagnosed.
        depths: The numbers of layers measured; one alone if the network was given.
        forward: `|h_L - h_0| / |h_0|` at each, geometric mean over inputs and draws.
        backward: `|p_0 - p_L| / |p_L|` likewise.
        log_state: `log |h_k|` at every layer of the last network, mean over inputs and draws.
        log_costate: `log |p_k|` likewise.
        log_forward: `log (|h_k - h_0| / |h_0|)` likewise.
        log_backward: `log (|p_k - p_L| / |p_L|)` likewise.
        beta: How the step shrinks with depth, `L**-beta`, without factors inside the block.
        exponent: `q` in `forward ~ L**q`, with its error bar.
        backward_exponent: The same for `backward`.
        correlation: The correlation of the weights of neighbouring layers.
        hurst: `H` in the growth `L**H` of the weights' sum over layers, with its error bar.
        overflow: Which networks left the number range.
        regime: The name of what happens as the depth grows.
        advice: What to change.
        cure: The advice applied and measured again, or None where there is nothing to apply.
        notes: What was taken for granted.
    """

    name: str
    depths: Sequence[int]
    forward: Sequence[float]
    backward: Sequence[float]
    log_state: Float[Tensor, " layer"]
    log_costate: Float[Tensor, " layer"]
    log_forward: Float[Tensor, " layer"]
    log_backward: Float[Tensor, " layer"]
    beta: float
    exponent: Exponent
    backward_exponent: Exponent
    correlation: float
    hurst: Exponent
    overflow: Overflow
    regime: Regime
    advice: str
    cure: Cure | None
    notes: Sequence[str]

    def text(self) -> str:
        """The diagnosis as text."""
        rows = zip(self.depths, self.forward, self.backward, strict=True)
        headers = ["layers L", "|h_L-h_0|/|h_0|", "|p_0-p_L|/|p_L|"]
        lines = [
            f"regime: {self.regime} ({MEANING[self.regime]})",
            "",
            self.name,
            tabulate(list(rows), headers),
            "",
            f"step L**-{self.beta:.3g}; forward ratio ~ L**({self.exponent}), backward ratio ~ "
            f"L**({self.backward_exponent})",
            f"neighbouring layers correlate by {self.correlation:.3f} (Hurst index {self.hurst}); "
            f"{self.overflow}",
            *self.notes,
            "",
            self.advice,
        ]
        if self.cure is not None:
            lines += ["", self.cure.text()]
        return "\n".join(lines)


def diagnose(
    subject: Subject,
    control: Control | None = None,
    *,
    n: int | None = None,
    depths: Sequence[int] | None = None,
    beta: float | None = None,
    kind: Kind | None = None,
    draws: int = 4,
    samples: int = 64,
    inputs: Sample | None = None,
    apply: bool = True,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    """Measures states and costates at every layer and at several depths, and names the regime.

    Networks of other depths are drawn with `problem.initial_control`, on the horizon that keeps
    the step at `L**-beta` (up to a constant factor). With a network or a control given, or with
    projections, only its own depth is measured, in its longest stage, and its growth from layer to
    layer is fitted instead. Where branches are too large or too small the report scales them,
    measures again, corrects the scaling and tells the result.

    Arguments:
        subject: A problem, whose controls are drawn; a network as it is, trained or not, a
            `ResNet` or one that `wrap` takes; or a function that makes either, given the depth.
        control: A control of the problem to take as it is; several are drawn if not given.
        n: The number of steps that the problem's horizon is meant for; the control's, or the
            problem's own depth, if None.
        depths: The depths to draw; by default from an eighth of `n` to all of it,
            or up to eight times as deep if that is shallow.
        beta: How the step shrinks with depth. By default that of a `ScaledNetwork`; 0 if the
            step is 1, as in a standard residual network; else 1, the horizon being kept.
        kind: The process over depth that initialises what is drawn; the problem's own if None.
        draws: How many controls to draw at each depth.
        samples: How many inputs to send through each.
        apply: Whether to apply the advice, measure again and correct it; without it the exponent
            that was measured is the advice, and is not checked.
        inputs: The inputs; drawn from the problem if None, or standard normal where it has none.
            A network that is not a `ResNet` needs them.
        generator: Makes inputs and controls reproducible, those of modules too.

    Raises:
        TypeError, ValueError: If the arguments do not fit together.
    """
    check_count("draws", draws)
    check_count("samples", samples)
    check_generator(generator)
    for name, value, wanted in (
        ("control", control, Control),
        ("inputs", inputs, Sample),
        ("kind", kind, Kind),
    ):
        if value is not None:
            check_kind(name, value, wanted)
    if beta is not None:
        check_range("beta", beta, "-inf <", "< inf")
    if depths is not None:
        check_sequence("depths", depths)
        for L in depths:
            check_count("depths", L, least=2)
    bench = Bench(subject, control, n, depths, beta, kind, draws, samples, inputs, generator)
    return conclude(bench, apply)


class Bench:
    """A network on the bench: measured at several depths, with its branches multiplied or not.

    Arguments:
        subject: What is diagnosed.
        control: A control to take as it is; several are drawn if not given.
        n: The number of steps that the problem's horizon is meant for.
        depths: The depths to draw; by default four, each twice the one before.
        beta: How the step shrinks with depth; see `diagnose` for the default.
        kind: The process over depth that initialises what is drawn; the problem's own if None.
        draws: How many controls to draw at each depth.
        samples: How many inputs to send through each.
        inputs: The inputs; drawn from the problem if None.
        generator: Makes inputs and controls reproducible.

    Attributes:
        depths: The depths that are measured.
        beta: How the step shrinks with depth.
        declared: Whether that is known, and not read off the step.
        notes: What was taken for granted.
    """

    depths: tuple[int, ...]
    draws: int
    samples: int
    inputs: Sample | None
    kind: Kind | None
    problem: Problem
    control: Control | None

    def __init__(
        self,
        subject: Subject,
        control: Control | None,
        n: int | None,
        depths: Sequence[int] | None,
        beta: float | None,
        kind: Kind | None,
        draws: int,
        samples: int,
        inputs: Sample | None,
        generator: torch.Generator | None,
    ):
        self.draws, self.samples, self.inputs, self.kind = draws, samples, inputs, kind
        self.notes: list[str] = []
        # The same draws at every scaling: what differs is the scaling alone.
        self.seed: int = int(torch.randint(2**31, (), generator=generator))
        self.make: Callable[[int], Any] | None = None
        if not isinstance(subject, nn.Module):
            if not callable(subject):
                check_kind("subject", subject, nn.Module)
            self.make = subject
            depths = depths or ((n // 8, n // 4, n // 2, n) if n and n >= 16 else None)
            if depths is None:
                raise ValueError("A function of the depth needs depths, but got depths=None.")
            n = max(depths)
            subject = subject(n)
        self.problem, self.control = taken(subject, control, inputs)
        self.name: str = type(self.problem if control or self.make else subject).__name__
        problem = self.problem
        if isinstance(problem, ScaledNetwork):
            self.name += f" with {problem.kind if kind is None else kind}, d = {problem.d}"
        if n is None:
            n = default_steps(problem) if self.control is None else self.control.n_intervals
        check_count("n", n, least=2)
        if self.control is not None and self.control.n_intervals != n and self.make is None:
            raise ValueError(
                f"Must have n={self.control.n_intervals}, as the control has, but got {n=}."
            )
        self.n = n
        self.declared: bool = (
            beta is not None or isinstance(problem, ScaledNetwork) or bool(self.make)
        )
        self.beta: float = self.scaling() if beta is None else float(beta)
        fixed = self.control is not None or problem.projections
        if (fixed or isinstance(problem, ResidualProblem)) and self.make is None:
            self.depths = (n,)
        else:
            self.depths = default_depths(n) if depths is None else tuple(sorted(set(depths)))

    def scaling(self) -> float:
        """The `beta` that the problem means."""
        if isinstance(self.problem, ScaledNetwork):
            return self.problem.beta
        T = self.problem.t1 - self.problem.t0
        if math.isclose(T, self.n) or self.make is not None:
            return 0.0
        self.notes.append(
            f"the horizon is taken to stay {T:.4g} at every depth (beta = 1): give beta if not"
        )
        return 1.0

    def tracks(self, L: int, factor: float = 1.0) -> list[Track]:
        """Each draw of a network of one depth, its branches multiplied by a factor."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            generator = torch.Generator().manual_seed(self.seed)
            return [self.drawn(L, factor, generator) for _ in range(self.count)]

    @property
    def count(self) -> int:
        """How many controls there are to draw."""
        return self.draws if self.control is None or self.make is not None else 1

    def drawn(self, L: int, factor: float, generator: torch.Generator) -> Track:
        """One draw of a network."""
        problem, control = self.problem, self.control
        if self.make is not None:
            problem, control = taken(self.make(L), None, self.inputs)
            network = at_depth(problem, L, L, 0.0, factor)
        else:
            network = at_depth(problem, self.n, L, self.beta, factor)
        if control is None:
            control = network.initial_control(L, generator)
            if self.kind is not None:
                control = initialised(control, self.kind, generator)
        sample = self.sample(network, generator) if self.inputs is None else self.inputs
        return track(network, control, L, sample)

    def sample(self, problem: Problem, generator: torch.Generator) -> Sample:
        """Inputs of the problem; standard normal ones where it has none at hand."""
        try:
            return problem.sample(self.samples, generator)
        except (FileNotFoundError, TypeError) as error:
            shape = getattr(problem, "image_shape", None)
            if not isinstance(problem, ResidualProblem) or shape is None:
                raise
            note = f"inputs are standard normal: {' '.join(str(error).split())}"
            if note not in self.notes:
                self.notes.append(note)
            images = torch.randn(self.samples, *shape, generator=generator)
            return Sample(images, torch.randint(2, (self.samples,), generator=generator))

    def is_signal(self) -> bool:
        """Whether the control is a signal of time, the same in every draw, not weights."""
        if self.control is not None or isinstance(self.problem, ScaledNetwork):
            return False
        shape = self.problem.control_shape
        if shape is None or len(shape) > 1:
            return False
        first, second = (
            self.problem.initial_control(self.n, torch.Generator().manual_seed(seed))
            for seed in (1, 2)
        )
        pairs = zip(first.parameters(), second.parameters(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)


def taken(
    subject: Any, control: Control | None, inputs: Sample | None
) -> tuple[Problem, Control | None]:
    """The problem and the control of what is to be diagnosed; the control is None if drawn."""
    if isinstance(subject, Problem):
        return subject, control
    if control is not None:
        raise TypeError(f"control goes with a problem, but got a {type(subject).__name__}.")
    check_kind("subject", subject, nn.Module)
    if isinstance(subject, ResNet):
        return subject.problem, subject.control
    if inputs is None:
        raise ValueError(
            f"A {type(subject).__name__} needs inputs, a Sample to send through it, but got "
            "inputs=None."
        )
    network = wrap(subject, inputs.x0)
    return network.problem, network.control


class DepthFit:
    """The tracks of networks of increasing depth, and what is fitted to them.

    Arguments:
        tracks: The tracks of each draw, for each depth.
        beta: How the step shrinks with depth; it is used if there is only one depth.
    """

    tracks: Sequence[Sequence[Track]]
    forward: Exponent
    backward: Exponent
    state: Exponent
    costate: Exponent

    def __init__(self, tracks: Sequence[Sequence[Track]], beta: float):
        self.tracks = tracks
        self.depths: tuple[int, ...] = tuple(len(of_depth[0].state) - 1 for of_depth in tracks)
        fields = ("state", "costate", "forward", "backward")
        self.deepest: list[Tensor] = [
            torch.cat([getattr(t, f) for t in tracks[-1]], dim=1) for f in fields
        ]
        mean = lambda take: torch.tensor([[take(t).mean() for t in row] for row in tracks])
        self.log_forward: Tensor = mean(lambda t: t.forward[-1])
        self.log_backward: Tensor = mean(lambda t: t.backward[0])
        if len(tracks) > 1:
            self.forward = fitted(self.depths, self.log_forward)
            self.backward = fitted(self.depths, self.log_backward)
            # A state that is exactly zero counts as a very small one.
            change = lambda end, start: (end - start).clamp(min=GONE)
            self.state = fitted(self.depths, mean(lambda t: change(t.state[-1], t.state[0])))
            self.costate = fitted(self.depths, mean(lambda t: change(t.costate[0], t.costate[-1])))
        else:
            self.forward, self.backward = within(tracks[0], beta)
            self.state = self.costate = UNKNOWN
        state, costate, *_ = self.deepest
        self.overflow: Overflow = overflow_of(state, costate)

    @property
    def exponents(self) -> tuple[Exponent, Exponent]:
        """The exponents of both ratios."""
        return self.forward, self.backward

    @property
    def shrunk(self) -> float:
        """The smaller of `|h_L| / |h_0|` and `|p_0| / |p_L|` in the deepest network."""
        state, costate, *_ = self.deepest
        return min((state[-1] - state[0]).mean(), (costate[0] - costate[-1]).mean()).exp().item()

    def ratios(self, depth: int) -> tuple[float, float]:
        """Both ratios, geometric means over inputs and draws, at one of the depths."""
        forward, backward = self.log_forward[depth], self.log_backward[depth]
        return forward.mean().exp().item(), backward.mean().exp().item()


def within(tracks: Sequence[Track], beta: float) -> tuple[Exponent, Exponent]:
    """Exponents from the growth within networks of one depth.

    The step is fixed there, and the ratio begins as `L^-beta k^q`, before weights that are smooth
    in depth have lost their correlation: at `k = L` it would be `L^(q - beta)`.
    """
    L = len(tracks[0].state) - 1
    k = [2**j for j in range(1 + int(math.log2(max(4, L / 8))))]
    layers = torch.tensor(k)
    if L < layers[-1]:
        return UNKNOWN, UNKNOWN
    found = []
    for field, index in (("forward", layers), ("backward", L - layers)):
        logs = torch.stack([getattr(t, field)[index].mean(1) for t in tracks], dim=1)
        value, error = fitted(k, logs)
        found.append(Exponent(value - beta, error))
    return found[0], found[1]


def conclude(bench: Bench, apply: bool) -> Diagnosis:
    """The diagnosis of what the bench measures; with `apply`, the advice is measured too."""
    found = DepthFit([bench.tracks(L) for L in bench.depths], bench.beta)
    first = [t for of_depth in found.tracks for t in of_depth]
    memory, neighbours = memory_of(found)
    verdict = Verdict(
        n=bench.n,
        beta=bench.beta,
        declared=bench.declared,
        forward=found.forward,
        backward=found.backward,
        state=found.state,
        costate=found.costate,
        shrunk=found.shrunk,
        ratios=found.ratios(own_depth(bench)),
        alone=len(bench.depths) == 1,
        overflow=found.overflow,
        hurst=memory,
        still=all(bool((t.forward[-1] == -math.inf).all()) for t in first),
        empty=not any(t.has_weights for t in first),
        signal=bench.is_signal(),
        shape=bench.problem.control_shape,
    )
    name = name_regime(verdict)
    cure = None
    if apply and name not in ("ODE", "SDE") and verdict.scalable and len(bench.depths) > 1:
        cure = cured(bench, verdict)
    forward, backward = zip(*(found.ratios(i) for i in range(len(bench.depths))), strict=True)
    state, costate, moved, turned = (field.mean(1) for field in found.deepest)
    return Diagnosis(
        name=title(bench, found),
        depths=found.depths,
        forward=forward,
        backward=backward,
        log_state=state,
        log_costate=costate,
        log_forward=moved,
        log_backward=turned,
        beta=bench.beta,
        exponent=found.forward,
        backward_exponent=found.backward,
        correlation=neighbours,
        hurst=memory,
        overflow=found.overflow,
        regime=name,
        advice=advise(name, verdict, cure),
        cure=cure,
        notes=bench.notes,
    )


def own_depth(bench: Bench) -> int:
    """The place of the network's own depth among those measured, or of the nearest."""
    return min(range(len(bench.depths)), key=lambda i: abs(bench.depths[i] - bench.n))


def title(bench: Bench, found: DepthFit) -> str:
    """What was diagnosed, in a line."""
    how = "as it is" if bench.count == 1 and bench.control is not None else f"{bench.count} draws"
    stage = found.depths[-1]
    where = "" if stage == bench.depths[-1] else f", its longest stage of {stage} layers"
    return f"{bench.name}, depth {bench.n}{where}, {how}"


def memory_of(found: DepthFit) -> tuple[Exponent, float]:
    """The Hurst index of the weights, and the correlation of neighbours."""
    if any(t.products is None for of_depth in found.tracks for t in of_depth):
        return UNKNOWN, math.nan
    products = [[p for t in of_depth if (p := t.products) is not None] for of_depth in found.tracks]
    deepest = torch.stack(products[-1]).mean(0)
    neighbours = correlation(deepest, 1)
    if len(products) > 1:
        return hurst_over_depths(found.depths, products), neighbours
    return hurst_of(deepest, found.tracks[0][0].entries * len(products[0])), neighbours


def cured(bench: Bench, verdict: Verdict) -> Cure:
    """The scaling at which the ratios stop changing with depth, found by measurement.

    Branches multiplied by `L^-shift` are measured, and the exponent that is left corrects the
    shift, until that exponent is within its error bar. If the network is right at its own depth
    `n`, its branches are multiplied by `(n / L)^shift` instead, which leaves it as it is there.
    """
    anchor = bench.n if verdict.right_as_it_is else 1
    start = worst_of(verdict.forward, verdict.backward)
    known = [(0.0, limited(start))] if math.isfinite(start.value) else []
    best: tuple[float, DepthFit] | None = None
    shift = verdict.first_shift
    for _ in range(ATTEMPTS):
        multiplied = [bench.tracks(L, (anchor / L) ** shift) for L in bench.depths]
        found = DepthFit(multiplied, bench.beta + shift)
        left = worst_of(found.forward, found.backward)
        if best is None or abs(limited(left)) < abs(limited(worst_of(*best[1].exponents))):
            best = shift, found
        if left.is_flat:
            break
        known.append((shift, limited(left)))
        shift = corrected(known)
    assert best is not None, "one attempt at least"
    shift, found = best
    forward, backward = found.ratios(own_depth(bench))
    return Cure(
        beta=bench.beta + shift,
        error=worst_of(*found.exponents).error,
        shift=shift,
        factor=(anchor / bench.n) ** shift,
        forward=forward,
        backward=backward,
        exponent=found.forward,
        backward_exponent=found.backward,
    )


def worst_of(*exponents: Exponent) -> Exponent:
    """The exponent of the ratio that grows fastest; one that is not finite counts as largest."""
    return max(exponents, key=lambda q: q.value if math.isfinite(q.value) else math.inf)


def limited(exponent: Exponent) -> float:
    """An exponent limited to [-1/2, 1/2]: beyond, ratios grow exponentially, not as a power."""
    return min(max(exponent.value, -0.5), 0.5) if math.isfinite(exponent.value) else 0.5


def corrected(known: Sequence[tuple[float, float]]) -> float:
    """The next shift, from shifts with the exponents that they leave, which fall as it grows.

    While all exponents have one sign, the last one is added to its shift. After that, the next
    shift lies between the largest that is too small and the smallest that is too large.
    """
    too_small = [pair for pair in known if pair[1] > 0]
    too_large = [pair for pair in known if pair[1] <= 0]
    if not too_small or not too_large:
        last, left = known[-1]
        return last + left
    (low, above), (high, below) = max(too_small), min(too_large)
    share = above / (above - below)
    return low + (high - low) * min(max(share, 0.15), 0.85)


def default_depths(n: int) -> tuple[int, ...]:
    """Four depths, each twice the one before."""
    deepest = n if n >= 64 else 8 * n
    return tuple(deepest // 2**k for k in (3, 2, 1, 0))
