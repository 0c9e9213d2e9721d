"""Runge-Kutta steps forward in depth and costate steps back, as they are or compiled."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from .linearisation import Linearisation
from .tableau import Tableau, weighted


Steps = Sequence[Any] | Tensor
"""What belongs to consecutive steps, each under its index: a list, or one stacked tensor."""


def advance(
    tableau: Tableau,
    linear: Linearisation,
    x: Tensor,
    values: Sequence[Sequence[Steps]],
    h: Steps,
) -> tuple[Tensor, list[Tensor], Sequence[Sequence[Steps]]]:
    """Steps of an explicit Runge-Kutta method.

    Arguments:
        tableau: The method.
        linear: The dynamics, `f` of stage `i` from `linear.state(X_i, *values[i])`.
        x: The state at the start.
        values: For each stage, what the dynamics take from time and control.
        h: The widths of the steps; if they are stacked, so are the residuals.

    Returns:
        The state at the end, `X_i` of all steps for each stage, and the residuals of each stage.
    """
    X, residuals = ([[] for _ in values] for _ in range(2))
    for k in range(len(h)):
        slopes = []
        for i, a in enumerate(tableau.a):
            X_i = moved(x, weighted(a, slopes), h[k]) if slopes else x
            f, residual = linear.state(X_i, *[value[k] for value in values[i]])
            X[i].append(X_i)
            residuals[i].append(residual)
            slopes.append(f)
        x = moved(x, weighted(tableau.b, slopes), h[k])
    collect = torch.stack if isinstance(h, Tensor) else list
    collected = [[collect(r) for r in zip(*of_stage, strict=True)] for of_stage in residuals]
    return x, [torch.stack(X_i) for X_i in X], collected


def retreat(
    tableau: Tableau,
    linear: Linearisation,
    p: Tensor,
    q: Sequence[Steps],
    X: Sequence[Tensor],
    values: Sequence[Sequence[Steps]],
    residuals: Sequence[Sequence[Steps]],
    h: Steps,
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Steps of the costate recursion, from the last to the first, and the gradients of the rest.

    Arguments:
        tableau, linear, values, h: As of `advance`.
        p: The costate at the end.
        q: For each stage, the source terms over `h`; empty if there are none.
        X, residuals: What `advance` returned.

    Returns:
        The costate at the start, `h f_u' m_i` of all steps for each stage, and `h f_theta' m_i`
        summed over all of them.
    """
    s = len(q)
    known = [list(zip(X[i].unbind(), *values[i], *residuals[i], strict=True)) for i in range(s)]
    m = [[] for _ in q]
    for k in reversed(range(len(h))):
        g: list[Tensor] = []
        for i in reversed(range(s)):
            # Stage `i` feeds those behind it, which come first here.
            column = [a[i] for a in tableau.a[:i:-1]]
            m_i = p if tableau.b[i] == 1 else tableau.b[i] * p
            if any(column):
                m_i = moved(m_i, weighted(column, g), h[k])
            g_i = linear.costate(m_i, *known[i][k])
            g.append(g_i + q[i][k] if len(q[i]) else g_i)
            m[i].append(m_i)
        p = moved(p, weighted([1.0] * s, g), h[k])

    of_u, of_theta = [], [torch.zeros_like(theta) for theta in linear.parameters]
    widths = h if isinstance(h, Tensor) else X[0].new_tensor(h)
    widths = widths.reshape(-1, *[1] * (X[0].dim() - 1))
    for i in range(s):
        stacked = (stack(z) for z in (*values[i], *residuals[i]))
        m_i = widths * torch.stack(m[i][::-1])
        part, *sums = torch.vmap(linear.gradient)(m_i, X[i], *stacked)
        of_u.append(part)
        of_theta = [total + new.sum(0) for total, new in zip(of_theta, sums, strict=True)]
    return p, of_u, of_theta


def stack(steps: Steps) -> Tensor:
    """What belongs to the steps, in one tensor."""
    return steps if isinstance(steps, Tensor) else torch.stack(list(steps))


def moved(x: Tensor, z: Tensor, h: float | Tensor) -> Tensor:
    """`x + h z`."""
    return x + h * z if isinstance(h, Tensor) else x.add(z, alpha=h)


COMPILED: dict[Hashable, tuple[Callable, Any]] = {}
"""The compiled functions of this process, with the structure of what they return."""


def compiled(function: Callable, key: Hashable, *args: Any) -> Any:
    """`function(*args)` by compiled code, kept for every later call with the same key and shapes.

    Arguments:
        function: A function of tensors, in nested lists, to tensors.
        key: Equal for two functions that take the same operations.
        args: Its arguments.

    Raises:
        RuntimeError: If they cannot be compiled, most often because there is no C++ compiler.
    """
    leaves, structure = tree_flatten(args)
    key = (key, *((z.shape, z.stride(), z.dtype, z.device) for z in leaves))
    if key not in COMPILED:
        graph = make_fx(lambda *z: tree_flatten(function(*tree_unflatten(z, structure)))[0])
        returned = tree_flatten(function(*args))[1]
        COMPILED[key] = torch.compile(graph(*leaves), dynamic=False), returned
    run, returned = COMPILED[key]
    try:
        return tree_unflatten(run(*leaves), returned)
    except RuntimeError as error:
        del COMPILED[key]
        reason = " ".join(str(error).splitlines()[:2])
        raise RuntimeError(f"compile=True cannot compile the dynamics: {reason}") from error
