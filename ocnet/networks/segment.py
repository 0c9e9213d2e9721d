"""A part of a network as a module: from one state to the next, in training and evaluation mode."""

import copy
from typing import Any

import torch
from torch import fx, nn, Tensor

from .tracing import in_place


class NetworkPart(nn.Module):
    """What a network computes between two of its tensors.

    It uses the network's own modules and parameters. Where the network computes something else
    in training mode than its modules do, such as a dropout that is a function, there is a graph
    for each of the two.

    Arguments:
        evaluation: The operations in evaluation mode.
        training: Those in training mode; the same ones if None.
        frozen: The names of modules that stay in evaluation mode whatever the rest does.
        number: Identifies it among the parts of its network, and in copies of the network.
    """

    def __init__(
        self,
        evaluation: fx.GraphModule,
        training: fx.GraphModule | None = None,
        frozen: tuple[str, ...] = (),
        number: int = 0,
    ):
        super().__init__()
        self.number = number
        self.evaluation = evaluation
        self.in_training = training
        self.frozen = frozen

    def train(self, mode: bool = True) -> "NetworkPart":
        """Sets the mode; what the network keeps in evaluation mode stays there."""
        super().train(mode)
        for graph in filter(None, (self.evaluation, self.in_training)):
            for name in self.frozen:
                if has_module(graph, name):
                    graph.get_submodule(name).training = False
        return self

    def forward(self, x: Tensor) -> Tensor:
        """What is computed from `x`, shape `(batch, ...)`."""
        is_other = self.training and self.in_training is not None
        return (self.in_training if is_other else self.evaluation)(x)  # pyright: ignore[reportOptionalCall]

    @property
    def size(self) -> int:
        """How many operations it has."""
        return sum(node.op not in ("placeholder", "output") for node in self.evaluation.graph.nodes)

    @property
    def is_idempotent(self) -> bool:
        """Whether it is only a ReLU: applying it twice is the same as applying it once."""
        graphs = [g for g in (self.evaluation, self.in_training) if g is not None]
        return all(map(is_relu, graphs))


def is_relu(module: fx.GraphModule) -> bool:
    """Whether a graph is a ReLU and nothing else."""
    nodes = [n for n in module.graph.nodes if n.op not in ("placeholder", "output")]
    if len(nodes) != 1:
        return False
    (node,) = nodes
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))) is nn.ReLU
    return node.target in (torch.relu, nn.functional.relu, "relu", torch.ops.aten.relu.default)


def has_module(module: nn.Module, name: str) -> bool:
    """Whether a module has a submodule of that name."""
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True


def graph_module(root: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """A graph with the modules that it uses, none of which changes its input.

    An operation that would change the input in place makes a new tensor instead.
    """
    modules: dict[str, Any] = {}
    (x,) = graph.find_nodes(op="placeholder")
    inputs = {x, *(n for n in x.users if n.target == "movedim")}
    for node in list(graph.nodes):
        if node.op == "call_module":
            modules[str(node.target)] = root.get_submodule(str(node.target))
        elif node.op == "get_attr":
            modules[str(node.target)] = attribute(root, str(node.target))
    for node in list(graph.nodes):
        if not node.args or node.args[0] not in inputs or node.op == "output":
            continue
        if not in_place(node, root):
            continue
        module = root.get_submodule(str(node.target)) if node.op == "call_module" else None
        if module is not None and not list(module.parameters()) and not list(module.buffers()):
            apart: Any = copy.deepcopy(module)
            apart.inplace = False
            node.target = f"{node.target}_apart"
            modules[node.target] = apart
        else:
            with graph.inserting_before(node):
                node.replace_input_with(node.args[0], graph.call_method("clone", (node.args[0],)))
    result = fx.GraphModule(modules, graph)
    # It is a part of a network, and in the same mode.
    result.training = root.training
    return result


def attribute(root: nn.Module, name: str) -> Any:
    """The parameter, buffer or constant of that name."""
    *path, last = name.split(".")
    for part in path:
        root = getattr(root, part)
    return getattr(root, last)


def same(a: fx.GraphModule, b: fx.GraphModule) -> bool:
    """Whether two graphs are the same operations on the same parameters and constants."""
    if a.code != b.code:
        return False
    mine, theirs = (
        [attribute(g, str(n.target)) for n in g.graph.nodes if n.op == "get_attr"] for g in (a, b)
    )
    return all(
        x is y or (isinstance(x, Tensor) and isinstance(y, Tensor) and x.equal(y))
        for x, y in zip(mine, theirs, strict=True)
    )
