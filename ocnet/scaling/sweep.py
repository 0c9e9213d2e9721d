"""Experiments in independent chunks: saved as they finish, resumed where they stopped."""

import abc
import json
import os
import time
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed, Executor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .._arguments import check_all, check_kind
from ..origin import library, sources, version
from .identity import identity, short


Arrays = dict[str, np.ndarray]
"""Named arrays; those of several chunks are joined along their first axis."""


class Study(abc.ABC):
    """A numerical experiment that falls into independent chunks.

    A study is a frozen dataclass: its fields are the settings, which tell the chunks of one study
    from those of another in the same folder. Fields with `compare=False` are left out: the
    numbers do not depend on them. Examples are where the data are and how much runs at a time.
    Chunks have a fixed size, so that a study begun on one machine can continue on another.
    """

    seed: int

    @abc.abstractmethod
    def n_chunks(self) -> int:
        """How many chunks there are."""

    @abc.abstractmethod
    def compute(self, chunk: int) -> Arrays:
        """The arrays of one chunk, the same at every call and on every machine."""

    @abc.abstractmethod
    def axes(self) -> Arrays:
        """The values that the axes of the joined arrays stand for."""

    def data_digest(self) -> str:
        """A digest of the data that the numbers depend on, wherever they lie; "" without any."""
        return ""

    def generator(self, chunk: int) -> torch.Generator:
        """A source of randomness for one chunk, independent of those of the others."""
        (state,) = np.random.SeedSequence([self.seed, chunk]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state) >> 1)


def run_study(
    study: Study, folder: Path, *, executor: Executor | None = None, progress: bool = True
) -> Arrays:
    """The arrays of a study; chunks that the folder holds already are read, not computed.

    Besides the arrays of the study there is `seconds`, the wall time each chunk took when it was
    computed. A chunk notes the settings, the versions and the source that it was computed with. If
    they differ now, or the chunk is damaged, it is computed again, and a warning says so.

    Arguments:
        study: Which networks are drawn, and what is measured.
        folder: Where the chunks are saved.
        executor: What computes them: this process by default, or the `concurrent.futures`
            interface of any engine, such as `dask.distributed.Client(...).get_executor()` for
            many machines.
        progress: Whether to show a progress bar on a terminal.
    """
    check_kind("study", study, Study)
    check_kind("folder", folder, Path)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{digest(study)}-{chunk:04d}.npz" for chunk in range(study.n_chunks())]
    expected = record(study)
    missing = [chunk for chunk, file in enumerate(files) if not is_of(file, expected)]
    with tqdm(
        total=len(files),
        initial=len(files) - len(missing),
        unit="chunk",
        disable=None if progress else True,
    ) as bar:
        if executor is None:
            for chunk in missing:
                save_arrays(files[chunk], timed(study, chunk))
                bar.update()
        else:
            futures = {executor.submit(timed, study, chunk): chunk for chunk in missing}
            for future in as_completed(futures):
                save_arrays(files[futures[future]], future.result())
                bar.update()
    chunks = [load(file) for file in files]
    for arrays in chunks:
        del arrays[RECORD]
    return joined(chunks) | study.axes()


def timed(study: Study, chunk: int) -> Arrays:
    """The arrays of a chunk and how long they took."""
    start = time.perf_counter()
    arrays = study.compute(chunk)
    seconds = np.array([time.perf_counter() - start])
    return arrays | {"seconds": seconds, RECORD: np.array([record(study)])}


RECORD = "computed_with"
"""The array of a chunk that says what it was computed with."""


def record(study: Study) -> str:
    """What the numbers of a chunk depend on, as JSON: settings, versions, the study's source."""
    versions = {name: version(name) for name in ("ocnet", "torch", "numpy")}
    found = {
        "study": identity(study),
        "data": study.data_digest(),
        **versions,
        "library": library(),
        **sources(type(study)),
    }
    return json.dumps(found, sort_keys=True)


def is_of(file: Path, expected: str) -> bool:
    """Whether a file is a chunk computed with the current settings, versions and source."""
    if not file.exists():
        return False
    try:
        arrays = load(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        warnings.warn(f"{file} is damaged, and computed again.", stacklevel=3)
        return False
    then = json.loads(str(arrays[RECORD][0])) if RECORD in arrays else {}
    now = json.loads(expected)
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if changed:
        names = ", ".join(changed)
        warnings.warn(f"{file} was computed with another {names}: again.", stacklevel=3)
    return not changed


def digest(study: Study) -> str:
    """A short name for the study's settings."""
    return short(identity(study).encode())


def save_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays to a file that is either complete or absent, whenever the program stops."""
    check_kind("file", file, Path)
    check_all("arrays", arrays, np.ndarray)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    os.replace(partial, file)


def load(file: Path) -> Arrays:
    """The arrays in a file."""
    with file.open("rb") as stream, np.load(stream) as arrays:
        return dict(arrays)


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Arrays of several chunks, joined along their first axis."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
