"""What a problem's Python functions compute, as formulas: they are traced with symbols."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..constants import FIXED
from ..transcription.check import own_value
from ..transcription.transcription import Transcription
from ..transcription.units import Units
from .expression import Graph
from .formulas import Unsupported
from .once import WrittenOnce
from .symbol import entries, Symbol


TIME = "s"
"""The C expression that reads the time."""

MOST_PARAMETERS = 4096
"""The largest number of parameters that are worth writing out as scalars."""


class Formulas(NamedTuple):
    """The functions of a discretised problem, as expressions of one point and its time.

    Attributes:
        shapes: The shapes of the parameters, in C's order.
        graph: The expressions.
        stage: Those of `F, c, g`.
        end: Those of `phi, psi, omega`.
    """

    shapes: dict[str, torch.Size]
    graph: Graph
    stage: list[list[int]]
    end: list[list[int]]

    def needed(self) -> list[int]:
        """The nodes of which the functions are made."""
        return self.graph.needed(node for nodes in (*self.stage, *self.end) for node in nodes)

    def read_time(self) -> bool:
        """Whether the time occurs in them."""
        return self.graph.input(TIME) in self.needed()

    def unread(self, nlp: Transcription) -> list[str]:
        """The static parameters that do not occur in them."""
        read, start, found = set(self.needed()), nlp.nx + nlp.points.free_time, []
        for name, like in nlp.points.static.items():
            entries = range(start, start + like.numel())
            if not any(self.graph.input(f"w[{i}]") in read for i in entries):
                found.append(name)
            start += like.numel()
        return found

    def key(self) -> tuple[Any, ...]:
        """A key that is equal only for the same formulas, numbers included."""
        outputs = tuple(map(tuple, (*self.stage, *self.end)))
        return (
            tuple((i, self.graph.nodes[i]) for i in self.needed()),
            outputs,
            tuple(self.shapes.items()),
        )


def parameter_values(nlp: Transcription) -> dict[str, Tensor]:
    """The values that instances may differ in, `(batch or 1, *shape)`, by name, in C's order.

    Every parameter and buffer of the problem is read anew at every call: the compiled functions
    hold none of their values.
    """
    one = nlp.x0.new_tensor
    fixed = (
        one([[nlp.points.h]]), one([[float(nlp.n)]]), nlp.scale,
        *(one([[value]]) for value in (nlp.weight or 0.0, nlp.share, nlp.hold)),
    )  # fmt: skip
    values = {name: v.reshape(-1, 1) for name, v in zip(FIXED, fixed, strict=True)}
    values["units"] = torch.cat([*(Units.ones(nlp) if nlp.units is None else nlp.units)], 1)
    values["anchor"] = nlp.anchor
    values |= given_values(nlp)
    return values


def given_values(nlp: Transcription) -> dict[str, Tensor]:
    """The problem's parameters and buffers, "own NAME", and the target, as `parameter_values`."""
    problem, values = nlp.problem, {}
    known = [name for name, _ in (*problem.named_parameters(), *problem.named_buffers())]
    shared, own, target = nlp.given
    for name in dict.fromkeys([*known, *own, *shared]):
        value = own.get(name)
        if value is None:
            value = shared.get(name, own_value(problem, name))[None]
        if name not in nlp.points.static and value.dtype.is_floating_point:
            values[f"own {name}"] = value.detach()
    if target is not None and target.dtype.is_floating_point:
        values["target"] = target.detach()
    return values


def symbol(graph: Graph, codes: Sequence[str], shape: Sequence[int], dtype: torch.dtype) -> Symbol:
    """A tensor of values that C reads.

    Arguments:
        graph: The graph that the entries become part of.
        codes: The C expression that reads each entry.
        shape: Its shape.
        dtype: Its type.
    """
    ids = torch.tensor([graph.input(code) for code in codes], dtype=torch.int64)
    return Symbol(ids.reshape(tuple(shape)), graph, dtype)


def traced(nlp: Transcription) -> Formulas:
    """The formulas, for any time `t`, of a discretised problem's functions as they are now.

    The functions are called once, with symbols for state, control, time, target and parameters.
    All else that they read (globals, attributes, entries of dictionaries and arrays) is part of
    the formulas as it is now. Symbols have no values, so code that needs one, such as a branch,
    `float(t)` or a lookup by index, cannot be traced.

    Raises:
        Unsupported: With the reason why there are no formulas.
    """
    check_floating(nlp)
    shapes = {name: value.shape[1:] for name, value in parameter_values(nlp).items()}
    if sum(shape.numel() for shape in shapes.values()) > MOST_PARAMETERS:
        raise Unsupported(f"more than {MOST_PARAMETERS} parameters")
    try:
        return Formulas(shapes, *nodes(nlp, shapes))
    # The user's own code may do anything with symbols, which can raise anything; torch computes
    # such a problem, and raises what is really wrong with it.
    except Exception as error:
        raise Unsupported(f"{type(nlp.problem).__name__} is not compiled: {error}") from error


def check_floating(nlp: Transcription) -> None:
    """Raises Unsupported if an instance's own values are integers: formulas hold real numbers."""
    given = {"target": nlp.given.target, **nlp.given.own, **nlp.given.shared}
    for name, value in given.items():
        if value is not None and not value.dtype.is_floating_point:
            raise Unsupported(
                f"{type(nlp.problem).__name__} is not compiled: {name} has type {value.dtype}"
            )


def nodes(
    nlp: Transcription, shapes: dict[str, torch.Size]
) -> tuple[Graph, list[list[int]], list[list[int]]]:
    """A graph with the expressions of `F, c, g` and of `phi, psi, omega`."""
    graph, dtype = Graph(), nlp.x0.dtype
    values, place = {}, 0
    for name, shape in shapes.items():
        size = shape.numel()
        values[name] = symbol(graph, [f"p[{place + i}]" for i in range(size)], shape, dtype)
        place += size
    own = {name[4:]: value for name, value in values.items() if name.startswith("own ")}
    target = values.get("target")
    w = [f"w[{i}]" for i in range(nlp.nz + nlp.nu)]
    z, u = (symbol(graph, v, [len(v)], dtype) for v in (w[: nlp.nz], w[nlp.nz :]))
    time = symbol(graph, [TIME], [], dtype)
    # The same formulas as everywhere, at one point whose parameters are symbols.
    one = copy.copy(nlp)
    one.points = points = copy.copy(nlp.points)
    points.problem = WrittenOnce(nlp.problem, graph)  # pyright: ignore[reportAttributeAccessIssue]
    points.h, one.scale, one.anchor = values["h"][0], values["scale"], values["anchor"]
    one.n = values["n"][0]  # pyright: ignore[reportAttributeAccessIssue]
    one.weight = None if nlp.weight is None else values["weight"][0]  # pyright: ignore
    one.share, one.hold = values["share"][0], values["hold"][0]  # pyright: ignore
    rows = nlp.nz + nlp.nu, nlp.along.rows, nlp.n_psi, nlp.end.rows
    cuts = [sum(rows[:i]) for i in range(5)]
    one.units = Units(*(values["units"][a:b] for a, b in itertools.pairwise(cuts)))
    one.stages_of_problem = lambda z, u, s: points.stage(z, u, time, target, own)
    one.ends_of_problem = lambda z, u: points.ending(z, u, time, target, own)
    with torch.no_grad():
        outputs = [*one.stages(z, u), *one.ends(z, u)]
    found = [entries(graph, value).reshape(-1).tolist() for value in outputs]
    return graph, found[:3], found[3:]
