"""From C source to functions that Python can call, kept on disk for the next process."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from .formulas import Unsupported


FLAGS = (
    "-std=c11", "-O3", "-march=native", "-funroll-loops", "-fno-math-errno", "-fno-trapping-math",
    "-fPIC", "-shared",
)  # fmt: skip


@functools.cache
def compiler() -> str | None:
    """The C compiler: the one that `CC` names, or cc, gcc or clang; None if there is none."""
    names = [os.environ.get("CC", "cc"), "gcc", "clang"]
    return next((path for path in map(shutil.which, names) if path), None)


@functools.cache
def processor() -> str:
    """What the machine code is made for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({v for v in lines if v.startswith(("model name", "flags"))}))


def folder() -> Path:
    """Where compiled problems are kept: `OCNET_CACHE`, or the user's cache."""
    base = os.environ.get("OCNET_CACHE")
    if base is None:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ocnet"
    return Path(base) / "solve"


@functools.cache
def library(source: str) -> ctypes.CDLL:
    """The compiled source, from disk if it was compiled before.

    Raises:
        Unsupported: If there is no compiler, or it refuses.
    """
    command = compiler()
    if command is None:
        raise Unsupported("no C compiler was found")
    text = "\n".join([source, command, *FLAGS, processor()])
    path = folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.so"
    if not path.exists():
        build(command, source, path)
    return ctypes.CDLL(str(path))


def build(command: str, source: str, path: Path) -> None:
    """Compiles to a file that appears all at once, so that processes do not disturb each other."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=path.parent) as place:
            text, made = Path(place) / "kernel.c", Path(place) / "kernel.so"
            text.write_text(source)
            subprocess.run(
                [command, *FLAGS, str(text), "-o", str(made), "-lm"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            os.replace(made, path)
    except subprocess.CalledProcessError as error:
        raise Unsupported(f"the C compiler failed: {error.stderr.strip()[:500]}") from error
    except OSError as error:
        raise Unsupported(f"nothing can be compiled in {path.parent}: {error}") from error
