"""Pictures of the paper say what they show, and compare panels on one range."""

from pathlib import Path

import numpy as np
import pytest

from examples.scaling_paper import pictures
from examples.scaling_paper.classification import chosen, GridStudy, WeightStudy
from examples.scaling_paper.studies import DepthStudy, HistogramStudy, MapStudy, PathStudy
from ocnet import init
from ocnet.scaling import Arrays, LimitComparison, run_study, Study


def arrays_of(study: Study, folder: Path) -> Arrays:
    return run_study(study, folder, progress=False)


def test_titles_name_model_initialisation_sizes_and_repeats(tmp_path: Path) -> None:
    depth = DepthStudy(init.Iid("uniform"), (4, 8), (0.5,), repeats=7, d=5)
    figure = pictures.depth_ratios(arrays_of(depth, tmp_path), "forward")
    for part in ("res-3", "i.i.d. uniform", "d = 5", "7 networks"):
        assert part in figure.get_suptitle()
    regimes = MapStudy((0.3, 0.6), (0.1, 0.5, 1.2), depth=9, d=4, draws=2, inputs=3)
    figure = pictures.regime_map(arrays_of(regimes, tmp_path))
    for part in ("res-3", "fractional noise", "d = 4", "L = 9", "2 draws of 3 inputs"):
        assert part in figure.get_suptitle()
    legend = figure.axes[0].get_legend()
    assert legend is not None and "limit" in legend.get_texts()[0].get_text()


def test_panels_that_are_compared_have_one_range(tmp_path: Path) -> None:
    histograms = pictures.histograms(arrays_of(HistogramStudy(10, 4, 50), tmp_path)).axes
    assert histograms[0].get_xlim() == histograms[1].get_xlim()
    assert histograms[0].get_ylim() == histograms[1].get_ylim()
    paths = pictures.paths(arrays_of(PathStudy(depth=30), tmp_path)).axes
    assert (
        len({ax.get_ylim() for ax in paths[::2]}) == 1 == len({a.get_ylim() for a in paths[1::2]})
    )
    study, noise = WeightStudy("digits", depth=12), np.arange(36.0).reshape(3, 12)
    weights = study.axes() | {"before": noise, "after": 2 * noise, "accuracy": np.ones(3)}
    panels = pictures.trained_weights(weights, "digits").axes
    assert len({ax.get_ylim() for ax in panels}) == 1


def test_figure_9_has_the_line_of_its_own_model() -> None:
    study = GridStudy("digits", depth=60, hurst=(0.1, 0.5, 0.9), betas=(0.2, 0.5), rates=(0.1,))
    accuracy = np.array([np.nan, 0.5, 0.6, 0.7, 0.8, 0.9])
    arrays = chosen(study.axes() | {"validation": accuracy, "test": accuracy})
    assert arrays["limit"].tolist() == [0.25, 0.5, 0.9]
    assert arrays["contour"] == pytest.approx([0.24, 0.53, 0.91], abs=0.03)
    ax = pictures.accuracy_map(arrays, "digits").axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), arrays["contour"])
    # The numbers are in the middle of their cells.
    assert [(text.get_position(), text.get_text()) for text in ax.texts[:2]] == [
        ((0.2, 0.1), "div."),
        ((0.5, 0.1), "50"),
    ]


def test_the_limit_has_guides_of_both_slopes() -> None:
    depths = (8, 16, 32)
    comparison = LimitComparison(depths, [1 / L for L in depths])
    ax = pictures.limit({"ODE": comparison}).axes[0]
    data, *guides = [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]
    np.testing.assert_allclose(guides[0], data)
    np.testing.assert_allclose(guides[1][-1] / guides[1][0], 0.5)
