"""Labels of any type and shape: analysis of a network gives the same numbers, or one line."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ocnet import ResNet, resnet, Sample
from ocnet.analysis.bounds import loss_bounds
from ocnet.analysis.criteria import cost_changes
from ocnet.analysis.depth import depth_profile
from ocnet.analysis.early_exit import calibrate
from ocnet.analysis.pruning import accuracy, prune
from ocnet.networks import collect_statistics


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "column": lambda y: y[:, None],
    "int32": lambda y: y.int(),
    "uint8": lambda y: y.to(torch.uint8),
    "float": lambda y: y.float(),
    "float column": lambda y: y.double()[:, None],
    "one-hot": lambda y: one_hot(y, 3).double(),
}


@pytest.fixture(scope="module")
def data() -> tuple[ResNet, Sample]:
    torch.set_default_dtype(torch.float64)
    generator = torch.Generator().manual_seed(0)
    network = resnet(
        blocks=(1, 1), widths=(8, 8), channels=1, size=8, classes=3, generator=generator
    )
    images = torch.rand(21, 1, 8, 8, generator=generator)
    collect_statistics(network, [images])
    return network.eval(), Sample(images, torch.randint(3, (21,), generator=generator))


@pytest.mark.parametrize("how", SPELLINGS)
def test_scores_and_costs_are_those_of_integer_labels(how: str, data: tuple) -> None:
    network, sample = data
    same = Sample(sample.x0, SPELLINGS[how](sample.target))
    right = (network(sample.x0).argmax(-1) == sample.target).double().mean().item()
    assert accuracy(network, same) == pytest.approx(right, abs=1e-12)
    old, new = depth_profile(network, sample), depth_profile(network, same, batch_size=4)
    assert new.accuracy[-1] == pytest.approx(right, abs=1e-12)
    for name in ("loss", "accuracy", "change", "distance"):
        np.testing.assert_allclose(getattr(new, name), getattr(old, name), rtol=1e-9)
    assert new.accuracy.max() <= 1
    np.testing.assert_allclose(cost_changes(network, same), cost_changes(network, sample))
    pruned = prune(network, same, same, tolerance=100.0)
    assert pruned.m == 0 and pruned.sizes[0].accuracy == pytest.approx(right)
    bound = loss_bounds(network, same, 0.1).objective
    assert bound == pytest.approx(loss_bounds(network, sample, 0.1).objective)


@pytest.mark.parametrize("how", SPELLINGS)
def test_early_exits_are_those_of_integer_labels(how: str, data: tuple) -> None:
    network, sample = data
    same = Sample(sample.x0, SPELLINGS[how](sample.target))
    exits, again = calibrate(network, sample), calibrate(network, same)
    torch.testing.assert_close(again.temperatures, exits.temperatures)
    share, blocks = again.trade(same, 1.0)
    assert share == pytest.approx(accuracy(network, sample)) and blocks <= 2
    assert (share, blocks) == exits.trade(sample, 1.0)


def test_targets_that_say_no_class_are_refused(data: tuple) -> None:
    network, sample = data
    for target, said in (
        (sample.target / 4, "labels must be whole numbers, but got 0.25"),
        (sample.target - 1, "labels must lie in 0..2, but got -1"),
        (sample.target[:, None] + 3, "labels must lie in 0..2, but got 5"),
    ):
        for measure in (depth_profile, accuracy, cost_changes, calibrate):
            with pytest.raises(ValueError, match=said):
                measure(network, Sample(sample.x0, target))
