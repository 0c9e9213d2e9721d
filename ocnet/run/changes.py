"""What has changed since a checkpoint was written, and whether a run may go on in spite of that."""

import json
import zlib
from collections.abc import Collection
from typing import Any

import torch

from ..errors import OcnetError
from ..learning.processes import world_size
from ..origin import environment, sources
from ..problem import Problem, Sample
from .config import Config


SAME_RESULT = ("checkpoint_every", "tensorboard", "device")
"""The settings that change numbers only by rounding; `rounding` compares the device itself."""


class Changed(OcnetError, ValueError):
    """A run whose problem, data or configuration are no longer those of its checkpoint."""


def origin(
    config: Config, problem: Problem, data: Sample | None, device: torch.device
) -> dict[str, Any]:
    """All that the numbers of a run come from, as plain values.

    Arguments:
        config: What was asked for.
        problem: The problem, whose source files are noted by their SHA-256.
        data: The training data, noted by their CRC-32, or None.
        device: Where to compute.
    """
    found = {
        "attributes": {} if config.problem else attributes(problem),
        "config": {k: v for k, v in config.options().items() if k not in SAME_RESULT},
        "sources": sources(type(problem)),
        "data": None if data is None else sum_of(data),
        "processes": world_size(),
        **environment(device),
    }
    # As it comes back from a file.
    return json.loads(json.dumps(found))


def attributes(problem: Problem) -> dict[str, Any]:
    """The plain values that the modules of a problem hold, by their names; of tensors the CRC-32.

    Parameters and buffers are not among them: a checkpoint has those.
    """
    found: dict[str, Any] = {}
    for prefix, module in problem.named_modules():
        for name, value in sorted(vars(module).items()):
            if name.startswith("_") or name == "training":
                continue
            key = f"{prefix}.{name}".lstrip(".")
            if isinstance(value, torch.Tensor):
                found[key] = sum_of(Sample(value))
            elif is_plain(value):
                found[key] = value
    return found


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, a switch, None, or several of them."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def sum_of(sample: Sample) -> int:
    """The CRC-32 of inputs and targets."""
    found = 0
    for value in sample:
        if value is not None:
            whole = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found = zlib.crc32(whole.numpy().data, found)
    return found


def differing(
    then: dict[str, Any], now: dict[str, Any], permitted: Collection[str] = ()
) -> list[str]:
    """The changes that would lead to another result, one phrase each.

    Arguments:
        then, now: Two origins.
        permitted: The settings that may differ.
    """
    asked, before = now["config"], then["config"]
    found = [
        f"{name} is {asked.get(name)!r} in config.json and was {before.get(name)!r}"
        for name in {**before, **asked}
        if name not in permitted and asked.get(name) != before.get(name)
    ]
    # A module appears or disappears only where one that names it changes.
    for name in sorted({*then["sources"]} & {*now["sources"]}):
        if then["sources"][name] != now["sources"][name]:
            found.append(f"the source of {name} is not what it was")
    # Checkpoints of older versions do not have them.
    was, held = then.get("attributes", {}), now["attributes"]
    for name in sorted({*was} & {*held}):
        if was[name] != held[name]:
            found.append(f"problem.{name} is {held[name]!r} and was {was[name]!r}")
    if then["data"] != now["data"]:
        found.append("the training data are not what they were")
    return found


def rounding(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The changes that should affect the result only by rounding, one phrase each."""
    flat = [
        {
            **{f"the version of {name}": value for name, value in origin["versions"].items()},
            "the version of Python": origin["python"],
            "the source of ocnet": origin["library"],
            "the device": origin["device"],
            "the number of threads": origin["threads"],
            "the number of processes": origin["processes"],
        }
        for origin in (then, now)
    ]
    return [
        f"{name} is {value} and was {flat[0].get(name)}"
        for name, value in flat[1].items()
        if flat[0].get(name) != value
    ]
