"""The C source of a problem's functions and derivatives, from their formulas."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ..constants import c_header, FIXED
from ..transcription.transcription import Transcription
from .expression import Graph, OPERATIONS
from .trace import Formulas


HERE, FILES = Path(__file__).parent, ("riccati.h", "point.h", "newton.h", "interior_point.c")
SCALE = f"p[{FIXED.index('scale')}]"
"""The C expression that reads the scale."""


class Source(NamedTuple):
    """C source, and the numbers that it reads after an instance's parameters.

    Problems that differ in numbers alone share the source, and so the machine code.

    Attributes:
        text: The source.
        numbers: Constants of the formulas, in the order C reads them.
        has_steps: Whether a formula is constant almost everywhere, as rounding and comparing are.
    """

    text: str
    numbers: tuple[float, ...]
    has_steps: bool


def written(nlp: Transcription, formulas: Formulas) -> Source:
    """The whole C source of a discretised problem, for any number of steps.

    Raises:
        Unsupported: If that is too long.
    """
    graph, stage, end = formulas.graph, formulas.stage, formulas.end
    count = sum(shape.numel() for shape in formulas.shapes.values())
    flat = {name for name, operation in OPERATIONS.items() if operation.partials is None}
    has_steps = any(kind in flat for kind, *_ in graph.nodes)
    numbers = Numbers(count)
    point, real = "const real *restrict w, const real *restrict p, ", "const real *restrict "
    along: dict[str, list[int]] = dict(zip(("F", "c", "g"), stage, strict=True))
    at_end: dict[str, list[int]] = dict(zip(("phi", "psi", "omega"), end, strict=True))
    # The Hessians are those of `costate F + scale c + eta g` and `scale phi + nu psi + eta omega`.
    weights = f"{real}costate, {real}eta, ", f"{real}nu, {real}eta, "
    d = nlp.nz + nlp.nu
    d_stage = derivatives(graph, d, along, ("costate", SCALE, "eta"))
    d_end = derivatives(graph, d, at_end, (SCALE, "nu", "eta"))
    functions = [
        function(graph, numbers, "stage_values", f"{point}real s, ", along),
        function(graph, numbers, "stage_derivatives", f"{point}real s, {weights[0]}", d_stage),
        function(graph, numbers, "end_values", f"{point}real s, ", at_end),
        function(graph, numbers, "end_derivatives", f"{point}real s, {weights[1]}", d_end),
    ]
    files = [(HERE / name).read_text() for name in FILES]
    return Source(
        "\n".join([header(nlp, count + len(numbers.place)), *functions, *files]),
        tuple(numbers.place),
        has_steps,
    )


class Numbers:
    """The numbers in formulas: C reads them after the `first` parameters.

    Arguments:
        first: How many parameters come before them.
    """

    def __init__(self, first: int):
        self.first = first
        self.place: dict[float, int] = {}

    def code(self, value: float) -> str:
        """The C expression for a number."""
        if not math.isfinite(value):
            return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "(-INFINITY)"
        if value in (-1.0, 0.0, 0.5, 1.0, 2.0):
            return f"({value!r})"
        return f"p[{self.place.setdefault(value, self.first + len(self.place))}]"


def derivatives(
    graph: Graph, d: int, rows: dict[str, list[int]], weights: Sequence[str]
) -> dict[str, list[int]]:
    """Values, Jacobians in `w`, and the Hessian of the weighted sum of all rows."""
    variables = [graph.input(f"w[{i}]") for i in range(d)]
    total = graph.zero
    for weight, nodes in zip(weights, rows.values(), strict=True):
        for i, node in enumerate(nodes):
            factor = graph.input(weight if weight == SCALE else f"{weight}[{i}]")
            total = graph.apply("add", total, graph.apply("mul", factor, node))
    gradient = graph.gradient(total, variables)
    hessian = [[graph.zero] * d for _ in range(d)]
    everything = [node for nodes in rows.values() for node in nodes]
    columns = []
    for j, variable in enumerate(variables):
        for i, node in enumerate(graph.tangents(gradient[j:], variable), start=j):
            hessian[i][j] = hessian[j][i] = node
        columns.append(graph.tangents(everything, variable))
    outputs, first = dict(rows), 0
    for name, nodes in rows.items():
        here = range(first, first + len(nodes))
        outputs[f"{name}_w"] = [columns[j][i] for i in here for j in range(d)]
        first += len(nodes)
    outputs["H"] = [node for row in hessian for node in row]
    return outputs


def function(
    graph: Graph, numbers: Numbers, name: str, arguments: str, outputs: dict[str, list[int]]
) -> str:
    """A C function that writes expressions to arrays."""
    kept = [node for nodes in outputs.values() for node in nodes]
    code, lines = {}, []
    for node in graph.needed(kept):
        kind, *rest = graph.nodes[node]
        if kind == "constant":
            code[node] = numbers.code(rest[0])
        elif kind == "input":
            code[node] = rest[0]
        else:
            formula = OPERATIONS[kind].code.format(*(code[a] for a in rest))
            lines.append(f"  const real v{node} = {formula};")
            code[node] = f"v{node}"
    for array, nodes in outputs.items():
        lines += [f"  {array}[{i}] = {code[node]};" for i, node in enumerate(nodes)]
    arrays = ", ".join(f"real *restrict {array}" for array in outputs)
    return f"static void {name}({arguments}{arrays}) {{\n" + "\n".join(lines) + "\n}\n"


def header(nlp: Transcription, parameters: int) -> str:
    """Sizes, constants and places of bounds."""
    along, end = nlp.along, nlp.end
    numbers = {
        "NX": nlp.nx, "NZ": nlp.nz, "NU": nlp.nu, "NPSI": nlp.n_psi,
        "NLO": len(along.lower), "NUP": len(along.upper), "NG": along.rows,
        "ELO": len(end.lower), "EUP": len(end.upper), "NOM": end.rows,
        "NP": parameters, "EPSILON": torch.finfo(nlp.x0.dtype).eps,
    }  # fmt: skip
    places = {
        "AT_LOWER": along.at_lower, "AT_UPPER": along.at_upper,
        "END_LOWER": end.at_lower, "END_UPPER": end.at_upper,
    }  # fmt: skip
    return "\n".join([
        *(f"#include <{name}.h>" for name in ("math", "stdint", "stdlib", "string")),
        "typedef double real;",
        *(f"#define {name} {value}" for name, value in numbers.items()),
        *(f"static const int {name}[] = {{{', '.join(map(str, [*at.tolist(), 0]))}}};"
          for name, at in places.items()),
        c_header(),
        "",
    ])  # fmt: skip
