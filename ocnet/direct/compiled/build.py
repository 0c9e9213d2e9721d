"""From C source to functions that Python can call, kept on disk for the next process."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..compiled import cache
from .formulas import Unsupported


FLAGS = (
    "-std=c11", "-O3", "-march=native", "-funroll-loops", "-fno-math-errno", "-fno-trapping-math",
    "-fPIC", "-shared",
)  # fmt: skip

FUNCTIONS = ("iterate", "derivatives", "rollout", "adjoint")
"""The functions that every library holds."""


@functools.cache
def compiler() -> str | None:
    """The C compiler: the one that `CC` names, or cc, gcc or clang; None if there is none."""
    names = [os.environ.get("CC", "cc"), "gcc", "clang"]
    return next((path for path in map(shutil.which, names) if path), None)


@functools.cache
def processor() -> str:
    """A text that identifies the processor that the machine code is made for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({v for v in lines if v.startswith(("model name", "flags"))}))


@functools.cache
def library(source: str) -> ctypes.CDLL:
    """The compiled source, from disk if it was compiled before.

    A file on disk that is damaged or cannot be loaded is made anew.

    Raises:
        Unsupported: If there is no compiler, it refuses, or what it makes cannot be loaded.
        UnsafeCache: If somebody else could have written what is on disk.
    """
    if os.name != "posix":
        raise Unsupported("machine code needs a POSIX system")
    command = compiler()
    if command is None:
        raise Unsupported("no C compiler was found")
    text = "\n".join([source, command, *FLAGS, processor()])
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    with cache.opened() as folder:
        code = None if folder is None else cache.read(folder, name)
        if code is not None:
            with contextlib.suppress(OSError):
                return loaded(code)
        code = built(command, source)
        try:
            found = loaded(code)
        except OSError as error:
            raise Unsupported(f"the machine code cannot be loaded: {error}") from error
        if folder is not None:
            cache.write(folder, name, code)
    return found


def built(command: str, source: str) -> bytes:
    """The library that the compiler makes from C source, as bytes.

    Raises:
        Unsupported: If it refuses, or there is no room to work in.
    """
    try:
        with tempfile.TemporaryDirectory() as place:
            text, made = Path(place) / "kernel.c", Path(place) / "kernel.so"
            text.write_text(source)
            subprocess.run(
                [command, *FLAGS, str(text), "-o", str(made), "-lm"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            return made.read_bytes()
    except subprocess.CalledProcessError as error:
        raise Unsupported(f"the C compiler failed: {error.stderr.strip()[:500]}") from error
    except OSError as error:
        raise Unsupported(f"nothing can be compiled: {error}") from error


def loaded(code: bytes) -> ctypes.CDLL:
    """A library from its bytes, mapped from a copy that nobody can change or shorten any more.

    The copy lies in unnamed memory, so that mounts without the right to run code do not matter, or
    else in a temporary folder that is removed at once. Its path is never used again, because the
    loader returns an old library for an old path.

    Raises:
        OSError: If it cannot be loaded, or is not a library of ours.
    """
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "kernel.so"
        try:
            found = mapped(code, path)
        except (OSError, AttributeError):
            path.unlink(missing_ok=True)
            path.write_bytes(code)
            found = ctypes.CDLL(str(path))
    missing = [name for name in FUNCTIONS if not hasattr(found, name)]
    if missing:
        raise OSError(f"it lacks {', '.join(missing)}")
    return found


def mapped(code: bytes, path: Path) -> ctypes.CDLL:
    """A library from memory without a name, by way of a link at `path`.

    Raises:
        OSError, AttributeError: If the system has no such memory, or cannot run code there.
    """
    memory = os.memfd_create("ocnet", os.MFD_CLOEXEC)
    with open(memory, "wb") as file:
        file.write(code)
        file.flush()
        path.symlink_to(f"/proc/self/fd/{memory}")
        return ctypes.CDLL(str(path))
