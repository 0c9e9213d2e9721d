"""Existing residual networks as controlled systems, understood by what they compute."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn, Tensor

from .._arguments import check_kind, shown
from ..control import Layers
from ..cost import Loss
from ..errors import OcnetError
from .chained import ChainedReadOuts
from .crossing import Crossing, Tailed
from .network import Heads, ResNet
from .parting import joined, parted, Parting, program
from .problem import Classifier, Gamma, Parts
from .proof import prove, unchanged
from .readouts import Backbone
from .stack import Blocks, layers, Program
from .template import Template
from .tracing import answer, Answered, exported, GraphRecorder, hooked


Described = str | Sequence[nn.Module | str] | None
"""What makes one layer: None, "sums", or modules of the network or their names."""


def wrap(
    network: nn.Module | Sequence[nn.Module],
    example_input: Tensor,
    *,
    blocks: Described = None,
    embedding: nn.Module | None = None,
    head: nn.Module | None = None,
    heads: Heads = "WS",
    loss: Loss | None = None,
    gamma: Gamma = 0.0,
) -> ResNet:
    r"""An existing residual network, with the read-outs of every block's state.

    What the network computes is recorded on the example, by torch.fx or else torch.export. Its
    layers are the sums of a shortcut and a branch that every path from the input to the output
    goes through. The parts share the network's parameters: training the wrapped network trains
    the given one. Where an activation or a norm `e_k` follows a sum,

    $$ x_{k+1} = S_k(e_k(x_k)) + F_k(e_k(x_k)), $$

    the state is the sum before it. Before the wrapped network is returned, its outputs, gradients
    and running statistics are compared with those of the given one, in evaluation and training
    mode with the same seed and for two batch sizes. Parameters, buffers, modes and the random
    state stay as they were.

    Arguments:
        network: The network; or its blocks in order, such as `Residual`s, with `embedding` and
            `head`.
        example_input: A batch that it takes, shape `(batch, ...)`.
        blocks: What makes one layer. By default all sums in a module that is an element of a
            `Sequential` or `ModuleList`, such as the two of a transformer's block; "sums" for
            each sum on its own; or the modules whose forward passes are one layer each, or their
            names in the network.
        embedding: If blocks are given instead of a network: what comes before them.
        head: If blocks are given instead of a network: what comes after them.
        heads: "WS" if the read-outs share the network's weights, "full" if each has its own.
        loss: The loss per sample, `(logits, labels) -> (batch,)`.
        gamma: The weight of the stage cost: a number, or one for each state before the last.

    Raises:
        TypeError: Naming the argument that is off.
        ValueError: If the network refuses the example, has no residual stack, has hooks where
            the sums are, or the wrapped one is not the same.
    """
    check_arguments(network, example_input, heads)
    for name, part in (("embedding", embedding), ("head", head)):
        check_kind(name, part, nn.Module, type(None))
    if not isinstance(network, nn.Module) or isinstance(network, nn.ModuleList):
        if embedding is None or head is None:
            name = "embedding" if embedding is None else "head"
            raise ValueError(f"wrap takes embedding and head along with blocks: got {name}=None.")
        if not len(network):
            raise ValueError("network must hold at least one block.")
        blocks = list(network) if blocks is None else blocks
        given: nn.Module = nn.Sequential(embedding, *network, head)
        given.training = embedding.training
    elif embedding is not None or head is not None:
        raise ValueError("embedding and head go with blocks, but network is a whole network.")
    else:
        given = network
    inputs = two_batches(example_input)
    root = Answered(given)
    root.training = given.training
    with unchanged(root):
        check_example(root, example_input)
    finder = block_finder(root, blocks)
    options = Options(heads, loss, gamma)
    reasons: list[str] = []
    found = None
    for use_export in (False, True):
        one = attempt(root, inputs, finder, use_export, options, reasons)
        if one is not None and (found is None or one[0].depth > found[0].depth):
            found = one
        if one is not None and one[1]:
            break
    if found is None:
        raise ValueError("; ".join(dict.fromkeys(reasons)) + ".")
    return found[0]


class Options(NamedTuple):
    """The arguments of `wrap` that say nothing about the network."""

    heads: Heads
    loss: Loss | None
    gamma: Gamma


def attempt(
    root: Answered,
    inputs: Sequence[Tensor],
    blocks: Blocks,
    use_export: bool,
    options: Options,
    reasons: list[str],
) -> tuple[ResNet, bool] | None:
    """A wrapped network, proven equal to the given one, and whether all modules were looked into.

    Arguments:
        root: The network.
        inputs: Two batches.
        blocks: What makes one layer.
        use_export: Whether torch.export records it, instead of torch.fx.
        options: Heads, loss and gamma.
        reasons: The reason is added to it if there is no such network.

    Raises:
        ValueError: If the network cannot be recorded faithfully.
    """
    by = "torch.export" if use_export else "torch.fx"
    try:
        with unchanged(root):
            parts, opened = in_both_modes(root, inputs, blocks, use_export)
    except Refused as error:
        raise ValueError(str(error)) from None
    except Exception as error:
        first = str(error).strip().split("\n")[0][:160] or type(error).__name__
        reasons.append(f"wrap cannot record this network by {by}: {first}")
        return None
    if parts is None:
        reasons.append(
            f"wrap finds no residual stack in this {type(root.model).__name__}: no sum of a "
            "shortcut and a branch that every way from the input to the output goes through"
        )
        if opened:
            raise ValueError(reasons[-1] + ".")
        return None
    wrapped = assembled(parts, inputs[0], options)
    wrapped.source = Template(root.model, tuple(parts[0].owners), inputs[0].detach().clone())
    mine = set(root.model.modules())
    for part in wrapped.modules():
        if part not in mine:
            part.training = root.model.training
    try:
        prove(root, wrapped, inputs)
    except ValueError as error:
        reasons.insert(0, str(error))
        return None
    return wrapped, opened


def check_arguments(network: Any, example_input: Any, heads: Any) -> None:
    """Raises a TypeError or ValueError that names the argument that is off."""
    if heads not in ("WS", "full"):
        raise ValueError(f'heads must be "WS" or "full", but got {heads!r}.')
    check_kind("network", network, nn.Module, Sequence)
    if not isinstance(network, nn.Module):
        for k, block in enumerate(network):
            check_kind(f"network[{k}]", block, nn.Module)
    if not isinstance(example_input, Tensor):
        raise TypeError(
            f"example_input must be a tensor of shape (batch, ...), but got {shown(example_input)}."
        )
    if example_input.dim() == 0 or len(example_input) == 0:
        raise ValueError(
            "example_input must have shape (batch, ...) with a sample at least, but got "
            f"{tuple(example_input.shape)}."
        )


def two_batches(example: Tensor) -> list[Tensor]:
    """A batch of at least two samples, and a batch with one sample more."""
    example = example.detach()
    first = example if len(example) > 1 else torch.cat([example, example])
    return [first, torch.cat([first[-1:], first])]


def check_example(root: Answered, example: Tensor) -> None:
    """Raises a ValueError if the network refuses the example, a TypeError for its output."""
    with torch.no_grad():
        try:
            output = root.model(example)
        except Exception as error:
            first = str(error).strip().split("\n")[0][:200]
            raise ValueError(
                f"network refuses example_input of shape {tuple(example.shape)} and "
                f"{example.dtype}: {first}"
            ) from error
        answer(output)


def block_finder(root: Answered, blocks: Described) -> Blocks:
    """Which layer a sum belongs to.

    Raises:
        TypeError, ValueError: If a block is not a part of the network.
    """
    named = {module: name for name, module in root.named_modules()}
    if blocks is None:
        return Blocks(lambda node: of_container(root, node))
    if isinstance(blocks, str):
        if blocks != "sums":
            raise ValueError(f'blocks must be "sums", modules or names, but got {blocks!r}.')
        return Blocks(lambda node: of_container(root, node), grouped=False)
    chosen = set()
    for k, block in enumerate(blocks):
        check_kind(f"blocks[{k}]", block, nn.Module, str)
        known = f"model.{block}" in named.values() if isinstance(block, str) else block in named
        if not known:
            what = block if isinstance(block, str) else type(block).__name__
            raise ValueError(f"blocks[{k}] is not a part of the network: {what}.")
        chosen.add(f"model.{block}" if isinstance(block, str) else named[block])  # pyright: ignore

    def block_of(node: fx.Node) -> tuple[str, Any] | None:
        for call in reversed(node.meta.get("calls", ())):
            if call[0] in chosen:
                return call[0], call
        return None

    return Blocks(block_of)


def of_container(root: nn.Module, node: fx.Node) -> tuple[str | None, Any]:
    """The innermost module around a node that is an element of a list of modules."""
    for call in reversed(node.meta.get("calls", ())):
        parent = call[0].rpartition(".")[0]
        lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        if parent and isinstance(root.get_submodule(parent), lists):
            return call[0], call
    return None, None


class Refused(OcnetError, ValueError):
    """A network that cannot be recorded faithfully."""


def in_both_modes(
    root: Answered, inputs: Sequence[Tensor], blocks: Blocks, use_export: bool
) -> tuple[tuple[Parting, Parting, tuple[str, ...]] | None, bool]:
    """The parts in both modes, or None without layers; and whether all modules were looked into.

    Arguments:
        root: The network.
        inputs: Two batches.
        blocks: What makes one layer.
        use_export: Whether torch.export records it, instead of torch.fx.
    """
    parts, opened, frozen = [], True, ()
    for training in (False, True):
        root.model.train(training)
        frozen = tuple(n for n, part in root.named_modules() if n and part.training != training)
        if use_export:
            refuse_hooks(name for name, part in root.named_modules() if hooked(part))
            graph = exported_program(root, inputs)
        else:
            graph, complete = recorded_program(root, inputs, blocks)
            opened = opened and complete
        parts.append(parted(graph, blocks))
    first, second = parts
    if first is None or second is None:
        return None, opened
    if first.owners != second.owners or first.state_shape != second.state_shape:
        raise Refused(
            "wrap finds other layers in training mode than in evaluation mode: "
            f"{len(second.branch)} and {len(first.branch)}."
        )
    return (first, second, frozen), opened


def recorded_program(
    root: Answered, inputs: Sequence[Tensor], blocks: Blocks
) -> tuple[Program, bool]:
    """The graph by torch.fx, and whether all modules could be looked into.

    A module with hooks is one operation, hooks included, unless there are sums in it.
    """
    recorder = GraphRecorder(inputs[0])
    with torch.no_grad():
        graph = recorder.trace(root)
    result = program(root, graph, inputs)
    if recorder.bypassed:
        sums = [node for layer in layers(result, blocks) for node in layer.sums]
        inside = {path for node in sums for path, _ in node.meta["calls"]}
        refuse_hooks(sorted(recorder.bypassed & inside))
        recorder = GraphRecorder(inputs[0], frozenset(recorder.bypassed))
        with torch.no_grad():
            graph = recorder.trace(root)
        result = program(root, graph, inputs)
    return result, not recorder.hiding


def exported_program(root: Answered, inputs: Sequence[Tensor]) -> Program:
    """The graph by torch.export."""
    with torch.no_grad():
        graph, constants = exported(root, inputs[0])
    return program(constants, graph, inputs)


def refuse_hooks(names: Iterable[str]) -> None:
    """Raises `Refused` if a module has hooks that would be lost."""
    for name in names:
        where = name.removeprefix("model").removeprefix(".") or "the network itself"
        raise Refused(f"wrap cannot carry the hooks of {where}: remove them first.")


def assembled(
    parts: tuple[Parting, Parting, tuple[str, ...]],
    example: Tensor,
    options: Options,
) -> ResNet:
    """The network made of the parts.

    Arguments:
        parts: The network in both modes, and the modules that stay in evaluation mode.
        example: A batch.
        options: Heads, loss and gamma.
    """
    segments = joined(*parts)
    embedding, last, head = segments[0], segments[-2], segments[-1]
    assert embedding is not None and head is not None, "every network has these"
    skips, branches = {}, []
    for k in range((len(segments) - 3) // 4):
        follow, lead, shortcut, branch = segments[1 + 4 * k : 5 + 4 * k]
        if any(part is not None for part in (follow, lead, shortcut)):
            skips[k] = Crossing(k, nn.Identity() if shortcut is None else shortcut, follow, lead)
        assert branch is not None, "every layer has one"
        branches.append(branch)
    backbone = Backbone(skips, Tailed(nn.Identity() if last is None else last, head))
    readouts = ChainedReadOuts(len(branches), backbone, own=options.heads == "full")
    problem = Classifier(
        Parts(embedding, *backbone, readouts),
        state_shape=parts[0].state_shape,
        image_shape=tuple(example.shape[1:]),
        loss=options.loss,
        gamma=options.gamma,
    )
    problem.image_dtype = example.dtype
    return ResNet(problem, Layers(0.0, float(len(branches)), branches))
