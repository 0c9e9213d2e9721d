"""What a network computes, as a graph: recorded by torch.fx, or else by torch.export."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn, Tensor
from torch.fx.node import map_arg
from torch.overrides import TorchFunctionMode


OPENED = (nn.Sequential, nn.ModuleList, nn.TransformerEncoder, nn.TransformerEncoderLayer)
"""Modules of torch that are searched for sums; the others are recorded as one operation."""

OF_THE_KIND = frozenset(
    "dim ndim ndimension dtype device layout numel nelement stride is_contiguous is_floating_point "
    "is_complex is_cuda is_nested is_sparse is_quantized is_meta is_mps is_cpu is_leaf "
    "requires_grad element_size get_device names grad grad_fn __len__ type".split()
)
"""What can be asked about a tensor whatever its values are."""


def answer(output: Any) -> Any:
    """The prediction in what a network returns: the tensor, or its `logits`.

    Raises:
        TypeError: If it is not clear which tensor that is.
    """
    if isinstance(output, (Tensor, fx.Proxy)):
        return output
    names = ("logits", "last_hidden_state")
    if isinstance(output, Mapping):
        found = [output[name] for name in names if name in output]
    else:
        found = [getattr(output, name) for name in names if hasattr(output, name)]
    if not found and isinstance(output, (tuple, list)):
        found = [one for one in output if isinstance(one, (Tensor, fx.Proxy))]
        found = found if len(found) == 1 else []
    if not found:
        raise TypeError(
            "network must return a tensor, or something with `logits`, but returns "
            f"a {type(output).__name__}."
        )
    return found[0]


class Answered(nn.Module):
    """A network that returns nothing but its prediction."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return answer(self.model(x))


class Recording(fx.Proxy):
    """A recorded tensor or number that knows its value for the example.

    Python's own control flow sees the value. If that gives a graph that holds only for the
    example, the proof finds out.
    """

    node: fx.Node

    tracer: "GraphRecorder"

    @property
    def value(self) -> Any:
        """Its value for the example."""
        return self.node.meta["value"]

    def number(self) -> Any:
        """The value, for Python's control flow; a TypeError if that would depend on the data."""
        if isinstance(self.value, Tensor):
            raise TypeError(f"{self.node}: what is computed depends on the values of a tensor")
        return self.value

    def __getattr__(self, name: str) -> Any:
        if not callable(getattr(self.value, name)):
            return self.tracer.create_proxy("call_function", getattr, (self, name), {})
        return super().__getattr__(name)

    def __iadd__(self, other: Any) -> "Recording":
        self.node = (self + other).node  # pyright: ignore[reportOperatorIssue]
        return self

    def __bool__(self) -> bool:
        return bool(self.number())

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self.value)))  # pyright: ignore[reportIndexIssue]

    def __int__(self) -> int:
        return int(self.number())

    def __index__(self) -> int:
        return operator.index(self.number())

    def __float__(self) -> float:
        return float(self.number())


