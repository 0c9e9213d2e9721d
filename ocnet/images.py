"""Image data sets in a folder: as arrays in NAME.npz, or as torchvision stores them."""

from pathlib import Path

import numpy as np


def stored(
    name: str, folder: Path, train: bool, download: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The images of a data set, as they are published, and their labels.

    The archive holds `train_images`, `train_labels`, `test_images` and `test_labels`.

    Arguments:
        name: Torchvision's name of the data set, such as "CIFAR10"; the archive is named after it
            in small letters.
        folder: Where it is.
        train: Whether to read the training or the test part.
        download: Whether torchvision may download it to the folder.

    Raises:
        FileNotFoundError: If the data set is not there; its line says what to do.
    """
    archive = folder / f"{name.lower()}.npz"
    if archive.is_file():
        part = "train" if train else "test"
        with np.load(archive) as arrays:
            return arrays[f"{part}_images"], arrays[f"{part}_labels"]
    # Not above: torchvision only imports beside the build of torch that it was made for, and
    # whoever has the arrays or uses other problems can do without.
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
