"""The layers of a pre-activation residual network: embedding, residual branch, skip, head."""

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional as F


class Embedding(nn.Module):
    """`x_0 = relu(bn(conv((images - mean) / std)))`; bytes are first divided by 255.

    Arguments:
        channels: The channels of an image.
        width: The channels of the state.
        mean, std: Those of each channel, for images in [0, 1]; images stay as they are by default.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        width: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        for name, values, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            values = torch.tensor([default] * channels if values is None else list(values))
            if values.shape != (channels,):
                raise ValueError(f"Must have one {name} for each of {channels} channels.")
            self.register_buffer(name, values.to(torch.get_default_dtype())[:, None, None])
        self.conv: nn.Conv2d = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn: nn.BatchNorm2d = nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            images = images.to(self.mean.dtype) / 255
        x = self.conv((images - self.mean) / self.std)
        return F.relu(self.bn(x), inplace=True)


class Branch(nn.Module):
    """A residual branch with pre-activation, `F(x) = conv(relu(bn(conv(relu(bn(x))))))`.

    Arguments:
        old, new: The channels before and after.
        stride: The factor by which the branch divides height and width.

    Source: He et al., "Identity mappings in deep residual networks", 2016.
    """

    def __init__(self, old: int, new: int, stride: int = 1):
        super().__init__()
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(old)
        self.conv1: nn.Conv2d = nn.Conv2d(old, new, 3, stride, padding=1, bias=False)
        self.bn2: nn.BatchNorm2d = nn.BatchNorm2d(new)
        self.conv2: nn.Conv2d = nn.Conv2d(new, new, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(F.relu(self.bn1(x), inplace=True))
        return self.conv2(F.relu(self.bn2(x), inplace=True))


class NoBranch(nn.Module):
    """`F(x) = 0`: what is left of a residual branch that was removed.

    Arguments:
        shape: The shape of `F(x)` for one sample; that of `x` if None.
    """

    def __init__(self, shape: Sequence[int] | None = None):
        super().__init__()
        self.shape: tuple[int, ...] | None = None if shape is None else tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[1:] if self.shape is None else self.shape
        return x.new_zeros(x.shape[0], *shape)


def skip(old: int, new: int) -> nn.Conv2d:
    """The projection map to the next stage: a 1x1 convolution of stride 2, which is linear."""
    return nn.Conv2d(old, new, 1, stride=2, bias=False)


class Head(nn.Module):
    """`H(S(x))`: the remaining skips, batch norm, ReLU, global average pooling, linear.

    Arguments:
        width: The channels of the last stage.
        classes: How many logits.
        skips: The projection maps that are left to cross, none at the end of a full network.
    """

    def __init__(self, width: int, classes: int, skips: Sequence[nn.Conv2d] = ()):
        super().__init__()
        self.skips: nn.Sequential = nn.Sequential(*skips)
        self.bn: nn.BatchNorm2d = nn.BatchNorm2d(width)
        self.fc: nn.Linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.skips(x)), inplace=True)
        return self.fc(x.mean((-2, -1)))


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Draws all weights anew, as He et al. (2015) do for rectifiers; returns the module."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", generator=generator)
        elif isinstance(m, nn.Linear):
            nn.init.kaiming_normal_(m.weight, nonlinearity="linear", generator=generator)
            nn.init.zeros_(m.bias)
    return module
