"""What a comparison of solvers found, as data, tables, text and JSON."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from ..certificate import Certificate, Order
from ..certificate.terms import told


@dataclass(frozen=True)
class Row:
    """The results of one solver.

    Attributes:
        solver: Which solver it belongs to.
        cost: The mean cost.
        cost_error: Its distance from the reference's.
        state_error: The largest Euclidean distance of a final state from the reference's.
        path_gap: The largest gap on the path, of the worst sample, relative to the path's range
            (`ocnet.certificate`).
        order: The observed order of the final state, from twice as many steps, or why there is
            none; None if the method is adaptive.
        evaluations: How often the vector field was evaluated, without the backward pass.
        seconds: The median wall time of one solution with its gradient.
        memory: The peak of bytes allocated for it, or None if that was not asked for.
        scores: The mean of the problem's further measures, such as the accuracy.
        note: Why there are no figures, if there are none.
        is_reference: Whether the first reference uses the same method with tighter tolerances;
            the errors are then those against the fine grid.
    """

    solver: str
    cost: float
    cost_error: float
    state_error: float
    path_gap: float
    order: Order | None
    evaluations: int
    seconds: float
    memory: int | None
    scores: dict[str, float]
    note: str = ""
    is_reference: bool = False

    @classmethod
    def without_figures(cls, solver: str, note: str) -> "Row":
        """The row of a solver that gives no figures, with the reason."""
        nan = math.nan
        return cls(solver, nan, nan, nan, nan, None, 0, nan, None, {}, note)


@dataclass(frozen=True)
class Curve:
    """What a picture shows of one solver: the first sample's path and the path of the cost.

    Attributes:
        solver: Which solver it belongs to.
        t: The times, shape `(time,)`.
        x: The state of the first sample at those times, flattened, at most eight components.
    """

    solver: str
    t: list[float]
    x: list[list[float]]


@dataclass(frozen=True)
class Difference:
    """How far one solver is from the reference along the path, relative to the path's range.

    Attributes:
        solver: Which solver it belongs to.
        t: The times, shape `(time,)`.
        median, most, worst: The median, the 95% quantile and the maximum over the samples; each
            is the largest over the components.
    """

    solver: str
    t: list[float]
    median: list[float]
    most: list[float]
    worst: list[float]


@dataclass(frozen=True)
class WorkPoint:
    """The effort and the accuracy of one setting of a solver.

    Attributes:
        family: The method.
        solver: The solver with its steps or tolerances.
        evaluations, seconds: The evaluations of the dynamics and the time of one solution with its
            gradient.
        path_gap: The largest distance to the reference along the path, relative to its range.
    """

    family: str
    solver: str
    evaluations: int
    seconds: float
    path_gap: float


@dataclass(frozen=True)
class Comparison:
    """One control under several solvers.

    Attributes:
        problem: The name of the problem.
        rows: One row a solver.
        certificate: The depth certificate of the first Euler solver, or else of the first one
            with fixed steps; None if there is none.
        curves: The trajectories, where the state keeps its shape.
        differences: How far each solver is off along the path.
        points: Work and precision of each solver at several steps or tolerances.
        control: The control of the problem over time, `(t, u)` flattened to eight components;
            empty for layers and policies.
        optimum: The known optimal cost, or None.
        provenance: Command, versions, machine and seed.
    """

    problem: str
    rows: tuple[Row, ...]
    certificate: Certificate | None
    curves: tuple[Curve, ...]
    differences: tuple[Difference, ...]
    points: tuple[WorkPoint, ...]
    control: tuple[list[float], list[list[float]]]
    optimum: float | None
    provenance: dict[str, Any]

    def table(self, tablefmt: str = "simple") -> str:
        """The rows as a table for the terminal, or in another format of tabulate."""
        scores = list(self.rows[0].scores) if self.rows else []
        has_memory = any(row.memory is not None for row in self.rows)
        headers = [
            "solver", "cost J", "|J - J_ref|", "|x(T) - x_ref(T)|", "path gap", "order",
            "f evaluations", "time (ms)", *["memory (kB)"] * has_memory, *scores,
        ]  # fmt: skip
        cells = [
            [
                row.solver + " *" * row.is_reference,
                shown(row.cost, ".8g") if not row.note else row.note,
                shown(row.cost_error, ".1e"),
                shown(row.state_error, ".1e"),
                "-" if math.isnan(row.path_gap) else told(row.path_gap),
                "-" if row.order is None else row.order.brief,
                "-" if row.note else str(row.evaluations),
                shown(1e3 * row.seconds, ".1f"),
                *["-" if row.memory is None else f"{row.memory / 1e3:.0f}"] * has_memory,
                *(shown(row.scores.get(score, math.nan), ".4g") for score in scores),
            ]
            for row in self.rows
        ]
        align = ("left", *["right"] * (len(headers) - 1))
        return tabulate(
            cells, headers=headers, tablefmt=tablefmt, disable_numparse=True, colalign=align
        )

    @property
    def footnote(self) -> str:
        """The meaning of a star after a solver, and of "not yet", where they occur."""
        notes = []
        if any(row.is_reference for row in self.rows):
            notes.append(
                "* The reference is this method with tighter tolerances: its errors are those "
                "against the fine grid."
            )
        if any(row.order is not None and row.order.brief == "not yet" for row in self.rows):
            notes.append(
                "not yet: with twice as many steps the error does not fall as the method's order "
                "says."
            )
        return "\n".join(notes)

    def certificate_table(self, tablefmt: str = "simple") -> str:
        """The depth certificate as a table, or nothing if there is none."""
        return "" if self.certificate is None else self.certificate.table(tablefmt)

    @property
    def verdict(self) -> str:
        """Whether the network behaves like its ODE, or why nothing is said about that."""
        if self.certificate is None:
            return "There is no depth certificate: none of these solvers takes fixed steps."
        return self.certificate.verdict

    def text(self) -> str:
        """Table, certificate and verdict for the terminal."""
        parts = [self.table(), self.footnote, self.certificate_table(), self.verdict]
        return "\n\n".join(part for part in parts if part)

    def json(self) -> str:
        """All of it as JSON; numbers that are not finite become null."""
        return json.dumps(finite(dataclasses.asdict(self)), indent=1, allow_nan=False)


def shown(value: float, style: str) -> str:
    """A number as a cell; a dash for NaN."""
    return f"{value:{style}}" if math.isfinite(value) else "overflow" if math.isinf(value) else "-"


def finite(tree: Any) -> Any:
    """The same nested values, with null for numbers that JSON cannot hold."""
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