class GraphRecorder(fx.Tracer):
    """Records a network while it runs on an example.

    Arguments:
        example: The input.
        closed: The modules that are one operation each.

    Attributes:
        bypassed: The modules that were looked into although they have hooks, which are not
            recorded.
        hiding: The modules that could not be looked into and add tensors of one shape.
    """

    proxy_buffer_attributes = True

    def __init__(self, example: Tensor, closed: frozenset[str] = frozenset()):
        super().__init__(autowrap_modules=())  # pyright: ignore[reportArgumentType]
        self.example = example
        self.closed = closed
        self.bypassed: set[str] = set()
        self.hiding: set[str] = set()
        self.running: list[tuple[str, int]] = []
        self.calls: int = 0
        self.executing: bool = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        of_torch = type(m).__module__.startswith("torch.nn") and type(m) not in OPENED
        return of_torch or module_qualified_name in self.closed

    def proxy(self, node: fx.Node) -> Recording:
        return Recording(node, self)

    def create_arg(self, a: Any) -> Any:
        return a.node if isinstance(a, Recording) else super().create_arg(a)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.executing:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **named: Any
    ) -> Any:
        """Records an operation and its value; see `torch.fx.Tracer`.

        Arguments:
            kind, target, args, kwargs: The operation.
            more, named: Further arguments from torch.fx.
        """
        changed = kind == "call_function" and kwargs.get("inplace") is True
        if changed:
            kwargs = {**kwargs, "inplace": False}
        proxy: Any = super().create_proxy(kind, target, args, kwargs, *more, **named)
        node = proxy.node
        node.meta["calls"] = tuple(self.running)
        node.meta["value"] = value = self.example if kind == "placeholder" else self.run(node)
        if isinstance(value, bool) or not isinstance(value, (Tensor, int, tuple, list)):
            self.refuse_data(node)
            return value
        if (changed or in_place(node, self.root)) and isinstance(args[0], Recording):
            if args[0].node.op == "get_attr":
                raise TypeError(f"{node.target} changes {args[0].node.target}")
            # Whatever reads that tensor from now on reads what is in it now.
            args[0].node = node
        return proxy

    def refuse_data(self, node: fx.Node) -> None:
        """Raises a TypeError if a number is read off the values of a tensor, not off its shape."""
        reads = [n for n in node.all_input_nodes if isinstance(n.meta.get("value"), Tensor)]
        name = node.args[1] if node.target is getattr and len(node.args) > 1 else node.target
        if reads and str(getattr(name, "__name__", name)) not in OF_THE_KIND:
            raise TypeError(f"{name}: what is computed depends on the values of a tensor")

    def run(self, node: fx.Node) -> Any:
        """The value of a node for the example."""
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: self.value_of(n))
        self.executing = True
        try:
            if node.op == "get_attr":
                return operator.attrgetter(str(node.target))(self.root)
            if node.op == "call_module":
                return self.root.get_submodule(str(node.target))(*args, **kwargs)
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            assert callable(node.target)
            return node.target(*args, **kwargs)
        finally:
            self.executing = False

    def value_of(self, node: fx.Node) -> Any:
        """The value of a node, also of a constant that was never a proxy."""
        if "value" not in node.meta:
            node.meta["value"] = self.run(node)
        return node.meta["value"]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.executing:
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        self.calls += 1
        self.running.append((path, self.calls))
        depth = len(self.running)
        try:
            if hooked(m):
                self.bypassed.add(path)
                return m.forward(*args, **kwargs)
            return forward(*args, **kwargs)
        except Exception:
            if path == "model":
                raise
            # What cannot be looked into is one operation.
            del self.running[depth:]
            with Sums() as sums:
                output = self.create_proxy("call_module", path, args, kwargs)
            if sums.found:
                self.hiding.add(path)
            return output
        finally:
            del self.running[depth - 1 :]


class Sums(TorchFunctionMode):
    """Notices sums of two tensors of one shape.

    Attributes:
        found: Whether there was one.
    """

    found: bool = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = ("add", "add_", "__add__", "__radd__", "__iadd__")
        if getattr(func, "__name__", "") in names and len(args) == 2:
            a, b = args
            if isinstance(a, Tensor) and isinstance(b, Tensor) and a.dim() > 1:
                self.found = self.found or a.shape == b.shape
        return func(*args, **(kwargs or {}))


def hooked(module: nn.Module) -> bool:
    """Whether hooks act on what goes into a module or comes out."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def in_place(node: fx.Node, root: nn.Module) -> bool:
    """Whether an operation changes its first argument."""
    if node.op == "call_module":
        return getattr(root.get_submodule(str(node.target)), "inplace", False) is True
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "").split(".")[0]
        return name.endswith("_") and not name.endswith("__")
    return False


def exported(root: Answered, example: Tensor) -> tuple[fx.Graph, nn.Module]:
    """The graph of a network in its current mode, by torch.export; a module with its constants."""
    batch = torch.export.Dim.AUTO
    shapes = ({0: batch},)
    program: Any = torch.export.export(root, (example,), dynamic_shapes=shapes, strict=False)
    module = program.module()
    graph: fx.Graph = module.graph
    for node in graph.nodes:
        # Such as {"...": ("layers.0", type)}, from the outermost module to the innermost.
        stack = node.meta.get("nn_module_stack", {}).items()
        node.meta["calls"] = tuple((path, key) for key, (path, _) in stack if path)
    return graph, module
