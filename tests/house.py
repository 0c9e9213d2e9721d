"""Measures the shape of the package: `python -m tests.house [CHECKOUT ...]`, one column for each.

Give several checkouts to compare them: lines per package, long files and functions,
abstract classes, classes whose names stand twice, import circles and the time to import.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tabulate import tabulate

from .public_api import PublicApi
from .support.source import Sources, UPWARD


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[Path()])
    parser.add_argument("--rounds", type=int, default=20, help="fresh processes that import it")
    options = parser.parse_args()
    columns = [measured(Sources(path.resolve())) for path in options.checkouts]
    times = import_times([path.resolve() for path in options.checkouts], options.rounds)
    for column, time in zip(columns, times, strict=True):
        column["import ocnet over import torch, s (median)"] = f"{time:.3f}"
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    print(tabulate(rows, headers=["", *map(str, options.checkouts)]))
    for path in options.checkouts:
        print(f"\n{path}")
        for line in details(Sources(path.resolve())):
            print(f"  {line}")


def measured(sources: Sources) -> dict[str, str]:
    """One column of the table."""
    circles = sources.circles(skip=UPWARD)
    return {
        **{f"lines in {name}": str(n) for name, n in sources.lines_by_package().items()},
        "lines": str(sum(sources.lines_by_package().values())),
        "files": str(len(sources.modules)),
        "files over 300 lines": str(len(sources.long_files())),
        "functions over 60 lines": str(len(sources.long_functions())),
        "classes": str(sum(map(len, sources.classes().values()))),
        "abstract classes": str(len(sources.abstract_classes())),
        "longest line of inheritance": str(max(sources.inheritance().values(), default=0)),
        "public names": str(len(PublicApi(sources).public)),
        "class names that stand twice": str(len(sources.classes_twice())),
        "import circles": str(len(circles)),
        "files in import circles": str(sum(map(len, circles))),
    }


def details(sources: Sources) -> list[str]:
    """What the numbers count, by name."""
    return [
        *(f"over 300 lines: {name} ({n})" for name, n in sources.long_files().items()),
        *(f"over 60 lines: {place} ({n})" for place, n in sources.long_functions()),
        *(f"twice: {name} in {', '.join(at)}" for name, at in sources.classes_twice().items()),
        *(f"circle: {', '.join(circle)}" for circle in sources.circles(skip=UPWARD)),
        *(f"abstract: {name}" for name in sources.abstract_classes()),
        *(f"descends from {n}: {name}" for name, n in sources.inheritance().items() if n > 2),
    ]


def import_times(roots: list[Path], rounds: int) -> list[float]:
    """The median seconds that `import ocnet` adds to `import torch`, in alternating processes."""
    script = (
        "import time, torch; start = time.perf_counter(); import ocnet;"
        "print(time.perf_counter() - start)"
    )
    found: list[list[float]] = [[] for _ in roots]
    for _ in range(rounds):
        for root, times in zip(roots, found, strict=True):
            done = subprocess.run(
                [sys.executable, "-c", script],
                cwd=root, capture_output=True, text=True, check=True,
                env={**os.environ, "PYTHONPATH": str(root)},
            )  # fmt: skip
            times.append(float(done.stdout))
    return list(map(statistics.median, found))


if __name__ == "__main__":
    main()
