"""Image classification with residual networks: digits, MNIST, Fashion-MNIST, CIFAR-10 and -100."""

import abc
from pathlib import Path

import torch
from torch import Tensor

from ocnet import Layers, Sample, Split
from ocnet.images import stored
from ocnet.networks import (
    Architecture,
    CrossEntropy,
    Gamma,
    Heads,
    layers,
    parts,
    ResidualProblem,
    stages,
)

from .digits import scans


FOLDER = "data"
"""Where data sets are downloaded to and looked for unless the user names a folder."""


class _Images(ResidualProblem):
    """A pre-activation ResNet on a data set of images, which stays on the device as bytes.

    Training images are augmented as by He et al. (2016): padded by the mean grey level, cropped
    at random, flipped at random. The last images of the official training split are held out for
    validation. Nothing is loaded until it is asked for.

    Arguments:
        depth: The number `N` of residual blocks, in equal stages.
        gamma: The weight of the stage cost; 0 is standard training.
        widths: The channels of each stage; one width alone is the homogeneous network.
        heads: "WS" if the read-outs share the backbone's weights, "full" if each has its own.
        smoothing: The label smoothing of the cross-entropy.
        data: A folder that holds the data set, as torchvision keeps it or as NAME.npz; by
            default it is looked for in ./data, and downloaded there if it is missing.
    """

    name: str
    classes = 10
    channels = 3
    size = (32, 32)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding = 4
    flips = True
    held_out = 5000

    def __init__(
        self,
        depth: int = 54,
        gamma: Gamma = 0.0,
        widths: tuple[int, ...] = (16, 32, 64),
        heads: Heads = "WS",
        smoothing: float = 0.0,
        data: str | Path | None = None,
    ):
        blocks = stages(depth, len(widths))
        architecture = Architecture(blocks, tuple(widths), self.channels, self.size, self.classes)
        super().__init__(
            parts(architecture, heads, self.mean, self.std),
            state_shape=architecture.state_shape,
            image_shape=(self.channels, *self.size),
            loss=CrossEntropy(smoothing),
            gamma=gamma,
        )
        self.architecture = architecture
        self.folder = data
        self._splits: dict[Split, Sample] = {}

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Layers:
        if n != max(self.depth, 1):
            raise ValueError(f"A network of depth {self.depth} takes as many steps, but got n={n}.")
        return layers(self.architecture, generator)

    def data(self, split: Split) -> Sample:
        device = self.readouts.batches.device
        if split not in self._splits or self._splits[split].x0.device != device:
            images, labels = self.load(split)
            self._splits[split] = Sample(images.to(device), labels.to(device))
        return self._splits[split]

    @abc.abstractmethod
    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Images as bytes, shape `(n, channels, height, width)`, and their labels."""

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        images, labels = self.data("train")
        assert labels is not None, "images have labels"
        index = torch.randint(len(labels), (batch_size,), generator=generator).to(images.device)
        return Sample(images[index], labels[index])

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        grey = [round(255 * mean) for mean in self.mean]
        images = shifted(sample.x0, self.padding, grey, generator)
        return Sample(flipped(images, generator) if self.flips else images, sample.target)


class _Torchvision(_Images):
    """A data set that torchvision knows."""

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        folder = Path(FOLDER if self.folder is None else self.folder)
        images, labels = map(
            torch.as_tensor, stored(self.name, folder, split != "test", self.folder is None)
        )
        images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
        images, labels = images.contiguous(), labels.long()
        if split != "test" and len(images) <= self.held_out:
            raise ValueError(
                f"{self.name} in {folder} has {len(images)} training images, but "
                f"{self.held_out} are held out for validation: it needs more."
            )
        if split == "train":
            return images[: -self.held_out], labels[: -self.held_out]
        if split == "validation":
            return images[-self.held_out :], labels[-self.held_out :]
        return images, labels


class Digits(_Images):
    """Recognise 8x8 scans of digits with a homogeneous ResNet; they ship inside scikit-learn."""

    name = "Digits"
    channels = 1
    size = (8, 8)
    mean = (0.3053,)
    std = (0.3762,)
    padding = 0
    flips = False

    def __init__(
        self,
        depth: int = 18,
        gamma: Gamma = 0.0,
        widths: tuple[int, ...] = (16,),
        heads: Heads = "WS",
        smoothing: float = 0.0,
    ):
        super().__init__(depth, gamma, widths, heads, smoothing)

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        images, labels = scans()[split]
        return (255 * images).round().to(torch.uint8).view(-1, 1, 8, 8), labels


class MNIST(_Torchvision):
    """Recognise handwritten digits (LeCun et al., 1998) with a ResNet."""

    name = "MNIST"
    channels = 1
    size = (28, 28)
    mean = (0.1307,)
    std = (0.3081,)
    padding = 0
    flips = False


class FashionMNIST(_Torchvision):
    """Recognise pieces of clothing (Xiao et al., 2017) with a ResNet."""

    name = "FashionMNIST"
    channels = 1
    size = (28, 28)
    mean = (0.2860,)
    std = (0.3530,)
    padding = 2


class CIFAR10(_Torchvision):
    """Recognise objects of ten classes (Krizhevsky, 2009) with a ResNet."""

    name = "CIFAR10"
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)


class CIFAR100(_Torchvision):
    """Recognise objects of a hundred classes (Krizhevsky, 2009) with a ResNet."""

    name = "CIFAR100"
    classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)


def shifted(
    images: Tensor, padding: int, grey: list[int], generator: torch.Generator | None
) -> Tensor:
    """Each image padded all round and cropped to its old size at a random place."""
    if padding == 0:
        return images
    n, channels, height, width = images.shape
    fill = images.new_tensor(grey)[:, None, None]
    padded = fill.expand(n, channels, height + 2 * padding, width + 2 * padding).clone()
    padded[..., padding:-padding, padding:-padding] = images
    device = images.device
    top, left = torch.randint(2 * padding + 1, (2, n, 1), generator=generator, device=device)
    rows = (top + torch.arange(height, device=device))[:, None, :, None]
    columns = (left + torch.arange(width, device=device))[:, None, None, :]
    every = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[every, channel, rows, columns]


def flipped(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    device = images.device
    mirror = torch.randint(2, (len(images), 1, 1, 1), generator=generator, device=device) > 0
    return torch.where(mirror, images.flip(-1), images)
