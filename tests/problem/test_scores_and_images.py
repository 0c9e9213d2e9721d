"""Scores of labels in every form, and image archives from elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, Tensor
from torch.nn import functional as F

from ocnet.images import stored
from ocnet.networks import Architecture, Classifier, CrossEntropy, parts, SquaredError
from problems.images import MNIST


class Logits(nn.Module):
    """A head that gives the state as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def classifier(classes: int, loss: Any = None) -> Classifier:
    """A classifier whose logits are its state."""
    architecture = Architecture((1,), (classes,), classes, (1, 1), classes)
    problem = Classifier(parts(architecture), state_shape=(classes, 1, 1), loss=loss)
    problem.head = Logits()
    return problem


LOGITS = torch.tensor([[2.0, 1.0, -1.0], [-1.0, 3.0, 1.0], [1.0, -2.0, 4.0]])


def score(target: Tensor, loss: Any = None) -> float | None:
    """The mean accuracy of `LOGITS`."""
    found = classifier(3, loss).score(LOGITS[:, :, None, None], target)
    return found["accuracy"].mean().item() if "accuracy" in found else None


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_labels_of_any_shape_and_type(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    labels = torch.tensor([0, 1, 1])
    given = labels.to(dtype).reshape(shape)
    assert score(given) == pytest.approx(2 / 3)
    torch.testing.assert_close(CrossEntropy()(LOGITS, given), CrossEntropy()(LOGITS, labels))
    torch.testing.assert_close(SquaredError()(LOGITS, given), SquaredError()(LOGITS, labels))
    problem = classifier(3)
    cost = problem.terminal_cost(LOGITS[:, :, None, None], given)
    torch.testing.assert_close(cost, F.cross_entropy(LOGITS, labels, reduction="none"))


def test_soft_and_multiple_labels() -> None:
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7], [0.0, 0.1, 0.9]])
    assert score(soft) == pytest.approx(2 / 3)
    # Of 9 decisions by the sign of the logit, the last one of the first sample is wrong, and the
    # first one of the third.
    several = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    assert score(several) == pytest.approx(7 / 9)
    assert score(several.long()) == pytest.approx(7 / 9)
    assert score(torch.tensor([0.5, 1.25, 3.0])) is None
    assert score(torch.randn(3, 3) * 5) is None
    assert score(torch.ones(3, 2)) is None
    assert classifier(3).score(LOGITS[:, :, None, None], None) == {}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([0.5, 1, 2]), "whole numbers, but got 0.5"),
        (torch.tensor([0, 1, 3], dtype=torch.int32), "0..2, but got 3"),
        (torch.tensor([[0.0], [-1.0], [2.0]]), "0..2, but got -1"),
        (torch.tensor([0, 1, 5]), "0..2, but got 5"),
    ],
)
def test_labels_that_cannot_be(labels: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classifier(3).terminal_cost(LOGITS[:, :, None, None], labels)


IMAGES = np.arange(6 * 784).reshape(6, 28, 28).astype(np.uint8)
COLOURS = np.arange(4 * 3072).reshape(4, 32, 32, 3).astype(np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9], np.uint8)


@pytest.mark.parametrize(
    "arrays",
    [
        {"train_images": IMAGES, "train_labels": LABELS},
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS},
        {"x_train": IMAGES.reshape(6, 784), "y_train": LABELS[:, None]},
        {"x_train": IMAGES[:, None], "y_train": LABELS.astype(float)},
        {"x_train": IMAGES[..., None].astype(np.float32), "y_train": LABELS.astype(np.int64)},
    ],
)
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_archives_from_elsewhere(arrays: dict[str, np.ndarray], name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / f"{name.lower()}.npz", **arrays)  # pyright: ignore[reportArgumentType]
    images, labels = stored(name, tmp_path, train=True)
    assert images.dtype == np.uint8 and np.array_equal(images, IMAGES)
    assert labels.dtype == np.int64 and labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("form", ["last", "first", "flat"])
def test_colours(form: str, tmp_path: Path) -> None:
    first = COLOURS.transpose(0, 3, 1, 2)
    images = {"last": COLOURS, "first": first, "flat": first.reshape(4, -1)}[form]
    np.savez(tmp_path / "cifar10.npz", x_test=images, y_test=LABELS[:4])
    assert np.array_equal(stored("CIFAR10", tmp_path, train=False)[0], COLOURS)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": IMAGES}, "must hold train_images and train_labels or .*holds images"),
        ({"x_train": IMAGES[:, :20], "y_train": LABELS}, r"x_train must have .*\(6, 20, 28\)"),
        ({"x_train": IMAGES, "y_train": LABELS[:4]}, r"y_train must have shape \(6,\).*\(4,\)"),
        ({"x_train": IMAGES / 255.0, "y_train": LABELS}, "x_train must be whole grey levels"),
        ({"x_train": IMAGES, "y_train": LABELS + 0.5}, "y_train must be whole numbers"),
    ],
)
def test_archives_that_hold_something_else(
    arrays: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=f"mnist.npz.*{said}"):
        stored("MNIST", tmp_path, train=True)


def test_a_damaged_archive_and_too_few_images(tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="mnist.npz cannot be read"):
        stored("MNIST", tmp_path, train=True)
    np.savez(tmp_path / "mnist.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    problem = MNIST(depth=2, widths=(4,), data=tmp_path)
    with pytest.raises(ValueError, match="6 training images, but 5000 are held out"):
        problem.data("train")
    assert len(problem.data("test").x0) == 6
