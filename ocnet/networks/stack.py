"""The residual stack in a graph: sums of a shortcut and a branch that every path goes through."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn, Tensor

from .residual import Residual


SUMS: tuple[Any, ...] = (
    operator.add,
    operator.iadd,
    torch.add,
    "add",
    "add_",
    torch.ops.aten.add.Tensor,
)
"""The operations that add two tensors."""


@dataclass(frozen=True)
class Program:
    """The graph of a network, and what its nodes hold at two batch sizes.

    Attributes:
        graph: The operations.
        root: The module whose attributes they use.
        sizes: Two batch sizes.
        small, large: What each node holds at the first and at the second size: the shape of a
            tensor, a number, or a tuple of these.
    """

    graph: fx.Graph
    root: nn.Module
    sizes: tuple[int, int]
    small: dict[fx.Node, Any]
    large: dict[fx.Node, Any]

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether a node holds a tensor, or several."""
        return has_shape(self.small.get(node))

    def batch_dim(self, node: fx.Node) -> int | None:
        """The batch dimension of a tensor; None if there is none."""
        small, large = self.small[node], self.large[node]
        if not (isinstance(small, torch.Size) and isinstance(large, torch.Size)):
            return None
        differing = [d for d, pair in enumerate(zip(small, large, strict=True)) if len({*pair}) > 1]
        if len(differing) != 1 or (small[differing[0]], large[differing[0]]) != self.sizes:
            return None
        return differing[0]

    def path(self) -> list[fx.Node]:
        """The tensors between input and output, in order."""
        (start,) = self.graph.find_nodes(op="placeholder")
        after, needed = {start}, set()
        nodes = list(self.graph.nodes)
        for node in nodes:
            if self.is_tensor(node) and after.intersection(node.all_input_nodes):
                after.add(node)
        stack = list(self.graph.output_node().all_input_nodes)
        while stack:
            node = stack.pop()
            if node in after and node not in needed:
                needed.add(node)
                stack += node.all_input_nodes
        return [node for node in nodes if node in needed]


def has_shape(value: Any) -> bool:
    """Whether the description of a value holds that of a tensor."""
    if isinstance(value, list):
        return any(map(has_shape, value))
    return isinstance(value, torch.Size)


def described(value: Any) -> Any:
    """A shape for a tensor, a number for a number, lists and tuples of these."""
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (tuple, list)):
        parts = [described(one) for one in value]
        return parts if any(map(has_shape, parts)) else tuple(parts)
    return value


