"""The studies of training: weights over depth, and accuracy over Hurst index and scaling."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...init import FractionalNoise, Iid, Kind, SmoothValues
from .images import Images, images
from .sweep import Arrays, Study
from .training import SideBySide, train_side_by_side


@dataclass(frozen=True)
class WeightStudy(Study):
    """One entry of `V_k` against the layer `k`, before and after training res-1.

    Arrays: `before` and `after`, shape `(network, layer)`; `accuracy` on the test part, shape
    `(network,)`.
    """

    data: str = "mnist"
    folder: Path | None = None
    kinds: tuple[Kind, ...] = (SmoothValues(), Iid("gaussian"), Iid("gaussian"))
    betas: tuple[float, ...] = (1.0, 1.0, 0.5)
    depth: int = 1000
    d: int = 30
    epochs: int = 10
    lr: float = 1e-2
    seed: int = 0

    def n_chunks(self) -> int:
        return 1

    def compute(self, chunk: int) -> Arrays:
        data = images(self.data, self.folder)
        problem = side_by_side(data, self.depth, self.betas, self.kinds, self.d, self.seed)
        control = problem.initial_control(self.depth)
        entry = lambda: control.path.detach()[:, :, 0, 0, 1].mT.clone().numpy()
        before = entry()
        trained = train_side_by_side(
            problem, control, data, self.lr, epochs=self.epochs, generator=self.generator(chunk)
        )
        return {"before": before, "after": entry(), "accuracy": trained.test.numpy()}

    def axes(self) -> Arrays:
        names = {SmoothValues: "smooth", Iid: "i.i.d."}
        labels = [
            rf"{names[type(kind)]}, $\beta = {beta:g}$"
            for kind, beta in zip(self.kinds, self.betas, strict=True)
        ]
        return {"labels": np.array(labels)}


@dataclass(frozen=True)
class GridStudy(Study):
    """The accuracy of res-1 with biases over the Hurst index and the scaling.

    A chunk is one learning rate and some rows of the map, trained side by side.

    Arrays: `validation` and `test`, shape `(rate * row, beta)`, NaN where training diverged.
    """

    data: str = "mnist"
    folder: Path | None = None
    hurst: tuple[float, ...] = tuple(np.linspace(0.1, 0.9, 10).tolist())
    betas: tuple[float, ...] = tuple(np.linspace(0.1, 0.9, 10).tolist())
    rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    depth: int = 1000
    d: int = 30
    epochs: int = 10
    rows_per_chunk: int = 1
    seed: int = 0

    def blocks(self) -> list[tuple[float, tuple[float, ...]]]:
        """The learning rate and the Hurst indices of each chunk."""
        step = self.rows_per_chunk
        rows = [self.hurst[i : i + step] for i in range(0, len(self.hurst), step)]
        return [(lr, some) for lr in self.rates for some in rows]

    def n_chunks(self) -> int:
        return len(self.blocks())

    def compute(self, chunk: int) -> Arrays:
        lr, hurst = self.blocks()[chunk]
        data = images(self.data, self.folder)
        betas = self.betas * len(hurst)
        kinds = [FractionalNoise(H) for H in hurst for _ in self.betas]
        problem = side_by_side(data, self.depth, betas, kinds, self.d, self.seed)
        # All cells of the map see the same batches in the same order.
        trained = train_side_by_side(
            problem,
            problem.initial_control(self.depth),
            data,
            lr,
            epochs=self.epochs,
            generator=self.generator(0),
        )
        shape = (len(hurst), len(self.betas))
        return {
            "validation": trained.validation.reshape(shape).numpy(),
            "test": trained.test.reshape(shape).numpy(),
        }

    def axes(self) -> Arrays:
        return {
            "hurst": np.array(self.hurst),
            "betas": np.array(self.betas),
            "rates": np.array(self.rates),
        }


def chosen(arrays: Arrays) -> Arrays:
    """The test accuracy at the learning rate that is best on the validation part.

    Returns:
        `accuracy` and `rate`, shape `(H, beta)`, NaN where every rate diverged; and all that
        `arrays`, of a `GridStudy`, holds.
    """
    shape = (len(arrays["rates"]), len(arrays["hurst"]), len(arrays["betas"]))
    validation, test = (arrays[name].reshape(shape) for name in ("validation", "test"))
    best = np.nan_to_num(validation, nan=-1.0).argmax(0)[None]
    diverged = np.isnan(validation).all(0)
    accuracy = np.take_along_axis(test, best, axis=0)[0]
    rate = np.where(diverged, np.nan, arrays["rates"][best[0]])
    return arrays | {"accuracy": accuracy, "rate": rate}


def side_by_side(
    data: Images, depth: int, betas: tuple[float, ...], kinds: tuple | list, d: int, seed: int
) -> SideBySide:
    """Networks that fit the data."""
    x, y = data.train
    assert y is not None, "images have labels"
    n_in, n_out = x.shape[1], int(y.max()) + 1
    return SideBySide(depth, betas, kinds, d=d, n_in=n_in, n_out=n_out, seed=seed)


def weight_study(quick: bool, data: str, folder: Path | None) -> WeightStudy:
    """Figure 8."""
    return WeightStudy(data, folder, depth=100) if quick else WeightStudy(data, folder)


def grid_study(quick: bool, data: str, folder: Path | None) -> GridStudy:
    """Figure 9."""
    if not quick:
        return GridStudy(data, folder)
    five = tuple(np.linspace(0.1, 0.9, 5).tolist())
    return GridStudy(data, folder, five, five, depth=100, rows_per_chunk=5)
