"""The way back: a pruned, wrapped network becomes a network of the class it was made from."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn, Tensor

from ..modes import mode
from .blocks import NoBranch
from .proof import COARSE, off
from .segment import NetworkPart
from .tracing import answer


class Template:
    """The network that was wrapped; copies of the wrapped one share it.

    Arguments:
        network: The network.
        owners: For each layer, the module whose forward pass it is, or None.
        example: A batch that it takes.
    """

    def __init__(self, network: nn.Module, owners: tuple[str | None, ...], example: Tensor):
        self.network = network
        self.owners = owners
        self.example = example

    def __deepcopy__(self, memo: dict[int, Any]) -> "Template":
        return self


@torch.no_grad()
def original(network: Any) -> nn.Module:
    """The network, with the blocks that are left, in the class of the one that was wrapped.

    Arguments:
        network: A `ResNet` made by `wrap`, `keep` or `subresnet`; it stays as it is.

    Raises:
        TypeError: If it was not made from a wrapped network.
        ValueError: If the blocks cannot be taken out of the class: one that changes the stage left
            its shortcut, only a part of one was removed, or one is not an element of a list.
    """
    template: Template | None = getattr(network, "source", None)
    if template is None:
        raise TypeError("original takes a network that was made by wrap, and this one was not.")
    kept, layers = network.numbers, network.control.layers
    bare = [k for k, layer in zip(kept, layers, strict=False) if isinstance(layer, NoBranch)]
    gone = {owner for k, owner in enumerate(template.owners) if k not in kept}
    half = gone & {template.owners[k] for k in kept}
    if bare or half or None in gone:
        what = (
            f"the shortcut of layer {bare[0]} is left" if bare
            else "a layer has no module of its own" if None in gone
            else f"only a part of {short(next(iter(half)))} is gone"
        )  # fmt: skip
        raise ValueError(f"The network has no form in its original class: {what}.")
    result = copy.deepcopy(template.network)
    fill(result, network)
    remove(result, [short(owner) for owner in gone])
    result.train(network.training)
    check_same(result, network, template.example)
    return result


def short(owner: str | None) -> str:
    """The name of a block in its network."""
    return str(owner).removeprefix("model.")


def remove(network: Any, owners: Sequence[str]) -> None:
    """Takes elements out of the `Sequential`s and `ModuleList`s of a network.

    Raises:
        ValueError: If a block is not an element of one.
    """
    by_list: dict[str, list[str]] = {}
    for owner in owners:
        path, _, name = owner.rpartition(".")
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
                "The network has no form in its original class: its block "
                f"{path}.{names[0]} is not an element of a Sequential or ModuleList."
            )


def fill(result: nn.Module, network: nn.Module) -> None:
    """Copies the values of a wrapped network's parts back to where the parts came from."""
    p = next(network.parameters(), None)
    if p is not None:
        result.to(p)
    mine = {**dict(result.named_parameters()), **dict(result.named_buffers())}
    problem: Any = network.problem
    outer: Any = (problem.embedding, problem.projections, problem.head, network.control)
    parts = [m for part in outer for m in part.modules() if isinstance(m, NetworkPart)]
    for part in parts:
        for graph in filter(None, (part.evaluation, part.in_training)):
            named = {**dict(graph.named_parameters()), **dict(graph.named_buffers())}
            for name, value in named.items():
                target = mine.get(name.removeprefix("model."))
                if target is not None:
                    target.copy_(value)


def check_same(result: nn.Module, network: Any, example: Tensor) -> None:
    """Raises a ValueError unless both networks compute the same in evaluation mode."""
    p = next(network.parameters(), None)
    x = example.to(p) if p is not None and example.is_floating_point() else example
    with mode(False, result, network), torch.no_grad():
        try:
            found = answer(result(x))
        except Exception as error:
            first = str(error).strip().split("\n")[0][:160]
            raise ValueError(
                "The network has no form in its original class, which fails without the "
                f"blocks: {first}"
            ) from error
        distance = off(found, network(x))
    if distance > COARSE:
        raise ValueError(
            "The network has no form in its original class: without the blocks that computes "
            f"something else, by {distance:.2g} of its size."
        )
