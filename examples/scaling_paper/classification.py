"""The studies of training: weights over depth, and accuracy over Hurst index and scaling."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ocnet.init import FractionalNoise, Iid, Kind, SmoothValues
from ocnet.scaling import (
    Arrays,
    bytes_per_network,
    Images,
    load_images,
    networks_at_once,
    Res1,
    SideBySide,
    Study,
    Theory,
    train_side_by_side,
    Trained,
)


BATCH_SIZE = 128

N_IN = {"digits": 8 * 8, "mnist": 28 * 28, "cifar10": 3 * 32 * 32}
"""How many numbers an image has."""

QUICK_IMAGES = 1200
"""How many images a quick study trains on: about as many as the digits have."""


@dataclass(frozen=True)
class WeightStudy(Study):
    """One entry of `V_k` against the layer `k`, before and after training res-1.

    Arrays: `before` and `after`, shape `(network, layer)`; `accuracy` on the test part, shape
    `(network,)`.
    """

    data: str = "mnist"
    folder: Path | None = field(default=None, compare=False)
    images: int | None = None
    kinds: tuple[Kind, ...] = (SmoothValues(), Iid("gaussian"), Iid("gaussian"))
    betas: tuple[float, ...] = (1.0, 1.0, 0.5)
    depth: int = 1000
    d: int = 30
    epochs: int = 10
    lr: float = 1e-2
    device: str = field(default="cpu", compare=False)
    compiled: bool = field(default=False, compare=False)
    seed: int = 0

    def n_chunks(self) -> int:
        return 1

    def data_digest(self) -> str:
        return digest(load_images(self.data, self.folder, self.images))

    def compute(self, chunk: int) -> Arrays:
        data = load_images(self.data, self.folder, self.images)
        problem = side_by_side(data, self.depth, self.betas, self.kinds, self.d, self.seed)
        problem = problem.to(self.device)
        control = problem.initial_control(self.depth).to(self.device)
        entry = lambda: control.path.detach()[:, :, 0, 0, 1].mT.cpu().clone().numpy()
        before = entry()
        trained = train_side_by_side(
            problem,
            control,
            data,
            self.lr,
            epochs=self.epochs,
            batch_size=BATCH_SIZE,
            generator=self.generator(chunk),
            compiled=self.compiled,
        )
        return {"before": before, "after": entry(), "accuracy": trained.test.numpy()}

    def axes(self) -> Arrays:
        names = {SmoothValues: "smooth", Iid: "i.i.d."}
        labels = [
            rf"{names[type(kind)]}, $\beta = {beta:g}$"
            for kind, beta in zip(self.kinds, self.betas, strict=True)
        ]
        title = (
            f"res-1 with biases, $d = {self.d}$, $L = {self.depth}$, Adam, learning rate "
            f"{self.lr:g}, {self.epochs} epochs, one network each"
        )
        return {"title": np.array(title), "labels": np.array(labels)}


@dataclass(frozen=True)
class GridStudy(Study):
    """The accuracy of res-1 with biases over learning rate, Hurst index and scaling.

    A chunk is a fixed number of cells of that grid, trained side by side: as many at a time as
    fit in memory.

    Arrays: `validation` and `test`, shape `(rate * H * beta,)`, NaN where training diverged.
    """

    data: str = "mnist"
    folder: Path | None = field(default=None, compare=False)
    images: int | None = None
    hurst: tuple[float, ...] = tuple(np.linspace(0.1, 0.9, 10).tolist())
    betas: tuple[float, ...] = tuple(np.linspace(0.1, 0.9, 10).tolist())
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    depth: int = 1000
    d: int = 30
    epochs: int = 10
    cells_per_chunk: int = 10
    at_once: int | None = field(default=None, compare=False)
    device: str = field(default="cpu", compare=False)
    compiled: bool = field(default=False, compare=False)
    seed: int = 0

    def chunks(self) -> list[Sequence[tuple[float, float, float]]]:
        """The learning rate, Hurst index and scaling of the cells of each chunk."""
        cells = list(itertools.product(self.rates, self.hurst, self.betas))
        return [
            cells[start : start + self.cells_per_chunk]
            for start in range(0, len(cells), self.cells_per_chunk)
        ]

    def n_chunks(self) -> int:
        return len(self.chunks())

    def data_digest(self) -> str:
        return digest(load_images(self.data, self.folder, self.images))

    def compute(self, chunk: int) -> Arrays:
        data = load_images(self.data, self.folder, self.images)
        cells = self.chunks()[chunk]
        at_once = self.fitting() if self.at_once is None else self.at_once
        parts = [
            self.trained(cells[start : start + at_once], data)
            for start in range(0, len(cells), at_once)
        ]
        return {
            "validation": torch.cat([part.validation for part in parts]).numpy(),
            "test": torch.cat([part.test for part in parts]).numpy(),
        }

    def fitting(self) -> int:
        """How many networks fit in memory now, side by side."""
        per_network = bytes_per_network(self.depth, self.d, N_IN[self.data], 10, BATCH_SIZE)
        return networks_at_once(per_network, torch.device(self.device))

    def trained(self, cells: Sequence[tuple[float, float, float]], data: Images) -> Trained:
        """Networks of some cells, trained side by side."""
        rates, hurst, betas = zip(*cells, strict=True)
        kinds = [FractionalNoise(H) for H in hurst]
        problem = side_by_side(data, self.depth, betas, kinds, self.d, self.seed).to(self.device)
        return train_side_by_side(
            problem,
            problem.initial_control(self.depth).to(self.device),
            data,
            torch.tensor(rates, dtype=torch.float64),
            epochs=self.epochs,
            batch_size=BATCH_SIZE,
            # All cells of the map see the same batches in the same order.
            generator=self.generator(0),
            compiled=self.compiled,
        )

    def axes(self) -> Arrays:
        theory = lambda H: Theory(Res1(self.depth, 0.5, FractionalNoise(H), d=self.d))
        title = (
            f"res-1 with biases, fractional noise, $d = {self.d}$, $L = {self.depth}$, Adam, "
            f"{self.epochs} epochs, one network per cell and rate"
        )
        return {
            "title": np.array(title),
            "contour": np.array([theory(H).contour() for H in self.hurst]),
            "limit": np.array([theory(H).critical_exponent for H in self.hurst]),
            "hurst": np.array(self.hurst),
            "betas": np.array(self.betas),
            "rates": np.array(self.rates),
        }


def digest(data: Images) -> str:
    """What identifies data among others of the same name: the labels, and every hundredth image."""
    found = hashlib.sha256()
    for x, y in data:
        assert y is not None, "images have labels"
        found.update(y.numpy().tobytes() + x[::100].contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


def chosen(arrays: Arrays) -> Arrays:
    """The test accuracy at the learning rate that is best on the validation part.

    Returns:
        `accuracy` and `rate`, shape `(H, beta)`, NaN where every rate diverged; and everything in
        `arrays`, which are those of a `GridStudy`.
    """
    shape = (len(arrays["rates"]), len(arrays["hurst"]), len(arrays["betas"]))
    validation, test = (arrays[name].reshape(shape) for name in ("validation", "test"))
    best = np.nan_to_num(validation, nan=-1.0).argmax(0)[None]
    diverged = np.isnan(validation).all(0)
    accuracy = np.take_along_axis(test, best, axis=0)[0]
    rate = np.where(diverged, np.nan, arrays["rates"][best[0]])
    return arrays | {"accuracy": accuracy, "rate": rate}


def side_by_side(
    data: Images, depth: int, betas: tuple[float, ...], kinds: Sequence[Kind], d: int, seed: int
) -> SideBySide:
    """Networks that fit the data."""
    x, y = data.train
    assert y is not None, "images have labels"
    n_in, n_out = x.shape[1], int(y.max()) + 1
    return SideBySide(depth, betas, kinds, d=d, n_in=n_in, n_out=n_out, seed=seed)


class TrainingSetting(NamedTuple):
    """What a study of training reads and where it runs.

    Attributes:
        data: The name of the data set.
        folder: The folder that holds it.
        device: Where to train.
        compiled: Whether to compile what a layer does.
        images: How many images a full study trains on; all if not given.
    """

    data: str
    folder: Path | None = None
    device: str = "cpu"
    compiled: bool = False
    images: int | None = None


def weight_study(quick: bool, setting: TrainingSetting) -> WeightStudy:
    """Figure 8."""
    data, folder, device, compiled, images = setting
    images, depth = (QUICK_IMAGES, 100) if quick else (images, 1000)
    return WeightStudy(data, folder, images, depth=depth, device=device, compiled=compiled)


def grid_study(quick: bool, setting: TrainingSetting) -> GridStudy:
    """Figure 9."""
    data, folder, device, compiled, images = setting
    images, depth, count = (QUICK_IMAGES, 100, 5) if quick else (images, 1000, 10)
    values = tuple(np.linspace(0.1, 0.9, count).tolist())
    return GridStudy(
        data, folder, images, values, values, depth=depth, device=device, compiled=compiled
    )
