"""Scalar expressions as a graph without repetitions, and their exact derivatives."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ...errors import OcnetError


MOST_NODES = 40_000
"""The largest number of scalar operations that is worth writing out."""

Rule = Callable[["Graph", int, tuple[int, ...]], Sequence[int]]
"""The partial derivatives of an operation, from the graph, its result and its arguments."""


class Unsupported(OcnetError, TypeError):
    """A problem that is not written out in scalars."""


class ScalarFunction(NamedTuple):
    """A scalar function.

    Attributes:
        code: How C writes it.
        value: The function itself.
        partials: Its derivatives; none for a function that is constant almost everywhere.
    """

    code: str
    value: Callable[..., float]
    partials: Rule | None = None


class Graph:
    """A graph of expressions, which share the parts that they have in common.

    An expression is given by the number of its node. Arguments have smaller numbers than the
    expressions made of them. Node 0 is the expression zero, so a tensor of node numbers that is
    filled with zeros stands for expressions that are all zero.
    """

    zero: int
    one: int

    def __init__(self):
        self.nodes: list[tuple[Any, ...]] = []
        self.found: dict[tuple[Any, ...], int] = {}
        self.zero, self.one = self.constant(0.0), self.constant(1.0)

    def node(self, *key: object) -> int:
        """The node of an operation with its arguments; it is made only once.

        Raises:
            Unsupported: If there are too many.
        """
        if key not in self.found:
            if len(self.nodes) > MOST_NODES:
                raise Unsupported(f"more than {MOST_NODES} scalar operations")
            self.found[key] = len(self.nodes)
            self.nodes.append(key)
        return self.found[key]

    def constant(self, value: float) -> int:
        """A number."""
        return self.node("constant", float(value) + 0.0)

    def input(self, code: str) -> int:
        """A value that C reads by the code given."""
        return self.node("input", code)

    def number(self, node: int) -> float | None:
        """The value of an expression that is a constant; None if it is not a constant."""
        kind, *rest = self.nodes[node]
        return rest[0] if kind == "constant" else None

    def apply(self, name: str, *args: int) -> int:
        """An operation on expressions, simplified where that is exact."""
        numbers = [self.number(a) for a in args]
        known = [n for n in numbers if n is not None]
        if len(known) == len(args):
            try:
                return self.constant(OPERATIONS[name].value(*known))
            except (ValueError, OverflowError, ZeroDivisionError):
                return self.node(name, *args)
        simple = self.simplified(name, args, numbers)
        if simple is not None:
            return simple
        if name in ("add", "mul"):
            args = tuple(sorted(args))
        return self.node(name, *args)

    def simplified(
        self, name: str, args: tuple[int, ...], numbers: list[float | None]
    ) -> int | None:
        """A simpler expression of the same value, if there is one."""
        a, b, x, y = args[0], args[-1], numbers[0], numbers[-1]
        if name == "add" and 0.0 in numbers:
            return b if x == 0.0 else a
        if name == "sub" and (y == 0.0 or a == b):
            return a if y == 0.0 else self.zero
        if name == "sub" and x == 0.0:
            return self.apply("neg", b)
        if name == "mul" and 0.0 in numbers:
            return self.zero
        if name == "mul" and 1.0 in numbers:
            return b if x == 1.0 else a
        if name == "mul" and -1.0 in numbers:
            return self.apply("neg", b if x == -1.0 else a)
        if name == "div" and (x == 0.0 or y == 1.0):
            return a
        if name == "neg" and self.nodes[a][0] == "neg":
            return self.nodes[a][1]
        if name == "where" and (x is not None or args[1] == args[2]):
            return args[1] if x else args[2]
        return self.power(a, y) if name == "pow" and y is not None else None

    def power(self, a: int, exponent: float) -> int | None:
        """`a` to a power that is a small integer or a half; None for all others."""
        if exponent < 0:
            positive = self.power(a, -exponent)
            return None if positive is None else self.apply("div", self.one, positive)
        whole, half = divmod(exponent, 1)
        if whole > 8 or half not in (0.0, 0.5):
            return None
        result = self.apply("sqrt", a) if half else self.one
        for _ in range(int(whole)):
            result = self.apply("mul", result, a)
        return result

    def needed(self, outputs: Iterable[int]) -> list[int]:
        """All nodes that the outputs are made of, arguments first."""
        seen, stack = set(), list(outputs)
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                stack += self.arguments(node)
        return sorted(seen)

    def replaced(self, outputs: Sequence[int], places: dict[int, int]) -> list[int]:
        """Expressions in which some nodes are replaced by others."""
        done = dict(places)
        for node in self.needed(outputs):
            if node not in done:
                arguments = self.arguments(node)
                changed = [done[a] for a in arguments]
                same = not arguments or tuple(changed) == arguments
                done[node] = node if same else self.apply(self.nodes[node][0], *changed)
        return [done[node] for node in outputs]

    def arguments(self, node: int) -> tuple[int, ...]:
        """The expressions that a node is made of."""
        name, *args = self.nodes[node]
        return () if name in ("constant", "input") else tuple(args)

    def partials(self, node: int) -> Sequence[int]:
        """The derivatives of a node in its arguments."""
        name, args = self.nodes[node][0], self.arguments(node)
        rule = OPERATIONS[name].partials if args else None
        return [self.zero] * len(args) if rule is None else rule(self, node, args)

    def tangents(self, outputs: Sequence[int], variable: int) -> list[int]:
        """The derivatives of the outputs in one variable, forward through the graph."""
        rate = {variable: self.one}
        for node in self.needed(outputs):
            args = self.arguments(node)
            if not any(rate.get(a) for a in args):
                continue
            total = self.zero
            for a, partial in zip(args, self.partials(node), strict=True):
                if rate.get(a):
                    total = self.apply("add", total, self.apply("mul", partial, rate[a]))
            rate[node] = total
        return [rate.get(node, self.zero) for node in outputs]

    def gradient(self, output: int, variables: Sequence[int]) -> list[int]:
        """The derivatives of one output in all variables, backward through the graph."""
        adjoint = {output: self.one}
        for node in reversed(self.needed([output])):
            here = adjoint.get(node, self.zero)
            if here == self.zero:
                continue
            for a, partial in zip(self.arguments(node), self.partials(node), strict=True):
                part = self.apply("mul", here, partial)
                adjoint[a] = self.apply("add", adjoint.get(a, self.zero), part)
        return [adjoint.get(node, self.zero) for node in variables]


def of_one(formula: Callable[["Graph", int, int], int]) -> Rule:
    """The rule of a function of one argument, from its derivative `formula(graph, y, x)`."""
    return lambda graph, y, args: [formula(graph, y, args[0])]


def square(g: Graph, a: int) -> int:
    """`a^2`."""
    return g.apply("mul", a, a)


def over_root(g: Graph, a: int) -> int:
    """`1 / sqrt(a)`."""
    return g.apply("div", g.one, g.apply("sqrt", a))


def quotient(g: Graph, y: int, args: tuple[int, ...]) -> Sequence[int]:
    """The derivatives of `a / b`."""
    return [
        g.apply("div", g.one, args[1]),
        g.apply("neg", g.apply("div", y, args[1])),
    ]


def power(g: Graph, y: int, args: tuple[int, ...]) -> Sequence[int]:
    """The derivatives of `a^b`."""
    a, b = args
    less = g.apply("pow", a, g.apply("sub", b, g.one))
    positive = g.apply("lt", g.zero, a)
    by_exponent = g.apply("where", positive, g.apply("mul", y, g.apply("log", a)), g.zero)
    return [g.apply("mul", b, less), by_exponent]


def angle(g: Graph, y: int, args: tuple[int, ...]) -> Sequence[int]:
    """The derivatives of `atan2(a, b)`."""
    a, b = args
    size = g.apply("add", square(g, a), square(g, b))
    return [g.apply("div", b, size), g.apply("neg", g.apply("div", a, size))]


def sign(x: float) -> float:
    """-1, 0 or 1."""
    return float((x > 0) - (x < 0))


def one_minus_square(g: Graph, x: int) -> int:
    """`1 - x^2`."""
    return g.apply("sub", g.one, square(g, x))


TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

OPERATIONS: dict[str, ScalarFunction] = {
    "add": ScalarFunction("{} + {}", lambda a, b: a + b, lambda g, y, args: [g.one, g.one]),
    "sub": ScalarFunction(
        "{} - {}", lambda a, b: a - b, lambda g, y, args: [g.one, g.constant(-1)]
    ),
    "mul": ScalarFunction("{} * {}", lambda a, b: a * b, lambda g, y, args: [args[1], args[0]]),
    "div": ScalarFunction("{} / {}", lambda a, b: a / b, quotient),
    "neg": ScalarFunction("-{}", lambda a: -a, of_one(lambda g, y, x: g.constant(-1))),
    "pow": ScalarFunction("pow({}, {})", math.pow, power),
    "atan2": ScalarFunction("atan2({}, {})", math.atan2, angle),
    "exp": ScalarFunction("exp({})", math.exp, of_one(lambda g, y, x: y)),
    "expm1": ScalarFunction(
        "expm1({})", math.expm1, of_one(lambda g, y, x: g.apply("add", y, g.one))
    ),
    "log": ScalarFunction("log({})", math.log, of_one(lambda g, y, x: g.apply("div", g.one, x))),
    "log1p": ScalarFunction(
        "log1p({})", math.log1p,
        of_one(lambda g, y, x: g.apply("div", g.one, g.apply("add", g.one, x))),
    ),
    "sqrt": ScalarFunction(
        "sqrt({})", math.sqrt, of_one(lambda g, y, x: g.apply("div", g.constant(0.5), y))
    ),
    "sin": ScalarFunction("sin({})", math.sin, of_one(lambda g, y, x: g.apply("cos", x))),
    "cos": ScalarFunction(
        "cos({})", math.cos, of_one(lambda g, y, x: g.apply("neg", g.apply("sin", x)))
    ),
    "tan": ScalarFunction(
        "tan({})", math.tan, of_one(lambda g, y, x: g.apply("add", g.one, square(g, y)))
    ),
    "asin": ScalarFunction(
        "asin({})", math.asin, of_one(lambda g, y, x: over_root(g, one_minus_square(g, x)))
    ),
    "acos": ScalarFunction(
        "acos({})", math.acos,
        of_one(lambda g, y, x: g.apply("neg", over_root(g, one_minus_square(g, x)))),
    ),
    "atan": ScalarFunction(
        "atan({})", math.atan,
        of_one(lambda g, y, x: g.apply("div", g.one, g.apply("add", g.one, square(g, x)))),
    ),
    "sinh": ScalarFunction("sinh({})", math.sinh, of_one(lambda g, y, x: g.apply("cosh", x))),
    "cosh": ScalarFunction("cosh({})", math.cosh, of_one(lambda g, y, x: g.apply("sinh", x))),
    "tanh": ScalarFunction("tanh({})", math.tanh, of_one(lambda g, y, x: one_minus_square(g, y))),
    "erf": ScalarFunction(
        "erf({})", math.erf,
        of_one(
            lambda g, y, x: g.apply(
                "mul", g.constant(TWO_OVER_ROOT_PI),
                g.apply("exp", g.apply("neg", square(g, x))),
            )
        ),
    ),
    "abs": ScalarFunction("fabs({})", math.fabs, of_one(lambda g, y, x: g.apply("sign", x))),
    "sign": ScalarFunction("(real)(({0} > 0) - ({0} < 0))", sign),
    "floor": ScalarFunction("floor({})", math.floor),
    "ceil": ScalarFunction("ceil({})", math.ceil),
    "round": ScalarFunction("nearbyint({})", round),
    "lt": ScalarFunction("(real)({} < {})", lambda a, b: float(a < b)),
    "le": ScalarFunction("(real)({} <= {})", lambda a, b: float(a <= b)),
    "eq": ScalarFunction("(real)({} == {})", lambda a, b: float(a == b)),
    "where": ScalarFunction(
        "({} != 0 ? {} : {})", lambda c, a, b: a if c else b,
        lambda g, y, args: [
            g.zero, g.apply("where", args[0], g.one, g.zero),
            g.apply("where", args[0], g.zero, g.one),
        ],
    ),
}  # fmt: skip
"""All operations; comparisons are one or zero."""
