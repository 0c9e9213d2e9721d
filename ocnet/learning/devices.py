"""Which device a training uses, and what it cannot compute there."""

import os

import torch
from torch import nn

from .._arguments import check_kind


NARROW = 8
"""With fewer input channels a strided 1x1 convolution is not safe (`check_narrow_shortcuts`)."""


def check_narrow_shortcuts(*modules: nn.Module) -> None:
    """Raises a ValueError for a convolution that corrupts memory on a CPU.

    The backward pass of a strided 1x1 convolution with less than eight input channels writes out of
    bounds if the channels are last in memory, as they are in compiled code too (torch 2.14 and
    2.15, seen on an AMD EPYC).
    """
    for module in modules:
        for part in module.modules():
            if not isinstance(part, nn.Conv2d) or max(part.stride) == 1:
                continue
            if max(part.kernel_size) == 1 and part.in_channels < NARROW:
                raise ValueError(
                    "channels_last and compile on a CPU need at least 8 input channels in a 1x1 "
                    f"convolution with a stride, but got {part.in_channels}: torch corrupts memory."
                )


def choose_device(name: torch.device | str = "auto") -> torch.device:
    """The device with a name; with several processes, this process's own one.

    Raises:
        ValueError: If the name is not known, or the device is not there.
    """
    if isinstance(name, torch.device):
        return name
    check_kind("device", name, str)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.mps.is_available()}
    if name == "auto":
        name = next((kind for kind in ("cuda", "mps") if there[kind]), "cpu")
    kind = name.split(":")[0]
    if kind not in there:
        raise ValueError(f"device must be auto, cpu, cuda or mps, but got {name!r}.")
    if not there[kind]:
        raise ValueError(f"This machine has no {kind} device: leave device at auto, or say cpu.")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(name)
