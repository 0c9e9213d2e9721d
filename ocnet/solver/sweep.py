"""Runge-Kutta steps forward in depth and costate steps back, as they are or compiled."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten, TreeSpec

from .linearisation import LinearisedDynamics
from .tableau import moved, stage_state, Tableau, weighted


Stages = Sequence[Sequence[Tensor]]
"""Quantities of each stage of the method, stacked over the steps."""


def advance(
    tableau: Tableau,
    linear: LinearisedDynamics,
    h: Sequence[float] | Tensor,
    x: Tensor,
    values: Stages,
) -> tuple[Tensor, list[Tensor], list[list[Tensor]]]:
    """Steps of an explicit Runge-Kutta method.

    Arguments:
        tableau: The method.
        linear: The dynamics, `f` of stage `i` from `linear.state(X_i, *values[i])`.
        h: The widths of the steps.
        x: The state at the start.
        values: What the dynamics take from time and control.

    Returns:
        The state at the end, then, for each stage and stacked over the steps, `X_i` and the
        residuals.
    """
    X, residuals = ([[] for _ in values] for _ in range(2))
    steps = [by_step(of_stage) for of_stage in values]
    for k, h_k in enumerate(each(h)):
        slopes = []
        for i, of_stage in enumerate(steps):
            X_i = stage_state(tableau, i, h_k, x, slopes)
            f, residual = linear.state(X_i, *[value[k] for value in of_stage])
            X[i].append(X_i)
            residuals[i].append(residual)
            slopes.append(f)
        x = moved(x, weighted(tableau.b, slopes), h_k)
    stacked = [[torch.stack(r) for r in zip(*of_stage, strict=True)] for of_stage in residuals]
    return x, [torch.stack(X_i) for X_i in X], stacked


def retreat(
    tableau: Tableau,
    linear: LinearisedDynamics,
    h: Sequence[float] | Tensor,
    p: Tensor,
    q: Stages,
    known: Stages,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Steps of the costate recursion, from the last to the first, with the other gradients.

    Arguments:
        tableau, linear, h: The method, the linearisation of its stages, the widths of the steps.
        p: The costate at the end.
        q: The source terms over `h`, one or none for a stage.
        known: What the products take besides the costate, `X_i, *values[i], *residuals[i]`.

    Returns:
        The costate at the start, `h f_u' m_i` of all steps for each stage, and `h f_theta' m_i`
        summed over all of them.
    """
    s = len(q)
    steps = [list(zip(*by_step(of_stage), strict=True)) for of_stage in known]
    sources = [by_step(of_stage) for of_stage in q]
    m = [[] for _ in q]
    for k, h_k in reversed([*enumerate(each(h))]):
        g: list[Tensor] = []
        for i in reversed(range(s)):
            # Stage `i` feeds the stages after it, which come first on the way back.
            column = [a[i] for a in tableau.a[:i:-1]]
            m_i = p if tableau.b[i] == 1 else tableau.b[i] * p
            if any(column):
                m_i = moved(m_i, weighted(column, g), h_k)
            g_i = linear.costate(m_i, *steps[i][k])
            g.append(sum((source[k] for source in sources[i]), g_i))
            m[i].append(m_i)
        p = moved(p, weighted([1.0] * s, g), h_k)

    of_u, of_theta = [], [torch.zeros_like(theta) for theta in linear.parameters]
    widths = h if isinstance(h, Tensor) else p.new_tensor(h)
    widths = widths.reshape(-1, *[1] * p.dim())
    for m_i, of_stage in zip(m, known, strict=True):
        part, *sums = torch.vmap(linear.gradient)(widths * torch.stack(m_i[::-1]), *of_stage)
        of_u.append(part)
        of_theta = [total + new.sum(0) for total, new in zip(of_theta, sums, strict=True)]
    return p, of_u, of_theta


