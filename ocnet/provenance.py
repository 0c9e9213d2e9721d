"""Where a result comes from: versions, hardware, command, git revision."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

import torch


PACKAGES = ("ocnet", "torch", "torchdiffeq", "torchvision", "numpy", "safetensors")


def provenance(device: torch.device) -> dict[str, Any]:
    """What one needs to know to get the same result again, as plain values."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "git": git_revision(),
        "system": platform.platform(),
        "device": f"{device.type} {name}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The revision of the working directory's repository, marked if there are changes; or None."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
