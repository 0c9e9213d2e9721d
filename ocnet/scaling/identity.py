"""A study's settings as a text that is the same in every process and on every machine."""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch


PLAIN = (bool, int, float, complex, str, bytes, type(None))


def identity(value: Any) -> str:
    """A text that is the same for equal settings, in every process.

    For a dataclass, the text holds the fields that take part in its comparison
    (`field(compare=False)` leaves out what does not change the numbers, such as where the data
    are); for a function, its code with what it closes over, not its address; for a path, where it
    leads, not its spelling.

    Raises:
        TypeError: For an object whose text is no more than its address.
    """
    if isinstance(value, np.generic):
        return identity(value.item())
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, Path):
        return f"Path({str(value.expanduser().resolve())!r})"
    if isinstance(value, (np.ndarray, torch.Tensor)):
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        return f"array({array.dtype}, {array.shape}, {short(array.tobytes())})"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = [f for f in dataclasses.fields(value) if f.compare]
        inside = ", ".join(f"{f.name}={identity(getattr(value, f.name))}" for f in fields)
        return f"{type(value).__qualname__}({inside})"
    if isinstance(value, Mapping):
        pairs = sorted((identity(key), identity(one)) for key, one in value.items())
        return "{" + ", ".join(f"{key}: {one}" for key, one in pairs) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(identity, value))) + "}"
    if isinstance(value, Sequence):
        return f"{type(value).__name__}[{', '.join(map(identity, value))}]"
    if callable(value):
        return of_function(value)
    return of_object(value)


def of_function(function: Any) -> str:
    """A function's name, and a digest of its code, its defaults and what it closes over."""
    if isinstance(function, functools.partial):
        parts = (function.func, function.args, function.keywords)
        return f"partial({', '.join(map(identity, parts))})"
    if isinstance(function, types.MethodType):
        return f"{identity(function.__self__)}.{function.__name__}"
    if not isinstance(function, types.FunctionType):
        return of_object(function)
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    bound = (of_code(function.__code__), function.__defaults__, function.__kwdefaults__, cells)
    return f"{function.__module__}.{function.__qualname__}({short(identity(bound).encode())})"


def of_code(code: types.CodeType) -> str:
    """What a function does, without its line numbers."""
    constants = [
        of_code(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def of_object(value: Any) -> str:
    """How an object prints; a TypeError if that is its address."""
    text = repr(value)
    if hex(id(value))[2:] in text.lower() or " at 0x" in text:
        raise TypeError(
            "A setting of a study must say what it is, as a dataclass or a function does, but "
            f"got {text}."
        )
    return text


def short(content: bytes) -> str:
    """A short digest."""
    return hashlib.sha256(content).hexdigest()[:12]
