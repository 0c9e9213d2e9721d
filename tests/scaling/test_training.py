"""Networks trained side by side are trained as each would be alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ocnet import Euler, init, Sample
from ocnet.analysis.scaling.classification import chosen, grid_study, GridStudy, WeightStudy
from ocnet.analysis.scaling.images import Images, images, split
from ocnet.analysis.scaling.sweep import run_study
from ocnet.analysis.scaling.training import accuracy, SideBySide, train_side_by_side
from ocnet.objective import evaluate
from ocnet.plot import scaling as plot


KINDS = (init.FractionalNoise(0.3), init.FractionalNoise(0.8), init.SmoothValues())


@pytest.fixture
def data(generator: torch.Generator) -> Images:
    x = torch.randn(120, 6, generator=generator)
    sample = Sample(x, (x[:, 0] > 0).long())
    return split(sample, sample)


def networks(betas: tuple[float, ...], kinds: tuple[init.Kind, ...] = KINDS) -> SideBySide:
    return SideBySide(9, betas, kinds, d=5, n_in=6, n_out=2, seed=3)


def plain_logits(A: Tensor, B: Tensor, u: Tensor, x: Tensor, alpha: float) -> Tensor:
    """One network by loops."""
    h = x @ A.mT
    for k in range(len(u)):
        sigma = torch.where(h > 0, h, 0.8 * h)
        h = h + alpha * (sigma @ u[k, :, :-1].mT + u[k, :, -1])
    return h @ B.mT


def test_each_network_has_its_own_scaling(data: Images) -> None:
    betas = (0.2, 0.5, 1.0)
    problem = networks(betas)
    control = problem.initial_control(9)
    assert control.path.shape == (9, 3, 1, 5, 6) and (control.path[..., -1] == 0).all()
    torch.nn.init.normal_(control.path[..., -1], std=0.1)
    cost, trajectory = evaluate(problem, control, Euler(9), data.test)
    assert data.test.target is not None
    for i, beta in enumerate(betas):
        u = control.path[:, i, 0]
        logits = plain_logits(problem.embedding[i], problem.head[i], u, data.test.x0, 9**-beta)
        torch.testing.assert_close(problem.logits(trajectory.states[-1])[i], logits)
        expected = torch.nn.functional.cross_entropy(logits, data.test.target)
        torch.testing.assert_close(cost[i].mean(), expected)


def test_training_together_is_training_apart(data: Images) -> None:
    betas = (0.3, 0.6, 1.0)
    seeded = lambda: torch.Generator().manual_seed(1)
    fit = lambda problem, control: train_side_by_side(
        problem, control, data, 0.05, epochs=6, batch_size=20, generator=seeded()
    )
    together = networks(betas)
    control = together.initial_control(9)
    result = fit(together, control)
    for i in range(3):
        alone = networks((betas[i],), (KINDS[i],))
        single = alone.initial_control(9)
        found = fit(alone, single)
        torch.testing.assert_close(control.path[:, i], single.path[:, 0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(result.loss[:, i], found.loss[:, 0])
        torch.testing.assert_close(result.test[i], found.test[0])
    assert (result.loss[-1] < result.loss[0]).all() and (result.test > 0.8).all()


def test_a_network_that_diverges_leaves_the_others_alone(data: Images) -> None:
    problem = networks((-300.0, 0.8, 1.0))
    control = problem.initial_control(9)
    result = train_side_by_side(problem, control, data, 0.05, epochs=2, batch_size=20)
    assert result.test.isnan().tolist() == [True, False, False]
    assert torch.isfinite(control.path[:, 1:]).all()


def test_accuracy_counts_what_is_right(data: Images) -> None:
    problem = networks((0.5, 0.5, 0.5))
    control = problem.initial_control(9)
    final = Euler(9).solve(problem, control, problem.embed(data.test.x0)).states[-1]
    right = problem.logits(final).argmax(-1) == data.test.target
    torch.testing.assert_close(accuracy(problem, control, data.test), right.double().mean(1))


def test_the_learning_rate_is_chosen_on_the_validation_part() -> None:
    arrays = {
        "hurst": np.array([0.3]),
        "betas": np.array([0.2, 0.5, 0.8]),
        "rates": np.array([0.1, 1.0]),
        "validation": np.array([[0.9, 0.5, np.nan], [0.8, np.nan, np.nan]]),
        "test": np.array([[0.6, 0.4, np.nan], [0.99, np.nan, np.nan]]),
    }
    found = chosen(arrays)
    np.testing.assert_array_equal(found["accuracy"], [[0.6, 0.4, np.nan]])
    np.testing.assert_array_equal(found["rate"], [[0.1, 0.1, np.nan]])


def test_digits_are_split_and_standardised() -> None:
    data = images("digits")
    sizes = [len(part.x0) for part in data]
    assert sum(sizes) == 1797 and sizes[0] > 4 * sizes[1]
    assert data.train.x0.mean().abs() < 1e-5 and data.train.x0.std().item() == pytest.approx(1)
    rows = torch.cat([part.x0 for part in data])
    assert len(torch.unique(rows, dim=0)) == 1797
    with pytest.raises(ValueError, match="digits, mnist, cifar10, but got 'cats'"):
        images("cats")
    with pytest.raises(ValueError, match="--data DIR"):
        images("mnist")


@pytest.mark.slow
def test_the_accuracy_map_of_the_digits(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    study = GridStudy(
        "digits", None, (0.2, 0.8), (0.3, 0.9), (1e-2, 1e-1), depth=20, epochs=3, rows_per_chunk=1
    )
    assert study.n_chunks() == 4
    arrays = chosen(run_study(study, tmp_path, progress=False))
    assert arrays["accuracy"].shape == (2, 2) and arrays["accuracy"].max() > 0.85
    whole = run_study(replace(study, rows_per_chunk=2), tmp_path, progress=False)
    np.testing.assert_allclose(whole["test"].reshape(4, 2), arrays["test"], atol=0.02)
    plot.accuracy_map(arrays, "digits").savefig(tmp_path / "map.png")
    weights = run_study(WeightStudy("digits", depth=20, epochs=2), tmp_path, progress=False)
    assert weights["before"].shape == weights["after"].shape == (3, 20)
    assert (weights["before"] != weights["after"]).any() and (weights["accuracy"] > 0.7).all()
    plot.trained_weights(weights).savefig(tmp_path / "weights.png")


def test_the_full_grid_is_five_hundred_runs() -> None:
    study = grid_study(False, "mnist", Path("data"))
    assert len(study.hurst) * len(study.betas) * len(study.rates) == 500
    assert sum(len(hurst) for _, hurst in study.blocks()) * len(study.betas) == 500


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="as many betas as kinds, but got 1 and 3"):
        networks((0.5,))
