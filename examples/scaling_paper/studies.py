"""The studies at initialisation: ratios against depth, histograms, paths and the regime map."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ocnet.init import FractionalNoise, Iid, Kind, SmoothValues
from ocnet.scaling import Arrays, measure, Res3, Study, Theory


LOG_FLOAT32 = math.log(torch.finfo(torch.float32).max)


@dataclass(frozen=True)
class DepthStudy(Study):
    """`|h_L - h_0| / |h_0|` and `|p_0 - p_L| / |p_L|` of res-3 against the depth.

    Arrays: `log10_forward` and `log10_backward`, shape `(depth, network, beta)`;
    `beyond_float32`, the share of networks with a state or costate that single precision cannot
    hold, shape `(depth, beta)`; `predicted_forward` and `predicted_backward`, the root mean squares
    that theory expects, shape `(depth, beta)`, NaN where it makes no statement.
    """

    kind: Kind
    depths: tuple[int, ...]
    betas: tuple[float, ...]
    repeats: int = 50
    d: int = 40
    seed: int = 0

    def n_chunks(self) -> int:
        return len(self.depths)

    def compute(self, chunk: int) -> Arrays:
        network = Res3(self.depths[chunk], kind=self.kind, d=self.d)
        p = measure(
            network,
            self.betas,
            repeats=self.repeats,
            generator=self.generator(chunk),
            dtype=torch.float64,
        )
        largest = torch.maximum(p.log_state, p.log_costate).amax(0)[:, 0]
        return {
            "log10_forward": log10(p.log_forward[:, 0])[None],
            "log10_backward": log10(p.log_backward[:, 0])[None],
            "beyond_float32": (largest > LOG_FLOAT32).double().mean(0).numpy()[None],
        }

    def axes(self) -> Arrays:
        network = lambda L, beta: Res3(L, beta, self.kind, d=self.d)
        theory = [[Theory(network(L, beta)) for beta in self.betas] for L in self.depths]
        root_mean_square = lambda name: np.array(
            [[getattr(p, name) if p.valid else math.nan for p in row] for row in theory]
        )
        title = f"res-3, {described(self.kind)}, $d = {self.d}$, {self.repeats} networks per point"
        return {
            "title": np.array(title),
            "depths": np.array(self.depths),
            "betas": np.array(self.betas),
            "predicted_forward": root_mean_square("forward"),
            "predicted_backward": root_mean_square("backward"),
        }


@dataclass(frozen=True)
class HistogramStudy(Study):
    """The law of `|h_L| / |h_0|` and `|p_0| / |p_L|` of res-3 at `beta = 1/2`.

    Arrays: `log_growth`, `log_backward_growth`, `log_forward`, `log_backward`, shape `(network,)`.
    """

    depth: int = 1000
    d: int = 100
    repeats: int = 10_000
    repeats_per_chunk: int = 100
    seed: int = 0

    def n_chunks(self) -> int:
        return math.ceil(self.repeats / self.repeats_per_chunk)

    def compute(self, chunk: int) -> Arrays:
        repeats = min(self.repeats_per_chunk, self.repeats - chunk * self.repeats_per_chunk)
        network = Res3(self.depth, kind=Iid("uniform"), d=self.d)
        p = measure(network, [0.5], repeats=repeats, generator=self.generator(chunk))
        values = {
            "log_growth": p.log_state[-1] - p.log_state[0],
            "log_backward_growth": p.log_costate[0] - p.log_costate[-1],
            "log_forward": p.log_forward,
            "log_backward": p.log_backward,
        }
        return {name: value[:, 0, 0].float().numpy() for name, value in values.items()}

    def axes(self) -> Arrays:
        title = (
            rf"res-3, {described(Iid())}, $\beta = 0.5$, $d = {self.d}$, $L = {self.depth}$, "
            f"{self.repeats:,} networks"
        )
        return {
            "title": np.array(title),
            "depth": np.array(self.depth),
            "d": np.array(self.d),
        }


@dataclass(frozen=True)
class PathStudy(Study):
    """Fractional Brownian motion on `[0, 1]` and the weights that are its increments.

    Arrays: `motion` and `noise` (of variance 1), shape `(H, time)`.
    """

    hurst: tuple[float, ...] = (0.2, 0.5, 0.8)
    depth: int = 1000
    seed: int = 0

    def n_chunks(self) -> int:
        return len(self.hurst)

    def compute(self, chunk: int) -> Arrays:
        H = self.hurst[chunk]
        # The same white noise in each picture, so that only the correlation differs.
        noise = FractionalNoise(H).draw(self.depth, 1, self.generator(0))[:, 0]
        motion = noise.cumsum(0) / self.depth**H
        return {"motion": motion.numpy()[None], "noise": noise.numpy()[None]}

    def axes(self) -> Arrays:
        title = f"fractional noise, depth $L = {self.depth}$, one path of the same white noise each"
        return {"title": np.array(title), "hurst": np.array(self.hurst)}


@dataclass(frozen=True)
class MapStudy(Study):
    """The mean of `log10` of both ratios of res-3 over the Hurst index and the scaling.

    Each draw of the weights serves a whole row of scalings.

    Arrays: `log10_forward`, `log10_backward`, shape `(H, beta)`, means over draws and inputs;
    `beyond_float32`, the share of networks that single precision cannot hold, likewise.
    """

    hurst: tuple[float, ...]
    betas: tuple[float, ...]
    depth: int = 1000
    d: int = 40
    draws: int = 5
    inputs: int = 10
    seed: int = 0

    def n_chunks(self) -> int:
        return len(self.hurst)

    def compute(self, chunk: int) -> Arrays:
        network = Res3(self.depth, kind=FractionalNoise(self.hurst[chunk]), d=self.d)
        p = measure(
            network,
            self.betas,
            repeats=self.draws,
            inputs=self.inputs,
            generator=self.generator(chunk),
        )
        largest = torch.maximum(p.log_state, p.log_costate).amax(0)
        return {
            "log10_forward": log10(p.log_forward.mean((0, 1)))[None],
            "log10_backward": log10(p.log_backward.mean((0, 1)))[None],
            "beyond_float32": (largest > LOG_FLOAT32).double().mean((0, 1)).numpy()[None],
        }

    def axes(self) -> Arrays:
        title = (
            f"res-3, fractional noise, $d = {self.d}$, $L = {self.depth}$, {self.draws} draws of "
            f"{self.inputs} inputs per cell"
        )
        return {
            "title": np.array(title),
            "hurst": np.array(self.hurst),
            "betas": np.array(self.betas),
        }


def described(kind: Kind) -> str:
    """An initialisation as a picture names it."""
    if isinstance(kind, Iid):
        return f"i.i.d. {kind.distribution} weights"
    if isinstance(kind, SmoothValues):
        return "smooth weights"
    return str(kind)


def log10(log: Tensor) -> np.ndarray:
    """Decimal logarithms from natural ones."""
    return (log.double() / math.log(10)).numpy()


def contour(betas: Sequence[float], values: Sequence[float], level: float) -> float:
    """The largest `beta` at which a row of the map crosses `level`, linearly interpolated.

    Raises:
        ValueError: If the row does not cross it.
    """
    x, y = np.asarray(betas), np.asarray(values) - level
    crossings = np.flatnonzero(y[:-1] * y[1:] <= 0)
    if len(crossings) == 0:
        raise ValueError(f"The map does not cross level={level}.")
    i = crossings[-1]
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))


def depths_between(first: int, last: int, count: int) -> tuple[int, ...]:
    """Depths in geometric progression, rounded."""
    return tuple(sorted({round(L) for L in np.geomspace(first, last, count)}))


def iid_depth_study(quick: bool) -> DepthStudy:
    """Figures 1 and 3: independent uniform weights."""
    depths = depths_between(10, 100, 5) if quick else depths_between(10, 1000, 13)
    return DepthStudy(Iid("uniform"), depths, (0.25, 0.5, 1.0), repeats=20 if quick else 50)


def smooth_depth_study(quick: bool) -> DepthStudy:
    """Figures 4 and 5: weights that are values of a smooth Gaussian process."""
    depths = depths_between(10, 100, 5) if quick else depths_between(10, 1000, 13)
    return DepthStudy(SmoothValues(), depths, (0.5, 1.0, 2.0), repeats=20 if quick else 50)


def histogram_study(quick: bool) -> HistogramStudy:
    """Figure 2."""
    return HistogramStudy(depth=100, d=40, repeats=1000) if quick else HistogramStudy()


def path_study(quick: bool) -> PathStudy:
    """Figure 6."""
    return PathStudy(depth=200 if quick else 1000)


def map_study(quick: bool) -> MapStudy:
    """Figure 7."""
    count_H, count_beta = (12, 27) if quick else (51, 70)
    return MapStudy(
        tuple(np.linspace(0.05, 0.97, count_H).tolist()),
        tuple(np.linspace(0, 1.3, count_beta).tolist()),
        depth=100 if quick else 1000,
        draws=3 if quick else 5,
    )
