"""Studies resume where they stopped, run on other engines, and draw what they measured."""

import importlib.util
import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.scaling_paper import pictures as plot
from examples.scaling_paper.studies import (
    contour,
    depths_between,
    DepthStudy,
    HistogramStudy,
    MapStudy,
    PathStudy,
)
from ocnet import init
from ocnet.scaling import predictions, sweep
from ocnet.scaling.sweep import Arrays, run_study, Study


@dataclass(frozen=True)
class Squares(Study):
    """A study that fails at one chunk."""

    count: int
    fails_at: int | None = field(default=None, compare=False)
    seed: int = 0

    def n_chunks(self) -> int:
        return self.count

    def compute(self, chunk: int) -> Arrays:
        if chunk == self.fails_at:
            raise RuntimeError("the machine went down")
        noise = torch.rand(1, generator=self.generator(chunk)).numpy()
        return {"square": np.array([chunk**2]), "noise": noise}

    def axes(self) -> Arrays:
        return {"index": np.arange(self.count)}


def test_a_study_resumes_where_it_stopped(tmp_path: Path) -> None:
    study = Squares(5)
    with pytest.raises(RuntimeError, match="went down"):
        run_study(replace(study, fails_at=3), tmp_path, progress=False)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(before) == 3
    arrays = run_study(study, tmp_path, progress=False)
    assert arrays["square"].tolist() == [0, 1, 4, 9, 16]
    assert arrays["seconds"].shape == (5,) and (arrays["seconds"] > 0).all()
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    # Other settings, other chunks.
    run_study(Squares(5, seed=1), tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 10


@pytest.mark.parametrize("way", ["version", "settings", "source", "damage", "none"])
def test_a_chunk_of_another_state_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    study = Squares(2)
    before = run_study(study, tmp_path, progress=False)
    files = sorted(tmp_path.iterdir())
    arrays = sweep.load(files[1])
    arrays["square"] = np.array([77])
    noted = json.loads(str(arrays[sweep.RECORD][0]))
    other = {"version": "torch", "settings": "study", "source": __name__}
    if way in other:
        noted[other[way]] = "another"
    if way == "none":
        del arrays[sweep.RECORD]
    else:
        arrays[sweep.RECORD] = np.array([json.dumps(noted)])
    sweep.save_arrays(files[1], arrays)
    if way == "damage":
        content = files[1].read_bytes()
        files[1].write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="0001.npz (was computed with another|is damaged)"):
        again = run_study(study, tmp_path, progress=False)
    for name in ("square", "noise"):
        np.testing.assert_array_equal(again[name], before[name])
    # And then it is as it should be.
    run_study(study, tmp_path, progress=False)


def test_chunks_do_not_depend_on_who_computes_them(tmp_path: Path) -> None:
    alone = run_study(Squares(6), tmp_path / "alone", progress=False)
    with ThreadPoolExecutor(2) as executor:
        shared = run_study(Squares(6), tmp_path / "shared", executor=executor, progress=False)
    assert len(set(alone["noise"].tolist())) == 6
    for name in ("square", "noise", "index"):
        np.testing.assert_array_equal(alone[name], shared[name])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="the extra dask")
@pytest.mark.filterwarnings("ignore::Warning")
def test_dask_computes_the_chunks(tmp_path: Path) -> None:
    from dask.distributed import Client, LocalCluster  # pyright: ignore[reportMissingImports]

    study = MapStudy((0.2, 0.5, 0.8), (0.3, 1.0), depth=20, d=6, draws=2, inputs=2)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="") as cluster,
        Client(cluster) as client,
    ):
        shared = run_study(study, tmp_path / "shared", executor=client.get_executor())
    alone = run_study(study, tmp_path / "alone", progress=False)
    for name in ("log10_forward", "log10_backward", "hurst", "betas"):
        np.testing.assert_allclose(alone[name], shared[name], rtol=1e-6)


def plain_map(H: float, betas: list[float], L: int, d: int, draws: int) -> np.ndarray:
    """The mean log10 forward and backward ratios, by loops and a Cholesky factor."""
    rng = np.random.default_rng(4)
    lag = np.abs(np.arange(L)[:, None] - np.arange(L))
    covariance = ((lag + 1.0) ** (2 * H) - 2 * lag ** (2.0 * H) + np.abs(lag - 1.0) ** (2 * H)) / 2
    factor = np.linalg.cholesky(covariance)
    ratios = np.zeros((2, draws, len(betas)))
    for i in range(draws):
        V, W = (
            (factor @ rng.standard_normal((L, d * d))).reshape(L, d, d) / math.sqrt(d),
            (factor @ rng.standard_normal((L, d * d))).reshape(L, d, d) / math.sqrt(d),
        )
        h_0, p_L = rng.standard_normal((2, d))
        for j, beta in enumerate(betas):
            a, h, masks = L**-beta, h_0, []
            for k in range(L):
                z = W[k] @ h
                masks.append(z > 0)
                h = h + a * V[k] @ np.maximum(z, 0)
            p = p_L
            for k in reversed(range(L)):
                p = p + a * W[k].T @ (masks[k] * (V[k].T @ p))
            ratios[0, i, j] = np.log10(np.linalg.norm(h - h_0) / np.linalg.norm(h_0))
            ratios[1, i, j] = np.log10(np.linalg.norm(p - p_L) / np.linalg.norm(p_L))
    return ratios.mean(1)


