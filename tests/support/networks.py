"""Small residual networks, samples for them, and plain formulas."""

from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from ocnet import Sample
from ocnet.networks import collect_statistics, ResNet, resnet


def small(seed: int = 0, **options: Any) -> ResNet:
    """A network for tiny images with affine parameters away from their start values."""
    generator = torch.Generator().manual_seed(seed)
    options = {"channels": 2, "size": 8, "classes": 3, **options}
    network = resnet(generator=generator, **options)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return network


def batch(network: ResNet, n: int = 5, seed: int = 1) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    shape: Any = network.problem.image_shape
    images = torch.randn(n, *shape, generator=generator)
    return Sample(images, torch.randint(3, (n,), generator=generator))


def plain_norm(x: Tensor, bn: nn.BatchNorm2d, training: bool) -> Tensor:
    dims = (0, 2, 3)
    mean: Any = x.mean(dims) if training else bn.running_mean
    var: Any = x.var(dims, correction=0) if training else bn.running_var
    y = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    return y * bn.weight[:, None, None] + bn.bias[:, None, None]


def settled(**options: Any) -> tuple[ResNet, Sample]:
    """A network with statistics everywhere, in evaluation mode, and some samples."""
    network = small(**{"depth": 6, "widths": (3, 4, 5), **options})
    sample = batch(network, n=40)
    for _ in range(3):
        network(sample.x0)
    collect_statistics(network, [sample.x0])
    return network.eval(), sample


def margin(logits: Tensor, labels: Tensor | None) -> Tensor:
    """A loss of the user's own."""
    assert labels is not None
    return F.multi_margin_loss(logits, labels, reduction="none")
