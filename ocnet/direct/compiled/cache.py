"""Where compiled problems are kept: a folder that nobody but the user can write to.

What lies there is executed, so folders and files are opened once, and then checked and read through
the open descriptor: nothing can be put in their place in between.
"""

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ...errors import OcnetError


class UnsafeCache(OcnetError, OSError):
    """The folder for compiled problems is one that others could write to."""


class Place(NamedTuple):
    """Where the environment says that compiled problems are kept.

    Attributes:
        variable: The environment variable that says so.
        base: The folder that it names.
        below: The folders below it, each inside the one before.
    """

    variable: str
    base: str
    below: tuple[str, ...]


def place() -> Place:
    """`$OCNET_CACHE/solve`, or `ocnet/solve` in `$XDG_CACHE_HOME` or `$HOME/.cache`.

    Raises:
        UnsafeCache: If the folder would depend on the working directory, as with an empty variable.
    """
    home = os.environ.get("HOME") or str(Path.home())
    choices = (
        ("OCNET_CACHE", os.environ.get("OCNET_CACHE"), ("solve",)),
        ("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME"), ("ocnet", "solve")),
        ("HOME", home, (".cache", "ocnet", "solve")),
    )
    variable, base, below = next((v, b, s) for v, b, s in choices if b is not None)
    if not os.path.isabs(base):
        raise UnsafeCache(f"{variable} must be an absolute path, but got {base!r}.")
    return Place(variable, base, below)


@contextlib.contextmanager
def opened() -> Iterator[int | None]:
    """The folder, made if it is missing, as a file descriptor; None if it cannot be made.

    Raises:
        UnsafeCache: If somebody else owns it or may write to it. This holds for every folder from
            the one that the variable names downwards; in a home directory, only for `ocnet` and
            what is in it.
    """
    at = place()
    with contextlib.ExitStack() as stack:
        try:
            for folder in reversed([Path(at.base), *Path(at.base).parents]):
                made(str(folder))
            here = entered(stack, at.base)
        except OSError as error:
            told(at.base, error)
            yield None
            return
        if at.variable != "HOME":
            check_owner(here, at.variable, at.base)
        path = at.base
        for name in at.below:
            path = os.path.join(path, name)
            try:
                made(name, here)
                # People make `.cache` a link to a larger disk, but not our own folders.
                here = entered(stack, name, here, 0 if name == ".cache" else os.O_NOFOLLOW)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    raise UnsafeCache(
                        f"{at.variable} leads to {path}, which must be a folder and not a link."
                    ) from error
                told(path, error)
                yield None
                return
            if name != ".cache":
                check_owner(here, at.variable, path)
        yield here


def made(name: str, folder: int | None = None) -> None:
    """Makes a folder that only the user can enter, unless there is one."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)


def entered(
    stack: contextlib.ExitStack, name: str, folder: int | None = None, flags: int = 0
) -> int:
    """A folder as a file descriptor that is closed with the stack.

    Arguments:
        stack: What closes it.
        name: The folder's name.
        folder: The folder that it is in, or None for a path.
        flags: Further flags to open it with.
    """
    here = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags, dir_fd=folder)
    stack.callback(os.close, here)
    return here


def check_owner(folder: int, variable: str, path: str) -> None:
    """Raises UnsafeCache unless the user owns a folder and nobody else may write to it."""
    found = os.fstat(folder)
    what = f"{variable} leads to {path}, whose code would be run"
    if found.st_uid != os.geteuid():
        raise UnsafeCache(
            f"{what}: its owner must be user {os.geteuid()}, but is user {found.st_uid}."
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnsafeCache(
            f"{what}: nobody else may write to it, but its mode is {found.st_mode & 0o7777:o} "
            "(chmod go-w)."
        )


def read(folder: int, name: str) -> bytes | None:
    """The bytes that `write` kept under a name, if complete and the user's own, or else None."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open(os.open(name, flags, dir_fd=folder), "rb") as file:
            found = os.fstat(file.fileno())
            others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or others:
                return None
            content = file.read()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    value, proof = content[:-size], content[-size:]
    return value if hashlib.sha256(value).digest() == proof else None


def write(folder: int, name: str, value: bytes) -> None:
    """Keeps bytes and their checksum under a name, where they appear whole or not at all."""
    unfinished = f"{name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(unfinished, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(value + hashlib.sha256(value).digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        told(name, error)


def told(path: str, error: OSError) -> None:
    """Logs that nothing can be kept, so that every process has to compile anew."""
    logging.getLogger(__name__).warning("No compiled problem is kept in %s: %s", path, error)
