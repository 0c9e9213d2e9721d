"""Image problems: splits, augmentation, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ocnet import Euler, evaluate
from problems.images import CIFAR10, Digits, flipped, MNIST, shifted


def test_digits_are_bytes_in_three_splits() -> None:
    problem = Digits(depth=2, widths=(4,))
    counts = {}
    for split in ("train", "validation", "test"):
        images, labels = problem.data(split)
        assert labels is not None and images.dtype == torch.uint8
        assert images.shape[1:] == (1, 8, 8) and labels.unique().tolist() == list(range(10))
        counts[split] = len(images)
    assert sum(counts.values()) == 1797
    train = problem.data("train").x0 / 255
    assert train.mean().item() == pytest.approx(problem.mean[0], abs=1e-3)
    assert train.std().item() == pytest.approx(problem.std[0], abs=1e-3)


def test_digits_have_a_cost_and_an_accuracy(generator: torch.Generator) -> None:
    problem = Digits(depth=4, widths=(4,), gamma=0.1)
    control = problem.initial_control(4, generator)
    sample = problem.sample(6, generator)
    cost, trajectory = evaluate(problem, control, Euler(4), sample)
    assert cost.shape == (6,)
    right = problem.score(trajectory.states[-1], sample.target)["accuracy"]
    assert set(right.tolist()) <= {0.0, 1.0}
    with pytest.raises(ValueError, match="takes as many steps, but got n=5"):
        problem.initial_control(5)


def write_cifar(folder: Path, n: int = 5010) -> np.ndarray:
    images = np.random.default_rng(0).integers(256, size=(n, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(n) % 10
    np.savez(
        folder / "cifar10.npz",
        train_images=images, train_labels=labels, test_images=images[:7], test_labels=labels[:7],
    )  # fmt: skip
    return images


def test_cifar_from_a_folder(tmp_path: Path) -> None:
    images = write_cifar(tmp_path)
    problem = CIFAR10(depth=3, data=tmp_path)
    assert problem.data("train").x0.shape == (10, 3, 32, 32)
    assert problem.data("validation").x0.shape == (5000, 3, 32, 32)
    test = problem.data("test")
    assert (test.x0.permute(0, 2, 3, 1).numpy() == images[:7]).all()


def test_missing_data_gets_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    for problem in (CIFAR10(depth=3, data=tmp_path), MNIST(depth=3, data=str(tmp_path))):
        with pytest.raises(FileNotFoundError, match="is not in .*--data DIR") as error:
            problem.data("train")
        assert "\n" not in str(error.value)


def test_shifts_crop_the_padded_image(generator: torch.Generator) -> None:
    images = torch.randint(256, (50, 2, 6, 5), generator=generator, dtype=torch.uint8)
    grey, padding = [7, 9], 2
    moved = shifted(images, padding, grey, generator)
    assert moved.shape == images.shape and moved.dtype == torch.uint8
    padded = torch.empty(50, 2, 10, 9, dtype=torch.uint8)
    padded[:] = torch.tensor(grey)[:, None, None]
    padded[..., 2:-2, 2:-2] = images
    places = set()
    for old, new in zip(padded, moved, strict=True):
        found = [
            (i, j) for i in range(5) for j in range(5) if old[:, i : i + 6, j : j + 5].equal(new)
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 15


def test_flips_mirror_about_half_of_the_images(generator: torch.Generator) -> None:
    images = torch.randint(256, (400, 1, 3, 4), generator=generator, dtype=torch.uint8)
    mirrored = [
        new.equal(old.flip(-1)) for old, new in zip(images, flipped(images, generator), strict=True)
    ]
    kept = [new.equal(old) for old, new in zip(images, flipped(images, generator), strict=True)]
    assert 150 < sum(mirrored) < 250 and 150 < sum(kept) < 250