@pytest.mark.parametrize("H", [0.2, 0.5, 0.8, 0.95])
def test_contours_of_the_regime_map(H: float) -> None:
    L, d = 60, 12
    betas = np.linspace(0, 1.3, 14).tolist()
    study = MapStudy((H,), tuple(betas), depth=L, d=d, draws=60, inputs=10)
    arrays = study.compute(0)
    independent = plain_map(H, betas, L, d, draws=60)
    for name, row in zip(("log10_forward", "log10_backward"), independent, strict=True):
        for level in (-0.5, 0.0):
            found, expected = (
                contour(betas, values.tolist(), level) for values in (arrays[name][0], row)
            )
            assert abs(found - expected) < 0.05, (name, level)


def test_contour() -> None:
    assert contour([0.0, 1.0, 2.0], [3.0, 1.0, -1.0], 0.0) == pytest.approx(1.5)
    assert contour([0.0, 1.0, 2.0, 3.0], [1.0, -1.0, 1.0, -1.0], 0.0) == pytest.approx(2.5)
    with pytest.raises(ValueError, match="level=5.0"):
        contour([0.0, 1.0], [3.0, 1.0], 5.0)


def test_depth_study_measures_and_predicts() -> None:
    study = DepthStudy(init.Iid("uniform"), (10, 40), (0.5, 1.0), repeats=400, d=10)
    parts = [study.compute(chunk) for chunk in range(2)]
    square = 10 ** (2 * np.concatenate([part["log10_forward"] for part in parts]))
    expected = study.axes()["predicted_forward"] ** 2
    np.testing.assert_allclose(square.mean(1), expected, rtol=0.15)
    assert expected[0, 0] == pytest.approx(predictions.state_displacement(10, 0.5))
    first_order = DepthStudy(init.SmoothValues(), (40,), (0.25, 2.0)).axes()["predicted_forward"]
    assert np.isnan(first_order[0, 0]) and not np.isnan(first_order[0, 1])


def test_networks_beyond_single_precision_are_counted() -> None:
    study = DepthStudy(init.SmoothValues(), (400,), (0.05, 2.0), repeats=4, d=20)
    assert study.compute(0)["beyond_float32"].tolist() == [[1.0, 0.0]]


def test_paths_share_their_noise() -> None:
    study = PathStudy(hurst=(0.5, 0.501), depth=100)
    first, second = (study.compute(chunk) for chunk in range(2))
    np.testing.assert_allclose(first["noise"], second["noise"], atol=0.05)
    np.testing.assert_allclose(first["motion"], first["noise"].cumsum(1) / 10)


def test_histograms_hold_every_network() -> None:
    study = HistogramStudy(depth=20, d=8, repeats=250, repeats_per_chunk=100)
    sizes = [len(study.compute(chunk)["log_growth"]) for chunk in range(study.n_chunks())]
    assert sizes == [100, 100, 50]


def test_depths_between() -> None:
    assert depths_between(10, 1000, 3) == (10, 100, 1000)


def test_pictures_show_the_arrays(tmp_path: Path) -> None:
    depth = run_study(DepthStudy(init.Iid(), (5, 10), (0.5, 1.0), 3, d=4), tmp_path, progress=False)
    figure = plot.depth_ratios(depth, "forward")
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [r"$\beta = 0.5$", r"$\beta = 1$"]
    np.testing.assert_array_equal(
        figure.axes[1].lines[0].get_ydata(), np.median(10 ** depth["log10_forward"][..., 1], axis=1)
    )
    regimes = run_study(
        MapStudy((0.3, 0.6), (0.1, 0.5, 1.2), depth=20, d=4, draws=1, inputs=1),
        tmp_path,
        progress=False,
    )
    for made in (
        plot.regime_map(regimes),
        plot.paths(run_study(PathStudy(depth=10), tmp_path, progress=False)),
        plot.histograms(run_study(HistogramStudy(10, 4, 50), tmp_path, progress=False)),
    ):
        made.savefig(tmp_path / "picture.png")
