"""Where a result comes from: versions, hardware, command, git revision, the user's own code."""

import ast
import functools
import hashlib
import inspect
import os
import platform
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch


__all__ = ["provenance"]


PACKAGES = ("ocnet", "torch", "torchdiffeq", "torchvision", "numpy", "scipy", "safetensors")

NO_PROGRAMS = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""Git's options that keep a repository from naming programs to run."""

NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
"""Git's environment in which it fetches nothing and writes nothing."""


def provenance(device: torch.device) -> dict[str, Any]:
    """What one needs to know to get the same result again, as plain values."""
    return {
        "command": sys.argv,
        "git": git_revision(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        **environment(device),
    }


def environment(device: torch.device) -> dict[str, Any]:
    """What rounding errors depend on: versions, threads and hardware."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "library": library(),
        "device": f"{device.type} {name}",
        "threads": torch.get_num_threads(),
    }


def version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def library() -> str:
    """A digest of ocnet's own source, which tells two states of one version apart."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def git_revision() -> str | None:
    """The revision of the working directory's repository, marked if there are changes; or None.

    The repository may be a stranger's: nothing that its configuration names is run, neither a
    monitor of the file system, nor hooks, filters, external programs for differences or transports.
    """
    revision = git("rev-parse", "--verify", "HEAD")
    if revision is None or revision.returncode != 0:
        return None
    filters = git("config", "--name-only", "--get-regexp", r"^filter\.")
    names = {line.rpartition(".")[0] for line in (filters.stdout.split("\n") if filters else ())}
    quiet = [f"{name}.{key}" for name in names if name for key in ("clean=", "process=")]
    quiet += [f"{name}.required=false" for name in names if name]
    options = [word for setting in quiet for word in ("-c", setting)]
    plain = ("--quiet", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all")
    changed = git(*options, "diff", *plain, "HEAD", "--")
    is_dirty = changed is None or changed.returncode != 0
    return revision.stdout.strip() + ("-dirty" if is_dirty else "")


def git(*words: str) -> subprocess.CompletedProcess[str] | None:
    """What git answers without running any other program; None if git cannot be run."""
    try:
        return subprocess.run(
            ["git", *NO_PROGRAMS, *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            env={**os.environ, **NO_TRANSPORT},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def namespaces(kind: type) -> dict[str, dict[str, Any]]:
    """The user's modules in which a class is written, and those that they import, by name.

    Starts at the class and its bases; follows import statements, and the modules, classes and
    functions that the modules' names stand for. What is installed is left out, and ocnet itself.
    """
    found: dict[str, dict[str, Any]] = {}
    todo: list[Any] = list(kind.__mro__)
    while todo:
        for space in spaces_of(todo.pop()):
            name = space.get("__name__")
            if name not in found and is_own(space.get("__file__")):
                found[str(name)] = space
                todo += [v for v in space.values() if isinstance(v, FOLLOWED)]
                todo += imported(space)
    return found


FOLLOWED = (ModuleType, type, FunctionType)
"""The kinds of objects in a module that lead to other modules."""


def spaces_of(value: Any) -> list[dict[str, Any]]:
    """The namespaces of a module, or those in which a class or a function was written."""
    if isinstance(value, ModuleType):
        return [vars(value)]
    if isinstance(value, FunctionType):
        # What a decorator wraps need not be a Python function.
        space = getattr(inspect.unwrap(value), "__globals__", None)
        return [] if space is None else [space]
    # Found by the methods, because a file run under a name already taken is not in `sys.modules`.
    spaces = [
        space for v in vars(value).values() if isinstance(v, FunctionType) for space in spaces_of(v)
    ]
    module = sys.modules.get(value.__module__)
    if not spaces and module is not None:
        spaces = [vars(module)]
    return spaces


def imported(space: dict[str, Any]) -> list[ModuleType]:
    """The modules named in a file's import statements, as far as they were imported."""
    try:
        statements = list(ast.walk(ast.parse(Path(space["__file__"]).read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return []
    names: list[str] = []
    for statement in statements:
        if isinstance(statement, ast.Import):
            names += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            # A relative name starts at the package, one level up for each further dot.
            parts = (space.get("__package__") or "").split(".")
            start = parts[: len(parts) - statement.level + 1] if statement.level else []
            place = ".".join([*start, *([statement.module] if statement.module else [])])
            names += [place, *(f"{place}.{alias.name}" for alias in statement.names)]
    return [sys.modules[name] for name in names if name in sys.modules]


def is_own(file: str | None) -> bool:
    """Whether a file is the user's own code: neither installed nor part of ocnet."""
    return file is not None and not any(Path(file).is_relative_to(root) for root in installed())


@functools.cache
def installed() -> tuple[Path, ...]:
    """Where installed code is: the standard library, packages, ocnet."""
    paths = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    others = [torch.__file__, str(Path(__file__).parent / "x")]
    return tuple(map(Path, paths)) + tuple(Path(other).parent for other in others)


def sources(kind: type) -> dict[str, str]:
    """SHA-256 of each file of the user's own code that a class is made of, by module."""
    return {
        name: hashlib.sha256(Path(space["__file__"]).read_bytes()).hexdigest()
        for name, space in sorted(namespaces(kind).items())
        if Path(space["__file__"]).is_file()
    }
