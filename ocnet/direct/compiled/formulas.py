"""The formulas of torch's elementwise functions, by their names."""

from collections.abc import Callable
from typing import Any

from .expression import Graph, Unsupported as Unsupported


def scaled(sign: str) -> Callable[..., Any]:
    """`a + alpha b` or `a - alpha b`."""
    return lambda g, a, b, alpha=1: g.apply(sign, a, g.apply("mul", g.constant(alpha), b))


def unary(name: str) -> Callable[..., Any]:
    """An operation of the graph."""
    return lambda g, *args: g.apply(name, *args)


def divided(g: Graph, a: int, b: int, rounding_mode: str | None = None) -> int:
    """A quotient."""
    if rounding_mode is not None:
        raise Unsupported(f"a division with rounding_mode={rounding_mode}")
    return g.apply("div", a, b)


def logistic(g: Graph, a: int) -> int:
    """`(1 + tanh(a/2)) / 2`, which does not overflow."""
    half = g.constant(0.5)
    return g.apply("mul", half, g.apply("add", g.one, g.apply("tanh", g.apply("mul", half, a))))


def larger(g: Graph, a: int, b: int) -> int:
    """The larger of two; where they are equal its derivative is shared by both."""
    both = g.apply("mul", g.constant(0.5), g.apply("add", a, b))
    tie = g.apply("where", g.apply("eq", a, b), both, a)
    return g.apply("where", g.apply("lt", a, b), b, tie)


def smaller(g: Graph, a: int, b: int) -> int:
    """The smaller of two."""
    return g.apply("neg", larger(g, g.apply("neg", a), g.apply("neg", b)))


def at_least(g: Graph, a: int, low: int) -> int:
    """`a` bounded below by `low`; where both are equal, the derivative is that of `a`."""
    return g.apply("where", g.apply("le", low, a), a, low)


def at_most(g: Graph, a: int, high: int) -> int:
    """`a` bounded above by `high`."""
    return g.apply("where", g.apply("le", a, high), a, high)


def clamped(g: Graph, a: int, *, min: Any = None, max: Any = None) -> int:
    """`a` between two numbers; either may be missing."""
    a = a if min is None else at_least(g, a, g.constant(min))
    return a if max is None else at_most(g, a, g.constant(max))


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: unary(name) for name in (
        "mul", "neg", "atan2", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "asin",
        "acos", "atan", "sinh", "cosh", "tanh", "erf", "abs", "floor", "ceil", "round",
        "lt", "le", "eq", "where", "pow",
    )},
    "add": scaled("add"),
    "sub": scaled("sub"),
    "rsub": lambda g, a, b, alpha=1: g.apply("sub", b, g.apply("mul", g.constant(alpha), a)),
    "div": divided,
    "rdiv": lambda g, a, b: g.apply("div", b, a),
    "rpow": lambda g, a, b: g.apply("pow", b, a),
    "reciprocal": lambda g, a: g.apply("div", g.one, a),
    "rsqrt": lambda g, a: g.apply("div", g.one, g.apply("sqrt", a)),
    "square": lambda g, a: g.apply("mul", a, a),
    "sgn": unary("sign"),
    "sign": unary("sign"),
    "sigmoid": logistic,
    "relu": lambda g, a: g.apply("where", g.apply("lt", g.zero, a), a, g.zero),
    "maximum": larger,
    "minimum": smaller,
    "clamp": clamped,
    "clamp_min": at_least,
    "clamp_max": at_most,
    "gt": lambda g, a, b: g.apply("lt", b, a),
    "ge": lambda g, a, b: g.apply("le", b, a),
    "ne": lambda g, a, b: g.apply("sub", g.one, g.apply("eq", a, b)),
    "logical_and": lambda g, a, b: g.apply("mul", a, b),
    "bitwise_and": lambda g, a, b: g.apply("mul", a, b),
    "logical_or": lambda g, a, b: g.apply("sub", g.apply("add", a, b), g.apply("mul", a, b)),
    "bitwise_or": lambda g, a, b: g.apply("sub", g.apply("add", a, b), g.apply("mul", a, b)),
    "logical_not": lambda g, a: g.apply("sub", g.one, a),
    "bitwise_not": lambda g, a: g.apply("sub", g.one, a),
}  # fmt: skip
"""Elementwise functions, by torch's names."""
