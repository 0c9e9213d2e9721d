"""Images to classify as vectors: handwritten digits, MNIST, CIFAR-10; with a validation split."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ...problem import Sample


DATA = ("digits", "mnist", "cifar10")


class Images(NamedTuple):
    """A data set in three parts: to train on, to choose on, to report."""

    train: Sample
    validation: Sample
    test: Sample


def images(name: str, folder: Path | None = None) -> Images:
    """A data set as vectors, each entry standardised by mean and deviation of the training part.

    Arguments:
        name: "digits" (8x8 scans that ship inside scikit-learn), "mnist" or "cifar10".
        folder: Where torchvision finds MNIST or CIFAR-10.

    Raises:
        ValueError: If the name is not known or the folder is missing.
    """
    if name == "digits":
        inputs, labels = load_digits(return_X_y=True)
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
        first, second = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
        train = pair(inputs, labels, first)
        test = pair(inputs, labels, second)
    elif name in DATA:
        if folder is None:
            raise ValueError(f"{name} is read from a folder: give --data DIR.")
        train, test = (read(name, folder, train) for train in (True, False))
    else:
        raise ValueError(f"data must be one of {', '.join(DATA)}, but got {name!r}.")
    return split(train, test)


def read(name: str, folder: Path, train: bool) -> Sample:
    """The training or the test part of a data set of torchvision."""
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}[name]
    try:
        data = kind(str(folder), train=train, download=False)
    except RuntimeError as error:
        raise ValueError(f"{folder} does not hold {name} as torchvision stores it.") from error
    inputs, labels = np.asarray(data.data), np.asarray(data.targets)
    return pair(inputs.reshape(len(inputs), -1), labels, torch.arange(len(labels)))


def pair(inputs: np.ndarray, labels: np.ndarray, index: Tensor) -> Sample:
    """Some of the inputs and their labels."""
    return Sample(torch.from_numpy(inputs).float()[index], torch.from_numpy(labels).long()[index])


def split(train: Sample, test: Sample) -> Images:
    """A sixth of the training part set aside to choose on, all inputs standardised."""
    (x, y), (x_test, y_test) = train, test
    assert y is not None, "images have labels"
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(y)))
    fit, choose = order[len(y) // 6 :], order[: len(y) // 6]
    mean, std = x[fit].mean(), x[fit].std()
    return Images(
        Sample((x[fit] - mean) / std, y[fit]),
        Sample((x[choose] - mean) / std, y[choose]),
        Sample((x_test - mean) / std, y_test),
    )
