"""Modes are put back, part by part, whatever happens in between."""

import pytest
import torch
from torch import nn

from ocnet import Sample
from ocnet.analysis.depth import depth_profile
from ocnet.analysis.pruning import accuracy
from ocnet.modes import mode
from ocnet.networks import collect_statistics, resnet


def test_every_part_gets_its_own_mode_back() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    net[1].eval()
    with pytest.raises(RuntimeError, match="stop"), mode(False, net):
        assert not any(part.training for part in net.modules())
        raise RuntimeError("stop")
    assert net.training and net[0].training and not any(p.training for p in net[1].modules())
    with mode(True, net):
        assert all(part.training for part in net.modules())
    assert not net[1].training


def test_an_analysis_that_fails_leaves_the_modes_alone() -> None:
    network = resnet(depth=3, widths=(4,), size=8, classes=3)
    images = torch.randn(6, 3, 8, 8)
    collect_statistics(network, [images])
    network.control.layers[1].eval()
    before = [part.training for part in network.modules()]
    assert any(before) and not all(before)
    wrong = Sample(images[:, :1], torch.zeros(6, dtype=torch.long))
    for analysis in (depth_profile, accuracy):
        with pytest.raises((RuntimeError, ValueError)):
            analysis(network, wrong)
        assert [part.training for part in network.modules()] == before
    with pytest.raises((RuntimeError, ValueError)):
        collect_statistics(network, [images[:, :1]])
    assert [part.training for part in network.modules()] == before
