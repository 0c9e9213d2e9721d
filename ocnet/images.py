"""Image data sets in a folder: as arrays in NAME.npz, or as torchvision stores them."""

from pathlib import Path

import numpy as np


__all__ = ["stored"]


ARRAYS = {
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
"""The names of the arrays in an archive: ocnet's own, and those of Keras."""

SHAPES = {"MNIST": (28, 28, 1), "FashionMNIST": (28, 28, 1)}
"""Height, width and channels of an image, where they are not those of CIFAR."""

CIFAR = (32, 32, 3)


def stored(
    name: str, folder: Path, train: bool, download: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The images of a data set, as they are published, and their labels.

    The archive holds `train_images`, `train_labels`, `test_images` and `test_labels`, or `x_train`,
    `y_train`, `x_test` and `y_test` as that of Keras does; its images may be flat, or have their
    channels first.

    Arguments:
        name: Torchvision's name of the data set, such as "CIFAR10"; the archive is named after it
            in small letters.
        folder: Where it is.
        train: Whether to read the training or the test part.
        download: Whether torchvision may download it to the folder.

    Returns:
        The images as bytes, shape `(n, height, width)` or `(n, height, width, channels)`, and
        their labels, shape `(n,)`.

    Raises:
        FileNotFoundError: If the data set is not there; its line says what to do.
        ValueError: If the archive holds something else.
    """
    archive = folder / f"{name.lower()}.npz"
    if archive.is_file():
        return read(archive, "train" if train else "test", SHAPES.get(name, CIFAR))
    # Imported only here: torchvision works only with the build of torch that it was made for, and
    # those who have the arrays or use other problems do not need it.
    from torchvision import datasets

    try:
        data = getattr(datasets, name)(str(folder), train=train, download=download)
    except (RuntimeError, OSError) as error:
        why, advice = "", "."
        if download:
            why = f", and the download failed ({type(error).__name__})"
            advice = ", or go online and leave --data out."
        raise FileNotFoundError(
            f"{name} is not in {folder}{why}: name a folder that holds {archive.name} or "
            f"torchvision's files with --data DIR{advice}"
        ) from None
    return np.asarray(data.data), np.asarray(data.targets)


def read(archive: Path, part: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of an archive.

    Arguments:
        archive: The file.
        part: "train" or "test".
        shape: Height, width and channels of an image.

    Raises:
        ValueError: If it is damaged, or its arrays have other names, shapes or types.
    """
    try:
        with np.load(archive) as arrays:
            found = {key: arrays[key] for pair in ARRAYS[part] for key in pair if key in arrays}
            names = ", ".join(arrays.files)
    except Exception as error:
        raise ValueError(f"{archive} cannot be read as an archive of arrays: {error}") from None
    for images, labels in ARRAYS[part]:
        if images in found and labels in found:
            x = as_images(archive, images, found[images], shape)
            return x, as_classes(archive, labels, found[labels], len(x))
    expected = " or ".join(" and ".join(pair) for pair in ARRAYS[part])
    raise ValueError(f"{archive} must hold {expected}, but it holds {names or 'nothing'}.")


def as_images(
    archive: Path, name: str, images: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """Images as bytes with their channels last, or without channels where there is one.

    Arguments:
        archive: The file.
        name: The name of the array in it.
        images: The array.
        shape: Height, width and channels of an image.

    Raises:
        ValueError: If they have another shape, or are not grey levels from 0 to 255.
    """
    height, width, channels = shape
    size = images.shape[1:]
    if size == (channels, height, width) or size == (channels * height * width,):
        # Flat images are published with one channel after the other, too.
        images = images.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    elif channels == 1 and size == (height, width):
        images = images[..., None]
    elif size != shape:
        raise ValueError(
            f"{archive}: {name} must have shape (n, {', '.join(map(str, shape))}), its channels "
            f"first, or flat, but has {images.shape}."
        )
    if images.dtype != np.uint8:
        exact = np.issubdtype(images.dtype, np.number) and bool(np.all(images == images.round()))
        if not exact or images.size and not 0 <= images.min() <= images.max() <= 255:
            raise ValueError(
                f"{archive}: {name} must be whole grey levels from 0 to 255, but is "
                f"{images.dtype} from {images.min()} to {images.max()}."
            )
        images = images.astype(np.uint8)
    return images[..., 0] if channels == 1 else images


def as_classes(archive: Path, name: str, labels: np.ndarray, n: int) -> np.ndarray:
    """Labels as integers, shape `(n,)`.

    Arguments:
        archive: The file.
        name: The name of the array in it.
        labels: The array, which may be a column.
        n: How many images there are.

    Raises:
        ValueError: If there are not `n` labels, or they are not whole numbers.
    """
    if labels.shape not in ((n,), (n, 1)):
        raise ValueError(f"{archive}: {name} must have shape ({n},), but has {labels.shape}.")
    labels = labels.reshape(n)
    if not np.issubdtype(labels.dtype, np.number) or bool((labels != np.round(labels)).any()):
        raise ValueError(f"{archive}: {name} must be whole numbers, but is {labels.dtype}.")
    return labels.astype(np.int64)
