"""Tensors of expressions: what a problem's functions compute is written down, not computed."""

import math
from collections.abc import Callable, Iterable
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from .expression import Graph
from .formulas import ELEMENTWISE, Unsupported


class Symbol(Tensor):
    """A tensor whose entries are expressions of one graph.

    Attributes:
        ids: The entries' nodes. Operations that only move entries are done on this tensor of
            integers.
        graph: Where the operations are noted.
    """

    ids: Tensor
    graph: Graph

    @staticmethod
    def __new__(cls: type[Any], ids: Tensor, graph: Graph, dtype: torch.dtype) -> "Symbol":
        made = Tensor._make_wrapper_subclass(
            cls, ids.shape, strides=ids.stride(), storage_offset=ids.storage_offset(), dtype=dtype
        )  # pyright: ignore
        made.ids, made.graph = ids, graph
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Symbol(shape={tuple(self.shape)})"

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # Functions known by their Python name are done right here: the first tensor that reaches
        # `__torch_dispatch__` makes torch import its whole library of distributed tensors.
        name = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
        name = WRITTEN.get(name, name)
        if func is torch.Tensor.where or name not in AT_ONCE:
            return super().__torch_function__(func, types, args, kwargs or {})
        if name == "__setitem__":
            check_index(name, args, {})
            args[0].ids[args[1]] = entries(args[0].graph, args[2])
            return None
        return carried_out(func, name, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return carried_out(func, func.overloadpacket.__name__, args, kwargs or {})


def carried_out(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of one operation of torch on symbols."""
    symbols = symbols_in((*args, *kwargs.values()))
    like = next((v for v in symbols if v.dtype.is_floating_point), symbols[0])
    in_place = name.endswith("_") and not name.endswith("__")
    name = name.removesuffix("_") if in_place else name
    if name in MOVES:
        check_index(name, args, kwargs)
        return moved(func, like, args, kwargs)
    if name in REPEATS:
        kind = kwargs.get("dtype") or like.dtype
        if kind.is_floating_point != like.dtype.is_floating_point:
            raise Unsupported(f"a cast to {kind}")
        return wrapped(like, like.ids.clone(), like.dtype)
    if name in FILLED:
        values = func(*each(plain, args), **each(plain, {**kwargs, "device": "cpu"}))
        return wrapped(like, constants(like.graph, values), values.dtype)
    if name == "copy":
        source = entries(like.graph, args[1])
        args[0].ids.copy_(source.expand(args[0].shape))
        return args[0]
    if name in ELEMENTWISE:
        kind = like.dtype if like.dtype.is_floating_point else torch.get_default_dtype()
        kind = torch.bool if name in COMPARISONS else kind
        if name == "clamp":
            args, kwargs = args[:1], dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
        result = elementwise(like, ELEMENTWISE[name], args, kwargs, kind)
    elif name in REDUCTIONS:
        result = REDUCTIONS[name](like, *args, **kwargs)
    else:
        raise Unsupported(f"{func} has no scalar formula here")
    if in_place:
        args[0].ids.copy_(result.ids)
        return args[0]
    return result


def each(function: Callable[..., Any], values: Any) -> Any:
    """Applies a function to all entries of nested tuples, lists and dictionaries."""
    # Several times faster than torch's `tree_map`, and called for every operation.
    if isinstance(values, (tuple, list)):
        entries = [each(function, value) for value in values]
        return tuple(entries) if isinstance(values, tuple) else entries
    if isinstance(values, dict):
        return {name: each(function, value) for name, value in values.items()}
    return function(values)


def symbols_in(values: Iterable[Any]) -> list[Symbol]:
    """The symbols in tuples and lists."""
    found = []
    for value in values:
        if isinstance(value, Symbol):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += symbols_in(value)
    return found


def wrapped(like: Symbol, ids: Tensor, dtype: torch.dtype) -> Symbol:
    """A symbol made of nodes, in the same graph as another symbol."""
    return Symbol(ids, like.graph, dtype)


def plain(value: Any) -> Any:
    """An ordinary tensor of the shape of a symbol; anything else as it is."""
    return torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, Symbol) else value


def constants(graph: Graph, values: Tensor) -> Tensor:
    """The nodes of numbers."""
    nodes = [graph.constant(v) for v in values.detach().reshape(-1).tolist()]
    return torch.tensor(nodes, dtype=torch.int64).reshape(values.shape)


def entries(graph: Graph, value: Any) -> Tensor:
    """The nodes of a symbol, of an ordinary tensor or of a number."""
    if isinstance(value, Symbol):
        return value.ids
    return constants(graph, torch.as_tensor(value))


def moved(func: Any, like: Symbol, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation that only moves entries, or fills with zeros, done on the nodes."""
    tensor = lambda v: entries(like.graph, v) if is_value(v) else v
    result = func(*each(tensor, args), **each(tensor, kwargs))
    return each(lambda ids: wrapped(like, ids, like.dtype), result)


def check_index(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises Unsupported for a lookup at a symbol, whose nodes are not the index."""
    index = [kwargs.get("index"), kwargs.get("indices"), *args[LOOKUPS.get(name, len(args)) :][:1]]
    if symbols_in(index):
        raise Unsupported("a lookup whose index depends on state, control, time or parameters")


def is_value(value: Any) -> bool:
    """Whether an argument holds values and no indices."""
    return isinstance(value, Tensor) and value.dtype.is_floating_point or isinstance(value, Symbol)


def elementwise(
    like: Symbol,
    formula: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    kind: torch.dtype,
) -> Symbol:
    """An elementwise function."""
    graph = like.graph
    strange = [a for a in args if not isinstance(a, (Tensor, SupportsFloat))]
    if strange:
        raise Unsupported(f"an argument {strange[0]!r}")
    tensors = [entries(graph, a) for a in args]
    # Not `broadcast_shapes`, which imports sympy: half a second.
    tensors = torch.broadcast_tensors(*tensors)
    shape = tensors[0].shape
    columns = [t.reshape(-1).tolist() for t in tensors]
    nodes = [formula(graph, *entry, **kwargs) for entry in zip(*columns, strict=True)]
    return wrapped(like, torch.tensor(nodes, dtype=torch.int64).reshape(shape), kind)


def total(
    like: Symbol, value: Symbol, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Symbol:
    """The sum over some or all dimensions."""
    ids = entries(like.graph, value)
    dims = list(range(ids.dim())) if dim is None or dim == [] else dim
    dims = [d % ids.dim() for d in ([dims] if isinstance(dims, int) else dims)]
    kept = [d for d in range(ids.dim()) if d not in dims]
    shape = [ids.shape[d] for d in kept]
    rows = ids.permute(*kept, *dims).reshape(math.prod(shape), -1 if ids.numel() else 0)
    nodes = torch.tensor([summed(like.graph, row) for row in rows.tolist()], dtype=torch.int64)
    full = [1 if d in dims else n for d, n in enumerate(ids.shape)]
    return wrapped(like, nodes.reshape(full if keepdim else shape), like.dtype)


def mean(like: Symbol, value: Symbol, *args: Any, **kwargs: Any) -> Symbol:
    """The mean over some or all dimensions."""
    result = total(like, value, *args, **kwargs)
    return result / (value.numel() / max(result.numel(), 1))  # pyright: ignore


def norm(
    like: Symbol, value: Symbol, order: float = 2, dim: Any = None, keepdim: bool = False,
    dtype: Any = None,
) -> Symbol:  # fmt: skip
    """The Euclidean norm."""
    if order != 2:
        raise Unsupported(f"a norm of order {order}")
    return total(like, value * value, dim, keepdim).sqrt()  # pyright: ignore


def summed(graph: Graph, nodes: list[int]) -> int:
    """The sum of expressions."""
    result = graph.zero
    for node in nodes:
        result = graph.apply("add", result, node)
    return result


def product(like: Symbol, a: Any, b: Any) -> Symbol:
    """The matrix product of two tensors of one to three dimensions each, batches first."""
    left, right = entries(like.graph, a), entries(like.graph, b)
    column, row = right.dim() == 1, left.dim() == 1
    left, right = left[None] if row else left, right[:, None] if column else right
    terms = elementwise(
        like, ELEMENTWISE["mul"],
        (wrapped(like, left.unsqueeze(-1), like.dtype),
         wrapped(like, right.unsqueeze(-3), like.dtype)),
        {}, like.dtype,
    )  # fmt: skip
    result = total(like, terms, -2)
    ids = result.ids.squeeze(-1) if column else result.ids
    return wrapped(like, ids.squeeze(-1 if column else -2) if row else ids, like.dtype)


def product_plus(like: Symbol, bias: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """`beta bias + alpha a b`."""
    return beta * bias + alpha * product(like, a, b)


MOVES = frozenset(
    "view _unsafe_view reshape _reshape_alias expand permute t transpose select slice unsqueeze "
    "squeeze cat stack unbind split split_with_sizes clone detach alias index gather index_select "
    "flip roll diagonal diag_embed repeat tril triu constant_pad_nd lift_fresh lift "
    "unfold select_scatter slice_scatter index_put __getitem__ flatten movedim expand_as T mT "
    "swapaxes narrow chunk".split()
)
"""Operations that only move entries or fill with zeros, which node 0 is."""

LOOKUPS = {
    "__getitem__": 1, "__setitem__": 1, "index": 1, "index_put": 1, "gather": 2, "index_select": 2,
}  # fmt: skip
"""Operations that take an index, each with the position of that argument."""

REPEATS = frozenset(["_to_copy", "positive", "contiguous"])
"""Operations that leave the values as they are."""

FILLED = frozenset("zeros_like ones_like full_like new_zeros new_ones new_full new_tensor".split())
"""Operations that read no values, only shapes."""

COMPARISONS = frozenset(
    "lt le gt ge eq ne logical_and logical_or logical_not bitwise_and bitwise_or "
    "bitwise_not".split()
)

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": total,
    "mean": mean,
    "linalg_vector_norm": norm,
    "matmul": product,
    "mm": product,
    "bmm": product,
    "mv": product,
    "dot": product,
    "addmm": product_plus,
    "addmv": product_plus,
    "baddbmm": product_plus,
}
"""Functions of many entries, by torch's names."""

WRITTEN = {
    **{f"__{name}__": name for name in (
        "add", "sub", "mul", "pow", "neg", "abs", "lt", "le", "gt", "ge", "eq", "ne", "matmul",
        "rsub", "rpow",
    )},
    "__radd__": "add", "__rmul__": "mul", "__truediv__": "div", "__rtruediv__": "rdiv",
    "__rdiv__": "rdiv", "divide": "div", "multiply": "mul", "subtract": "sub",
}  # fmt: skip
"""The operations that Python's operators stand for."""

AT_ONCE = (
    MOVES | FILLED | set(ELEMENTWISE) | {"sum", "mean", "matmul", "mm", "mv", "dot", "__setitem__"}
) - {"index_put", "lift", "lift_fresh", "unfold"}
"""Functions whose arguments in Python are those of the operation."""