class Measure(fx.Interpreter):
    """Runs a graph and describes the value of each node."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.found: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        self.found[n] = described(value)
        return value


@dataclass(frozen=True)
class Layer:
    """One layer of a stack, from one state to the next.

    Attributes:
        fork: Where shortcut and branch part.
        sums: The sums in it, in order.
        out: The next state: the last sum, or a later node that has the fork's shape again.
        owner: The module whose forward pass it is, or None.
    """

    fork: fx.Node
    sums: tuple[fx.Node, ...]
    out: fx.Node
    owner: str | None


def is_sum(program: Program, node: fx.Node) -> bool:
    """Whether a node adds two tensors of its own shape."""
    if node.target not in SUMS or node.kwargs.get("alpha", 1) != 1 or len(node.args) != 2:
        return False
    return all(
        isinstance(arg, fx.Node) and program.small.get(arg) == program.small[node]
        for arg in node.args
    )


def cuts(program: Program, path: Sequence[fx.Node]) -> list[fx.Node]:
    """The nodes that every path from the input to the output goes through."""
    place = {node: i for i, node in enumerate(path)}
    found, reach = [], 0
    for i, node in enumerate(path):
        if reach <= i and program.batch_dim(node) is not None:
            found.append(node)
        reach = max([reach, *(place[user] for user in node.users if user in place)])
    return found


@dataclass(frozen=True)
class Blocks:
    """The rule that says what makes one layer.

    Attributes:
        of: Maps a node to the module that it belongs to (or None) and a value that tells the
            module's calls apart; or to None alone if the node is in no layer.
        grouped: Whether all sums in one call are one layer.
    """

    of: Callable[[fx.Node], tuple[str | None, Any] | None]
    grouped: bool = True


def layers(program: Program, blocks: Blocks) -> list[Layer]:
    """The layers of the residual stack."""
    path = program.path()
    every = cuts(program, path)
    depends, place = set(path), {node: i for i, node in enumerate(every)}
    groups: list[tuple[Any, list[fx.Node]]] = []
    for node in every[1:]:
        if not is_sum(program, node) or not depends.issuperset(node.all_input_nodes):
            continue
        block = blocks.of(node)
        if block is None or not is_residual(program, every[place[node] - 1], node):
            continue
        if groups and groups[-1][0] == block and block[1] is not None and blocks.grouped:
            groups[-1][1].append(node)
        else:
            groups.append((block, [node]))
    found = []
    for (owner, call), sums in groups:
        fork = every[place[sums[0]] - 1]
        out = sums[-1] if len(sums) == 1 else end_of(program, every[place[sums[-1]] :], fork, call)
        parts = [([one], one) for one in sums] if out is None else [(sums, out)]
        found += [Layer(every[place[some[0]] - 1], tuple(some), end, owner) for some, end in parts]
    # If every sum adds two branches, the network has no shortcuts.
    plain = any(identity_terms(program, one.fork, one.out) is not None for one in found)
    return found if plain or any(len(one.sums) > 1 for one in found) else []


def end_of(program: Program, rest: Sequence[fx.Node], fork: fx.Node, call: Any) -> fx.Node | None:
    """Where a block of several sums has the shape of its fork again; None if it never does.

    Arguments:
        program: The graph.
        rest: The nodes that every path goes through, from the last sum on.
        fork: Where the block begins.
        call: The block.
    """
    for node in rest:
        if node is not rest[0] and call not in node.meta.get("calls", ()):
            return None
        if program.small[node] == program.small[fork]:
            return node
    return None


def is_residual(program: Program, fork: fx.Node, node: fx.Node) -> bool:
    """Whether one of the two terms is a shortcut: the state itself, or less work than the other."""
    if identity_terms(program, fork, node) is not None:
        return True
    return shortcut_of(program, fork, node) is not None


def shortcut_of(program: Program, fork: fx.Node, node: fx.Node) -> fx.Node | None:
    """The term that is less work than the other, or that a `Residual` says is the shortcut.

    Arguments:
        program: The graph.
        fork: The state before.
        node: The sum of two terms, neither of which is the state.
    """
    terms = node.all_input_nodes
    described = [term for term in terms if is_described(program, term)]
    if len(described) == 1:
        return described[0]
    first, second = (effort(program, fork, term) for term in terms)
    return None if first == second else terms[0] if first < second else terms[1]


def is_described(program: Program, node: fx.Node) -> bool:
    """Whether a node is what the shortcut of a `Residual` makes."""
    paths = [path for path, _ in node.meta.get("calls", ())]
    paths += [str(node.target)] if node.op == "call_module" else []
    parents = [path.rpartition(".") for path in paths]
    return any(
        name == "shortcut" and isinstance(program.root.get_submodule(parent), Residual)
        for parent, _, name in parents
    )


def identity_terms(program: Program, fork: fx.Node, node: fx.Node) -> list[fx.Node] | None:
    """The terms added to the fork to give a node, innermost first; None if it is not such a sum.

    Arguments:
        program: The graph.
        fork: The state before.
        node: The sum.
    """
    if node is fork:
        return []
    if not is_sum(program, node):
        return None
    for arg, other in zip(node.args, reversed(node.args), strict=True):
        assert isinstance(arg, fx.Node)
        inner = identity_terms(program, fork, arg)
        if inner is not None:
            return [*inner, other]  # pyright: ignore[reportReturnType]
    return None


def between(program: Program, start: fx.Node, ends: Sequence[fx.Node]) -> set[fx.Node]:
    """The nodes needed to compute `ends` from `start`, without `start` itself."""
    found: set[fx.Node] = set()
    stack = list(ends)
    while stack:
        node = stack.pop()
        if node is start or node in found or not program.is_tensor(node):
            continue
        found.add(node)
        stack += node.all_input_nodes
    return found


def effort(program: Program, start: fx.Node, end: fx.Node) -> tuple[int, int]:
    """How many operations, and how many parameters, lie between two nodes."""
    nodes = between(program, start, [end])
    modules = [program.root.get_submodule(str(n.target)) for n in nodes if n.op == "call_module"]
    return len(nodes), sum(p.numel() for m in modules for p in m.parameters())


def cut_out(
    program: Program,
    start: fx.Node,
    ends: Sequence[fx.Node],
    finish: Callable[[fx.Graph, fx.Node, Sequence[fx.Node]], fx.Node] | None = None,
) -> fx.Graph:
    """The graph from one node to others, as a function of the first, batch dimension first.

    Numbers that depend on the batch size are read off the first.

    Arguments:
        program: The whole graph.
        start: The node that becomes the input.
        ends: The nodes to compute.
        finish: Makes the result from the input and the ends, given the graph; by default it is
            the only end.

    Raises:
        ValueError: If a number depends on the batch size, but is not a multiple of it.
    """
    graph = fx.Graph()
    x = graph.placeholder("x")
    dim = program.batch_dim(start)
    here = graph.call_method("movedim", (x, 0, dim)) if dim else x
    made = {start: here}
    wanted = between(program, start, ends)

    def number(small: Any, large: Any) -> Any:
        if isinstance(small, tuple):
            return tuple(number(a, b) for a, b in zip(small, large, strict=True))
        if small == large:
            return small
        factor, rest = divmod(small, program.sizes[0])
        if rest or factor * program.sizes[1] != large:
            raise ValueError(
                f"the number {small} becomes {large} where the batch size {program.sizes[0]} "
                f"becomes {program.sizes[1]}, which is not a multiple"
            )
        size = graph.call_method("size", (here, dim or 0))
        return size if factor == 1 else graph.call_function(operator.mul, (size, factor))

    def copied(node: fx.Node) -> Any:
        if node in made:
            return made[node]
        return number(program.small[node], program.large[node])

    for node in program.graph.nodes:
        if node in wanted:
            made[node] = new = graph.node_copy(node, copied)
            new.meta = {}
    result = [made[end] for end in ends]
    y = result[0] if finish is None else finish(graph, here, result)
    out = program.batch_dim(ends[-1])
    graph.output(graph.call_method("movedim", (y, out, 0)) if out else y)
    return graph
