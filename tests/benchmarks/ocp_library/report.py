"""The table of the benchmark, its numbers on disk, and the comparison of two."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tabulate import tabulate

from ocnet.origin import provenance, version

from .formulas import FURTHER, LIBRARY, OWN
from .result import Part, Row


HEADER = (
    "problem", "solved", "IPOPT", "iterations", "IPOPT", "second solve [s]", "IPOPT [s]", "ratio",
    "first [s]", "cost", "violation",
)  # fmt: skip


@dataclass
class Report:
    """All rows, and where they come from."""

    provenance: dict[str, Any]
    rows: list[Row]

    @classmethod
    def empty(cls) -> "Report":
        """A report without rows yet, from this process."""
        found = provenance(torch.device("cpu"))
        found["versions"]["casadi"] = version("casadi")
        return cls(found, [])

    @classmethod
    def read(cls, path: Path) -> "Report":
        """A report that was written."""
        told = json.loads(path.read_text())
        rows = [
            Row(**{**row, "ours": Part(**row["ours"]), "ipopt": Part(**row["ipopt"])})
            for row in told["rows"]
        ]
        return cls(told["provenance"], rows)

    def text(self, before: "Report | None" = None) -> str:
        """The table, the totals and the misses, and the same of `before`."""
        groups = {
            "the twenty of OptimalControlProblems.jl": {kind.name for kind in LIBRARY},
            "COPS and the problems of `problems`": {kind.name for kind in (*FURTHER, *OWN)},
        }
        parts = [tabulate([line(row) for row in self.rows], HEADER, tablefmt="github")]
        for title, names in groups.items():
            rows = [row for row in self.rows if row.name in names]
            if rows:
                parts.append(f"{title}: {totals(rows)}")
                old = [row for row in before.rows if row.name in names] if before else []
                parts += [f"before: {totals(old)}"] if old else []
        parts.append("Misses:\n" + ("\n".join(misses(self.rows)) or "none"))
        told = self.provenance
        versions = ", ".join(f"{k} {v}" for k, v in told["versions"].items() if v)
        parts.append(
            f"{told['system']}, {told['cores']} cores, {told['threads']} threads, Python "
            f"{told['python']}, {versions}; revision {told['git']}"
        )
        return "\n\n".join(parts)


def line(row: Row) -> list[str]:
    """A row of the table."""
    ours, ipopt = row.ours, row.ipopt
    return [
        row.name,
        "yes" if ours.solved else f"no: {ours.status}",
        "yes" if ipopt.solved else f"no: {ipopt.status}",
        str(ours.iterations),
        str(ipopt.iterations),
        f"{ours.second:.3f}",
        f"{ipopt.second:.3f}",
        f"{row.ratio:.2f}",
        f"{ours.first:.1f}",
        f"{ours.cost:.9g}",
        f"{ours.violation:.0e}",
    ]


def totals(rows: list[Row]) -> str:
    """How many are solved, and the medians of the ratios where both solved a problem."""
    both = [row for row in rows if row.ours.solved and row.ipopt.solved]
    ours, theirs = sum(row.ours.solved for row in rows), sum(row.ipopt.solved for row in rows)
    text = f"ocnet solves {ours} of {len(rows)}, IPOPT {theirs}"
    if not both:
        return text

    def middle(of: Callable[[Row], float]) -> str:
        values = [v for v in map(of, both) if math.isfinite(v)]
        return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    steps = middle(lambda r: r.ours.iterations / max(r.ipopt.iterations, 1))
    return (
        f"{text}; where both do, iterations are {steps} times IPOPT's, a second solve takes "
        f"{middle(lambda r: r.ratio)} times its time, a first one "
        f"{middle(lambda r: r.ours.first)} s (median, least and largest)"
    )


def misses(rows: list[Row]) -> list[str]:
    """One line for each problem that is not solved."""
    return [
        f"- {row.name}: {ours.status} ({ours.reason}); {ours.minimum}, cost {ours.cost:.8g} where "
        f"{row.reference:.8g} is right, violation {ours.violation:.1e} ({ours.where})"
        for row, ours in ((row, row.ours) for row in rows)
        if not ours.solved
    ]
