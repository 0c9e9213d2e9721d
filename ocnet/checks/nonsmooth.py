"""Kinks and infinite derivatives: which operation of a user's formula has one, and where."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._blame import at_line, is_users
from .finding import Finding


CLOSE, NEARBY = 1e-3, 0.1
"""How close to a kink an operation's argument must be, relative to its largest value or one.

The second number counts if no argument is as close as the first: when a kink stops an iteration,
the best point found need not lie on the kink.
"""

SMOOTH = "replace it by sqrt(y**2 + 1e-6), or bound it by a further control that is the cost"


class Kink(NamedTuple):
    """An operation that has a kink or an infinite derivative somewhere.

    Attributes:
        symbol: How it is written.
        what: What is wrong there.
        advice: The usual reformulation.
        distance: A function from the operation's node to the distance of its argument from that
            place, or to None.
    """

    symbol: str
    what: str
    advice: str
    distance: Callable[[Any], Tensor | None]


def saved(node: Any, name: str) -> Tensor | None:
    """The value that an operation has kept under a name; None if there is none."""
    value = getattr(node, f"_saved_{name}", None)
    return torch.as_tensor(value) if isinstance(value, (Tensor, int, float)) else None


def of(name: str, shift: float = 0.0) -> Callable[[Any], Tensor | None]:
    """The distance of a kept tensor's size from a number."""

    def distance(node: Any) -> Tensor | None:
        value = saved(node, name)
        return None if value is None else value.detach().abs() - shift

    return distance


def between(first: str, second: str) -> Callable[[Any], Tensor | None]:
    """The distance between two kept values."""

    def distance(node: Any) -> Tensor | None:
        a, b = saved(node, first), saved(node, second)
        return None if a is None or b is None else a.detach() - b.detach()

    return distance


def power(node: Any) -> Tensor | None:
    """The size of a base whose exponent is below 2 and not 1."""
    base, exponent = saved(node, "self"), saved(node, "exponent")
    if base is None or exponent is None or exponent.numel() != 1:
        return None
    steep = float(exponent) < 2 and float(exponent) not in (0.0, 1.0)
    return base.detach().abs() if steep else None


def not_negative(node: Any) -> Tensor | None:
    """An argument where it is not negative, else zero."""
    value = saved(node, "self")
    return None if value is None else value.detach().clamp(min=0)


def positive(node: Any) -> Tensor | None:
    """A rectified value where it is not zero."""
    value = saved(node, "result")
    return None if value is None else torch.where(value > 0, value, math.inf).detach()


KINK, INFINITE = "has a kink", "has an infinite derivative"
ROOT = "add a small constant inside, such as sqrt(y + 1e-8), or keep y away from 0 by a bound"
POSITIVE = "keep y away from 0 by a bound on the control or a path_constraint"
RECTIFIED = "use a smooth one, such as (y + sqrt(y**2 + 1e-6)) / 2, or a slack control s >= y"

KINDS = {
    "AbsBackward": Kink("|y|", KINK, SMOOTH, of("self")),
    "SqrtBackward": Kink("sqrt(y)", INFINITE, ROOT, of("result")),
    "RsqrtBackward": Kink("1/sqrt(y)", INFINITE, POSITIVE, lambda node: inverse(node)),
    "LinalgVectorNormBackward": Kink("|y|", KINK, SMOOTH, of("result")),
    "NormBackward": Kink("|y|", KINK, SMOOTH, of("result")),
    "LogBackward": Kink("log(y)", INFINITE, POSITIVE, not_negative),
    "PowBackward": Kink("y**p with p < 2", INFINITE, ROOT, power),
    "AcosBackward": Kink("acos(y)", INFINITE, "keep |y| below 1", of("self", 1.0)),
    "AsinBackward": Kink("asin(y)", INFINITE, "keep |y| below 1", of("self", 1.0)),
    "DivBackward": Kink("1/y", INFINITE, POSITIVE, of("other")),
    "ReciprocalBackward": Kink("1/y", INFINITE, POSITIVE, lambda node: inverse(node)),
    "MaximumBackward": Kink("max(y, z)", KINK, RECTIFIED, between("self", "other")),
    "MinimumBackward": Kink("min(y, z)", KINK, RECTIFIED, between("self", "other")),
    "ReluBackward": Kink("relu(y)", KINK, RECTIFIED, positive),
    "ClampMinBackward": Kink("max(y, c)", KINK, RECTIFIED, between("self", "min")),
    "ClampMaxBackward": Kink("min(y, c)", KINK, RECTIFIED, between("self", "max")),
    "ClampBackward": Kink("clamp(y)", KINK, RECTIFIED, lambda node: clamped(node)),
}
"""Operations by the names of torch's nodes, without the number."""


def inverse(node: Any) -> Tensor | None:
    """The size of an inverse's argument: one over the result that the inverse has kept."""
    value = saved(node, "result")
    return None if value is None else 1 / value.detach().abs()


def clamped(node: Any) -> Tensor | None:
    """How far an argument is from the closer of its two limits."""
    gaps = [between("self", name)(node) for name in ("min", "max")]
    sizes = [gap.abs() for gap in gaps if gap is not None]
    return torch.stack(sizes).amin(0) if sizes else None


class Evaluation(NamedTuple):
    """A function's values at some time, and how to name it.

    Attributes:
        function, place: The function's name, and where it is written.
        time: Where it was found.
        value: A function without arguments that returns its value, with a graph.
    """

    function: str
    place: str
    time: float
    value: Callable[[], Tensor]


def kinks(evaluations: Sequence[Evaluation]) -> list[Finding]:
    """The operations whose argument is at a kink, or where a derivative is infinite.

    Arguments:
        evaluations: The functions at the points of a path.
    """
    closest: dict[tuple[str, str, str], tuple[float, float]] = {}
    largest: dict[tuple[str, str, str], float] = {}
    for function, place, time, value in evaluations:
        with torch.enable_grad(), torch.autograd.set_detect_anomaly(True, check_nan=False):
            nodes = graph(value())
            for node in nodes:
                name = re.sub(r"\d+$", "", type(node).__name__)
                distance = KINDS[name].distance(node) if name in KINDS else None
                if distance is None or distance.numel() == 0:
                    continue
                key = function, line_of(node) or place, name
                # On the wrong side of a root or a logarithm there is not even a value.
                sizes = distance.abs().nan_to_num(nan=0.0)
                least, most = float(sizes.amin()), float(sizes.amax())
                if key not in closest or least < closest[key][0]:
                    closest[key] = least, time
                if math.isfinite(most):
                    largest[key] = max(most, largest.get(key, 1.0))
    for share in (CLOSE, NEARBY):
        found = [
            Finding(function, place, in_words(KINDS[name], time))
            for (function, place, name), (least, time) in sorted(
                closest.items(), key=lambda item: item[1]
            )
            if least <= share * largest.get((function, place, name), 1.0)
        ]
        if found:
            return found
    return []


def in_words(kind: Kink, time: float) -> str:
    """What is wrong with an operation, where, and what to do about it."""
    return f"{kind.what}, of {kind.symbol}, at t={time:.4g}: {kind.advice}."


def graph(value: Tensor) -> Iterator[Any]:
    """The nodes of a value's graph."""
    waiting, seen = [value.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting.extend(following for following, _ in node.next_functions)


def line_of(node: Any) -> str | None:
    """The user's line that an operation comes from, which torch notes in anomaly mode."""
    found = None
    for entry in node.metadata.get("traceback_", ()):
        for file, line in re.findall(r'File "(.+?)", line (\d+)', entry):
            if is_users(file):
                found = at_line(file, int(line))
    return found
