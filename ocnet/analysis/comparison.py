"""What a comparison of solvers found, as data, tables, text and JSON."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from .certificate import DepthCertificate


@dataclass(frozen=True)
class Row:
    """What one solver did.

    Attributes:
        solver: The solver.
        cost: The mean cost.
        cost_error: Its distance from the reference's.
        state_error: The largest Euclidean distance of a final state from the reference's.
        order: The observed order of the final state, from twice as many steps; None if the
            method is adaptive or the error is at rounding level.
        evaluations: How often the vector field was evaluated, without the backward pass.
        seconds: The median wall time of one solution with its gradient.
        memory: The peak of bytes allocated for it.
        scores: The mean of the problem's further measures, such as the accuracy.
        note: Why there are no figures, if there are none.
    """

    solver: str
    cost: float
    cost_error: float
    state_error: float
    order: float | None
    evaluations: int
    seconds: float
    memory: int
    scores: dict[str, float]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """What a picture shows of one solver: the first sample's path and the path of the cost.

    Attributes:
        solver: The solver.
        t: The times.
        x: The state of the first sample at those times, flattened, at most eight components.
    """

    solver: str
    t: list[float]
    x: list[list[float]]


@dataclass(frozen=True)
class Comparison:
    """One control under several solvers.

    Attributes:
        problem: The name of the problem.
        rows: One row a solver.
        certificate: The depth certificate of the first Euler solver, if there is one.
        curves: The trajectories, where the state keeps its shape.
        control: The control of the problem over time, `(t, u)` flattened to eight components;
            empty for layers and policies.
        optimum: The known optimal cost, or None.
        provenance: Command, versions, machine and seed.
    """

    problem: str
    rows: tuple[Row, ...]
    certificate: DepthCertificate | None
    curves: tuple[Curve, ...]
    control: tuple[list[float], list[list[float]]]
    optimum: float | None
    provenance: dict[str, Any]

    def table(self, tablefmt: str = "simple") -> str:
        """The rows as a table for the terminal, or in another format of tabulate."""
        scores = list(self.rows[0].scores) if self.rows else []
        headers = [
            "solver", "cost J", "|J - J_ref|", "|x(T) - x_ref(T)|", "order", "f evaluations",
            "time (ms)", "memory (kB)", *scores,
        ]  # fmt: skip
        cells = [
            [
                row.solver,
                f"{row.cost:.8g}" if not row.note else row.note,
                f"{row.cost_error:.1e}",
                f"{row.state_error:.1e}",
                "-" if row.order is None else f"{row.order:.2f}",
                str(row.evaluations),
                f"{1e3 * row.seconds:.1f}",
                f"{row.memory / 1e3:.0f}",
                *(f"{row.scores.get(score, math.nan):.4g}" for score in scores),
            ]
            for row in self.rows
        ]
        align = ("left", *["right"] * (len(headers) - 1))
        return tabulate(
            cells, headers=headers, tablefmt=tablefmt, disable_numparse=True, colalign=align
        )

    def certificate_table(self, tablefmt: str = "simple") -> str:
        """The depth certificate as a table, or nothing if there is none."""
        if self.certificate is None:
            return ""
        certificate = self.certificate
        between = "optima at n/2 and n" if certificate.reoptimised else "this control at n and 2n"
        cells = [
            ["J_Euler(u)", f"{certificate.cost:.8g}"],
            ["J_ODE(u)", f"{certificate.ode_cost:.8g}"],
            [f"Richardson J* ({between})", f"{certificate.richardson_cost:.8g}"],
        ]
        if self.optimum is not None:
            cells.append(["known J*", f"{self.optimum:.8g}"])
        cells.append(["observed order of J_Euler", f"{certificate.order:.2f}"])
        return tabulate(
            cells,
            headers=["depth certificate", f"n = {certificate.n}"],
            tablefmt=tablefmt,
            disable_numparse=True,
            colalign=("left", "right"),
        )

    def text(self) -> str:
        """Table, certificate and verdict for the terminal."""
        parts = [self.table(), self.certificate_table()]
        if self.certificate is not None:
            parts.append(self.certificate.verdict)
        return "\n\n".join(part for part in parts if part)

    def json(self) -> str:
        """All of it as JSON; what is not a number is null."""
        return json.dumps(finite(dataclasses.asdict(self)), indent=1, allow_nan=False)


def finite(tree: Any) -> Any:
    """The same nested values with null for what JSON has no number for."""
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