def by_step(stacked: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """For each quantity, a tensor for each step."""
    return [z.unbind() for z in stacked]


def each(h: Sequence[float] | Tensor) -> Sequence[Any]:
    """The width of each step."""
    return h.unbind() if isinstance(h, Tensor) else h


Run = Callable[..., Sequence[Tensor]]


class Compiled(NamedTuple):
    """A compiled function.

    Attributes:
        run: `(*inputs, *steps) -> outputs`.
        stacked: The inputs whose steps are inputs of their own.
        returned: The structure of the outputs.
    """

    run: Run
    stacked: list[int]
    returned: TreeSpec


OPTIONS = {"cpp.min_chunk_size": 2**15}
"""Each thread gets at least as many numbers as in PyTorch's own operations, because starting a
thread takes longer than most steps."""

COMPILED: dict[Hashable, Compiled] = {}
"""The compiled functions of this process."""


def compiled(function: Callable[..., Any], key: Hashable, *args: Any) -> Any:
    """`function(*args)` by compiled code, kept for every later call with the same key and shapes.

    Arguments:
        function: A function of tensors, in nested lists, to tensors.
        key: Equal for two functions that take the same operations.
        args: Its arguments.

    Raises:
        RuntimeError: If they cannot be compiled, most often because there is no C++ compiler.
    """
    inputs = tree_leaves(args)
    key = (key, nesting(args), *((z.shape, z.stride(), z.dtype, z.device) for z in inputs))
    if key not in COMPILED:
        try:
            COMPILED[key] = compile_anew(function, args)
        except RuntimeError as error:
            reason = " ".join(str(error).splitlines()[:2])
            raise RuntimeError(f"compile=True cannot compile the dynamics: {reason}") from error
    run, stacked, returned = COMPILED[key]
    return tree_unflatten(run(*inputs, *of_steps(inputs, stacked)), returned)


def compile_anew(function: Callable[..., Any], args: Sequence[Any]) -> Compiled:
    """`function`, compiled for arguments like these."""
    # It takes a second to import.
    import torch._inductor

    inputs, structure = tree_flatten(args)
    returned: list[TreeSpec] = []

    def flat(*inputs: Tensor) -> list[Tensor]:
        outputs, spec = tree_flatten(function(*tree_unflatten(inputs, structure)))
        returned.append(spec)
        return outputs

    graph = make_fx(flat)(*inputs)
    stacked = separate(graph)
    run = torch._inductor.compile(graph, [*inputs, *of_steps(inputs, stacked)], OPTIONS)
    return Compiled(cast(Run, run), stacked, returned[0])


def nesting(tree: Any) -> Hashable:
    """Equal for two trees of lists and tensors with the same structure."""
    return tuple(map(nesting, tree)) if isinstance(tree, (list, tuple)) else None


def of_steps(inputs: Sequence[Tensor], stacked: Sequence[int]) -> list[Tensor]:
    """The inputs that each step has of its own."""
    return [step for i in stacked for step in inputs[i].unbind()]


def separate(graph: GraphModule) -> list[int]:
    """Makes each tensor that is unbound from an input an input of its own, after the others.

    As parts of one tensor, the steps would have kernels that differ only by an offset, and each
    kernel takes a second to compile. This way, all steps share one kernel.

    Returns:
        The inputs to unbind, in the order of the new ones.
    """
    graph.graph.eliminate_dead_code()
    inputs = graph.graph.find_nodes(op="placeholder")
    unbind = torch.ops.aten.unbind.int
    found = []
    for node in graph.graph.find_nodes(op="call_function", target=unbind):
        if node.args[0] not in inputs or node.args[1:] not in ((), (0,)):
            continue
        found.append(inputs.index(node.args[0]))
        last = graph.graph.find_nodes(op="placeholder")[-1]
        with graph.graph.inserting_before(last.next):
            names = [f"step_{len(found)}_{k}" for k in range(len(node.meta["val"]))]
            steps = [graph.graph.placeholder(name) for name in names]
        for item in list(node.users):
            item.replace_all_uses_with(steps[item.args[1]])
            graph.graph.erase_node(item)
        graph.graph.erase_node(node)
    graph.recompile()
    return found
