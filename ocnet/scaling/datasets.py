"""Images to classify as vectors: handwritten digits, MNIST, CIFAR-10; with a validation split."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._arguments import check_count
from ..images import stored
from ..problem import Sample


DATA = ("digits", "mnist", "cifar10")


class Images(NamedTuple):
    """A data set in three parts: to train on, to choose on, and to report on."""

    train: Sample
    validation: Sample
    test: Sample


def load_images(name: str, folder: Path | None = None, count: int | None = None) -> Images:
    """A data set as vectors, each entry standardised by mean and deviation of the training part.

    Arguments:
        name: "digits" (8x8 scans that ship inside scikit-learn), "mnist" or "cifar10".
        folder: The folder with MNIST or CIFAR-10, as torchvision stores it or as NAME.npz.
        count: How many images to keep at most in each of the three parts.

    Raises:
        TypeError, ValueError, FileNotFoundError: If the name is not known, the folder or the data
            set in it is missing, or the count is not positive.
    """
    if count is not None:
        check_count("count", count)
    if name == "digits":
        # Not above: scikit-learn takes more than half a second to import.
        from sklearn.datasets import load_digits

        inputs, labels = load_digits(return_X_y=True)
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
        first, second = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
        train = pair(inputs, labels, first)
        test = pair(inputs, labels, second)
    elif name in DATA:
        if folder is None:
            raise ValueError(f"{name} is read from a folder: give --data DIR.")
        train, test = (
            pair(x.reshape(len(x), -1), y, torch.arange(len(y)))
            for x, y in (stored(name.upper(), folder, part) for part in (True, False))
        )
    else:
        raise ValueError(f"data must be one of {', '.join(DATA)}, but got {name!r}.")
    return split(train, test, count)


def pair(inputs: np.ndarray, labels: np.ndarray, index: Tensor) -> Sample:
    """Some of the inputs and their labels."""
    return Sample(torch.from_numpy(inputs).float()[index], torch.from_numpy(labels).long()[index])


def split(train: Sample, test: Sample, count: int | None = None) -> Images:
    """A sixth of the training part set aside to choose on, all inputs standardised.

    Arguments:
        train, test: The two parts as they are published.
        count: How many images of each of the three parts to keep at most.
    """
    (x, y), (x_test, y_test) = train, test
    assert y is not None and y_test is not None, "images have labels"
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(y)))
    fit, choose = order[len(y) // 6 :][:count], order[: len(y) // 6][:count]
    # In the published order, images may be sorted by class.
    report = torch.from_numpy(np.random.default_rng(2).permutation(len(y_test)))[:count]
    x_test, y_test = x_test[report], y_test[report]
    mean, std = x[fit].mean(), x[fit].std()
    return Images(
        Sample((x[fit] - mean) / std, y[fit]),
        Sample((x[choose] - mean) / std, y[choose]),
        Sample((x_test - mean) / std, y_test),
    )
