"""A network taken apart: embedding, layers and head as modules that share its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn, Tensor

from .segment import graph_module, NetworkPart, same
from .stack import (
    between,
    Blocks,
    cut_out,
    cuts,
    identity_terms,
    Layer,
    layers,
    Measure,
    Program,
    shortcut_of,
)
from .tracing import hooked


@dataclass(frozen=True)
class Parting:
    """A network in one mode, cut into graphs.

    Attributes:
        embedding: From the input to the first state.
        follow: What follows the sum of the block before each layer, or None.
        lead: What else comes before shortcut and branch of each layer, or None.
        shortcut: The shortcut of each layer, or None for the identity.
        branch: The branch of each layer.
        head: From the last state to the output, without what follows the last sum.
        last: What follows the last sum, or None.
        owners: For each layer, the module whose forward pass it is, or None.
        state_shape: The shape of the first state, without its batch dimension.
        root: The module that holds the modules and parameters.
    """

    embedding: fx.Graph
    follow: Sequence[fx.Graph | None]
    lead: Sequence[fx.Graph | None]
    shortcut: Sequence[fx.Graph | None]
    branch: Sequence[fx.Graph]
    head: fx.Graph
    last: fx.Graph | None
    owners: Sequence[str | None]
    state_shape: tuple[int, ...]
    root: nn.Module

    @property
    def graphs(self) -> list[fx.Graph | None]:
        """All of them, in order."""
        inner = zip(self.follow, self.lead, self.shortcut, self.branch, strict=True)
        return [self.embedding, *(g for layer in inner for g in layer), self.last, self.head]


def program(root: nn.Module, graph: fx.Graph, inputs: Sequence[Tensor]) -> Program:
    """A graph, with what its nodes hold for two batches.

    Arguments:
        root: What has the modules and parameters of the graph.
        graph: The operations of a network.
        inputs: A smaller and a larger batch.
    """
    for node in list(graph.nodes):
        if node.op == "call_module" and does_nothing(root.get_submodule(str(node.target))):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    module = fx.GraphModule(root, graph)
    found = []
    with torch.no_grad():
        for x in inputs:
            measure = Measure(module)
            measure.run(x)
            found.append(measure.found)
    return Program(module.graph, root, (len(inputs[0]), len(inputs[1])), *found)


def does_nothing(module: nn.Module) -> bool:
    """Whether a module is the identity, without hooks."""
    return type(module) is nn.Identity and not hooked(module)


def parted(program: Program, blocks: Blocks) -> Parting | None:
    """A network cut at the sums of its residual stack; None if it has none.

    Raises:
        ValueError: If the batch is not the first dimension of the prediction.
    """
    found = layers(program, blocks)
    if not found:
        return None
    (start,) = program.graph.find_nodes(op="placeholder")
    (end,) = program.graph.output_node().all_input_nodes
    if program.batch_dim(end) != 0:
        raise ValueError(
            "network must return predictions of shape (batch, ...), but returns "
            f"{tuple(program.small[end])} and {tuple(program.large[end])} for "
            f"{program.sizes[0]} and {program.sizes[1]} inputs"
        )
    follow, lead, shortcut, branch = [], [], [], []
    every, path = cuts(program, program.path()), program.path()
    forks = [layer.fork for layer in found]
    state, before = found[0].fork, None
    for layer in found:
        middle = tail(program, every, state, layer.fork, before, blocks)
        follow.append(cut_out(program, state, [middle]) if middle is not state else None)
        lead.append(cut_out(program, middle, [layer.fork]) if middle is not layer.fork else None)
        S, F = sides(program, layer, path)
        shortcut.append(S)
        branch.append(F)
        state, before = layer.out, layer
    middle = tail(program, every, state, end, before, blocks)
    shape = list(program.small[forks[0]])
    shape.pop(program.batch_dim(forks[0]) or 0)
    return Parting(
        cut_out(program, start, [forks[0]]),
        follow,
        lead,
        shortcut,
        branch,
        cut_out(program, middle, [end]),
        cut_out(program, state, [middle]) if middle is not state else None,
        [layer.owner for layer in found],
        tuple(shape),
        program.root,
    )


def tail(
    program: Program,
    every: Sequence[fx.Node],
    start: fx.Node,
    end: fx.Node,
    before: Layer | None,
    blocks: Blocks,
) -> fx.Node:
    """Where the previous block ends, between a state and the next fork.

    Arguments:
        program: The graph.
        every: The nodes that every path goes through.
        start: The state.
        end: Where the next layer forks, or the output.
        before: The layer whose sum the state is; None at the first.
        blocks: What makes one layer.
    """
    if before is None:
        return start
    of_sum, calls = blocks.of(before.out), before.out.meta.get("calls")

    def is_owned(node: fx.Node) -> bool:
        if before.owner is not None:
            return of_sum is not None and of_sum[1] in node.meta.get("calls", ())
        return node.meta.get("calls") == calls and program.small[node] == program.small[start]

    last = start
    for node in every[every.index(start) + 1 : every.index(end) + 1]:
        between_them = between(program, start, [node])
        if program.small[node] != program.small[start] or not all(
            is_owned(n) for n in between_them if n.op != "get_attr"
        ):
            break
        last = node
    return last


def sides(
    program: Program, layer: Layer, path: Sequence[fx.Node]
) -> tuple[fx.Graph | None, fx.Graph]:
    """The shortcut, None for the identity, and the branch of a layer."""
    fork, out = layer.fork, layer.out
    terms = identity_terms(program, fork, out)
    if terms is not None:
        return None, cut_out(program, fork, terms, total)
    if len(layer.sums) > 1:
        # No path through it is the identity, for example with a norm after each sum.
        return None, cut_out(program, fork, [out], minus_input)
    short = shortcut_of(program, fork, out)
    assert short is not None, "it was found before"
    (long,) = (term for term in out.all_input_nodes if term is not short)
    return cut_out(program, fork, [short]), cut_out(program, fork, [long])


def total(graph: fx.Graph, x: fx.Node, terms: Sequence[fx.Node]) -> fx.Node:
    """The sum of the terms."""
    result = terms[0]
    for term in terms[1:]:
        result = graph.call_function(torch.add, (result, term))
    return result


def minus_input(graph: fx.Graph, x: fx.Node, ends: Sequence[fx.Node]) -> fx.Node:
    """What is added to the input to give the end."""
    return graph.call_function(torch.sub, (ends[0], x))


def joined(
    evaluation: Parting, training: Parting, frozen: tuple[str, ...]
) -> list[NetworkPart | None]:
    """The parts of both modes as modules, in order.

    Arguments:
        evaluation, training: The network in the two modes.
        frozen: The modules that stay in evaluation mode.
    """
    segments: list[NetworkPart | None] = []
    for one, other in zip(evaluation.graphs, training.graphs, strict=True):
        if one is None and other is None:
            segments.append(None)
            continue
        first = graph_module(evaluation.root, one or identity())
        second = graph_module(training.root, other or identity())
        other_graph = None if same(first, second) else second
        segment = NetworkPart(first, other_graph, frozen, len(segments))
        segments.append(segment)
    return segments


def identity() -> fx.Graph:
    """The graph that returns its input."""
    graph = fx.Graph()
    graph.output(graph.placeholder("x"))
    return graph
