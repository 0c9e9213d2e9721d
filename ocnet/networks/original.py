"""The way back: a wrapped network that lost blocks as a network of the class it was made from."""

import copy
from typing import Any

import torch
from torch import nn, Tensor


class Template:
    """The network that was wrapped; copies of the wrapped one share it.

    Arguments:
        network: The network.
        owners: The module that each layer is the forward pass of, or None.
        example: A batch that it takes.
    """

    def __init__(self, network: nn.Module, owners: tuple[str | None, ...], example: Tensor):
        self.network = network
        self.owners = owners
        self.example = example

    def __deepcopy__(self, memo: dict[int, Any]) -> "Template":
        return self

    def without(self, owners: set[str]) -> nn.Module:
        """A copy of the network without some of its blocks.

        Raises:
            ValueError: If a block is not an element of a list of modules.
        """
        network: Any = copy.deepcopy(self.network)
        by_list: dict[str, list[str]] = {}
        for owner in owners:
            path, _, name = owner.removeprefix("model.").rpartition(".")
            by_list.setdefault(path, []).append(name)
        for path, names in by_list.items():
            parent = network.get_submodule(path)
            if isinstance(parent, nn.Sequential):
                for name in names:
                    delattr(parent, name)
            elif isinstance(parent, nn.ModuleList):
                kept = [part for name, part in parent.named_children() if name not in names]
                whole, _, last = path.rpartition(".")
                setattr(network.get_submodule(whole), last, nn.ModuleList(kept))
            else:
                raise ValueError(
                    f"the block {path}.{names[0]} is not an element of a Sequential or ModuleList"
                )
        return network


@torch.no_grad()
def fill(network: nn.Module, kept: dict[str, nn.Module]) -> None:
    """Copies parameters and buffers of modules into those of the same name."""
    mine = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, value in kept.items():
        mine[name].copy_(value)  # pyright: ignore[reportArgumentType]
