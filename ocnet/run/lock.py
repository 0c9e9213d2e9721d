"""One process at a time owns the folder of a run.

The operating system holds the lock, and frees it when the process ends, in whatever way. Next to
it, a file names the owner. That file is removed at the end: if it is left, the process was killed.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import OcnetError
from .checkpoint import write_whole


LOCK = ".lock"
OWNER = ".owner.json"


class FolderInUse(OcnetError, OSError):
    """A folder that another living process trains in."""


@contextmanager
def owned(folder: Path, note: Callable[[str], object]) -> Iterator[None]:
    """Owns a folder for as long as the context lasts.

    Arguments:
        folder: The folder, which must exist.
        note: Called with a message if the last owner died without giving the folder back.

    Raises:
        FolderInUse: If another process, or another call in this one, owns it.
        OSError: If the folder cannot be written.
    """
    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FolderInUse(
            f"{folder} is in use by {described(owner)}; wait for its end, or end it first."
        ) from None
    try:
        if owner.exists():
            note(
                f"{folder} was in use by {described(owner)}, which ended without giving it back; "
                "this process takes it over."
            )
        write_whole(owner, json.dumps(myself()).encode())
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def myself() -> dict[str, Any]:
    """Who this process is."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def described(owner: Path) -> str:
    """The owner of a folder in readable form, as far as it is known."""
    try:
        who = json.loads(owner.read_text())
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
