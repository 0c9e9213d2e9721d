"""Checkpoints: one safetensors file with the state's structure as JSON, written in one piece.

Nothing in such a file is ever run: tensors are plain bytes and the rest is JSON. A file gets its
name only once all of it is on the disk, and it holds a checksum of all its values. So a
file that can be read holds what was written.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open, SafetensorError
from safetensors.torch import save
from torch import Tensor

from .._arguments import check_kind
from ..errors import OcnetError


FORMAT = 2
"""The version of the checkpoint format; it increases when older ones can no longer be read."""

PART = ".part"
"""The ending of the name of a file that is still being written."""


class CheckpointError(OcnetError, ValueError):
    """A checkpoint that cannot be read, is damaged, or belongs to something else."""


def save_checkpoint(path: Path, state: Any) -> None:
    """Writes nested dictionaries and lists of tensors, numbers and strings, all or nothing.

    Raises:
        OSError: If the disk is full or cannot be written; what was at `path` is still there.
    """
    check_kind("path", path, Path)
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(encode(state, tensors))
    header = json.dumps(
        {"format": FORMAT, "sha256": checksum(structure, tensors), "state": structure}
    )
    # One entry only: safetensors writes several in random order.
    write_whole(path, save(tensors, metadata={"ocnet": header}))


def load_checkpoint(path: Path) -> Any:
    """Reads back what `save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: If the file is not a checkpoint of this version, or is damaged.
        OSError: If there is no file.
    """
    check_kind("path", path, Path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: in the mapped file, tensors lie at odd addresses, where sums over them are
            # rounded differently from sums over tensors that torch places itself.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}.") from None
    if "ocnet" not in metadata:
        raise CheckpointError(f"{path} is not a checkpoint of ocnet.")
    try:
        header = json.loads(metadata["ocnet"])
        if header["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has checkpoint format {header['format']}, but this version reads {FORMAT}."
            )
        if checksum(header["state"], tensors) != header["sha256"]:
            raise CheckpointError(f"{path} is damaged: its values do not have its checksum.")
        return decode(json.loads(header["state"]), tensors)
    except CheckpointError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} has a header that is not one of a checkpoint.") from None


def checksum(structure: str, tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of the structure and of the types, shapes and bytes of the tensors."""
    digest = hashlib.sha256(structure.encode())
    for name, z in sorted(tensors.items()):
        digest.update(f"\n{name} {z.dtype} {tuple(z.shape)}\n".encode())
        digest.update(z.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def encode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The structure of a state as JSON; its tensors are collected under their number.

    Dictionaries become lists of pairs, since an optimiser's have integers as keys.
    """
    if isinstance(tree, Tensor):
        name = str(len(tensors))
        # A copy of each: parts of one storage, as L-BFGS has them, could not be written.
        tensors[name] = tree.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": [[key, encode(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        return [encode(value, tensors) for value in tree]
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"A checkpoint holds tensors, numbers and text, not {type(tree).__name__}.")


def decode(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """The state that `encode` took apart."""
    if isinstance(structure, list):
        return [decode(value, tensors) for value in structure]
    if not isinstance(structure, dict):
        return structure
    if "tensor" in structure:
        return tensors[structure["tensor"]]
    return {key: decode(value, tensors) for key, value in structure["dict"]}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that gets its name only once all of it is on the disk."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    # The new name itself is on the disk only once its folder is.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
