"""Image problems: splits, augmentation, and what is missing."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ocnet import Euler, evaluate
from problems.images import CIFAR10, CIFAR100, Digits, FashionMNIST, flipped, MNIST, shifted


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


def write_idx(path: Path, values: np.ndarray) -> None:
    """The format of MNIST's files: type and rank, sizes in big-endian order, bytes."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.mark.parametrize("Problem", [MNIST, FashionMNIST])
def test_idx_files_of_torchvision(Problem: type[MNIST], tmp_path: Path) -> None:
    folder = tmp_path / Problem.name / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    written = {}
    for prefix, n in (("train", 5003), ("t10k", 4)):
        images = generator.integers(256, size=(n, 28, 28), dtype=np.uint8)
        labels = generator.integers(10, size=n)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
        written[prefix] = images, labels
    problem = Problem(depth=3, data=tmp_path)
    train, test = written["train"], written["t10k"]
    expected = [("train", train, slice(3)), ("validation", train, slice(3, None)),
                ("test", test, slice(None))]  # fmt: skip
    for split, (images, labels), some in expected:
        sample = problem.data(split)  # pyright: ignore[reportArgumentType]
        assert sample.x0.dtype == torch.uint8 and sample.target is not None
        assert (sample.x0[:, 0].numpy() == images[some]).all()
        assert (sample.target.numpy() == labels[some]).all()


@pytest.mark.parametrize(("Problem", "key"), [(CIFAR10, b"labels"), (CIFAR100, b"fine_labels")])
def test_pickled_batches_of_torchvision(
    Problem: type[CIFAR10], key: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row holds the bytes of red, then of green, then of blue, each line after line."""
    cifar = pytest.importorskip("torchvision.datasets.cifar")
    # The sums of the real files.
    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())
    dataset = getattr(cifar, Problem.name)
    folder = tmp_path / dataset.base_folder
    folder.mkdir()
    generator, parts = np.random.default_rng(0), []
    for name, _ in (*dataset.train_list, *dataset.test_list):
        n = 5010 // len(dataset.train_list) if name != dataset.test_list[0][0] else 7
        rows = generator.integers(256, size=(n, 3072), dtype=np.uint8)
        labels = generator.integers(Problem.classes, size=n).tolist()
        coarse = [0] * n
        entry = {b"data": rows, key: labels, b"coarse_labels": coarse}
        (folder / name).write_bytes(pickle.dumps({k.decode(): v for k, v in entry.items()}))
        parts.append((rows.reshape(n, 3, 32, 32), labels))
    names = {dataset.meta["key"]: [str(i) for i in range(Problem.classes)]}
    (folder / dataset.meta["filename"]).write_bytes(pickle.dumps(names))
    problem = Problem(depth=3, data=tmp_path)
    images = np.concatenate([rows for rows, _ in parts[:-1]])
    labels = [label for _, some in parts[:-1] for label in some]
    train, validation, test = (problem.data(s) for s in ("train", "validation", "test"))
    assert len(validation.x0) == 5000
    assert (torch.cat([train.x0, validation.x0]).numpy() == images).all()
    assert train.target is not None and validation.target is not None and test.target is not None
    assert torch.cat([train.target, validation.target]).tolist() == labels
    assert (test.x0.numpy() == parts[-1][0]).all() and test.target.tolist() == parts[-1][1]


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
