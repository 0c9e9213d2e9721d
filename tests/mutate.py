"""Plants single faults at random and runs the nearest tests: `python -m tests.mutate N SEED`.

Each fault is planted in a copy of the tree in a temporary folder, never in this one. The first
tests to run are those of the nearest files that call the changed function; the first failure ends
them. What was found stands in `build/mutate/SEED.jsonl`, one line a fault: run the same command
again and it goes on. Which functions each test calls is noted when its file is needed first.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from .support.faults import Fault, faults, sample
from .support.nearest import Nearest


AREAS = {
    "training": {"learning", "networks", "images"},
    "runs": {"run", "runs", "origin"},
    "shell": {"cli", "plot", "report", "__main__"},
}
"""The packages of each area; all others are mathematics."""

MEMORY = 3 << 30
"""How many bytes of data a test process may have."""

PATIENCE = 60.0
"""How many seconds tests may take beyond five times what they need without a fault."""

TOOL = ("test_mutate.py",)
"""Tests that say nothing about the package."""


class Ran(NamedTuple):
    """How a run of tests ended: its exit status, or None after too long, and what it printed."""

    status: int | None
    output: str


class Workplace:
    """A copy of the tree in which faults are planted.

    Arguments:
        root: The tree.
        folder: Where the copy goes.
        package: The package's name.
        reach: The file that keeps which functions each test calls.
    """

    def __init__(self, root: Path, folder: Path, package: str, reach: Path):
        self.folder, self.package, self.reach = folder / "tree", package, reach
        ignored = shutil.ignore_patterns(".git", "__pycache__", "build", "runs", ".*_cache")
        shutil.copytree(root, self.folder, ignore=ignored)
        self.caches = folder / "caches"
        self.nearest = Nearest(self.folder, package)
        self.clock = int(time.time())

    def write(self, path: Path, content: bytes) -> None:
        """Writes a source; no compiled file of an earlier one has its time."""
        path.write_bytes(content)
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def pytest(self, arguments: list[str], seconds: float, cache: str = "shared") -> Ran:
        """Runs tests in the copy, for so long at most."""
        caches = self.caches / cache
        caches.mkdir(parents=True, exist_ok=True, mode=0o700)
        added = {
            "PYTHONPATH": str(self.folder), "XDG_CACHE_HOME": str(caches), "OMP_NUM_THREADS": "1",
            "REACH_FILE": str(self.reach) + ".new", "REACH_PACKAGE": self.package,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "-p", "no:cacheprovider",
             *arguments],
            cwd=self.folder, env=os.environ | added, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY, MEMORY))
        try:
            output, _ = process.communicate(timeout=seconds)
            return Ran(process.returncode, output)
        except subprocess.TimeoutExpired:
            return Ran(None, "")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def tests(self, file: str, options: argparse.Namespace) -> list[dict[str, Any]]:
        """The tests of a file that pass without a fault, and what each calls."""
        mark = hashlib.sha256((self.folder / file).read_bytes()).hexdigest()[:12]
        known = json.loads(self.reach.read_text()) if self.reach.exists() else {}
        if known.get(file, {}).get("mark") != mark:
            new = Path(f"{self.reach}.new")
            new.unlink(missing_ok=True)
            which = [] if options.slow else ["-m", "not slow"]
            plugin = ["-p", "tests.support.reach", "--maxfail=1000"]
            self.pytest([*plugin, *which, file], options.record)
            lines = new.read_text().splitlines() if new.exists() else []
            new.unlink(missing_ok=True)
            known[file] = {"mark": mark, "tests": [json.loads(line) for line in lines]}
            self.reach.write_text(json.dumps(known))
        return [test for test in known[file]["tests"] if test["passed"]]

    def chosen(self, file: str, fault: Fault, options: argparse.Namespace) -> list[dict[str, Any]]:
        """The tests of a file for a fault: those that call its function first, then the fast ones.

        Others follow, because what a fixture computes is called by one test for all. There are
        none if no test of the file calls the function.
        """
        tests = self.tests(file, options)
        place = f"{fault.path}:{fault.function}"
        if not fault.function:  # A constant of a module, or C, called from the file next to it.
            place = fault.path if fault.path.endswith(".py") else f"{Path(fault.path).parent}/"

        def calls(test: dict[str, Any]) -> bool:
            return any(c == place if fault.function else c.startswith(place) for c in test["calls"])

        if not any(map(calls, tests)):
            return []
        tests = sorted(tests, key=lambda test: (not calls(test), test["seconds"]))
        total, some = 0.0, []
        for test in tests:
            total += test["seconds"]
            if some and total > options.budget:
                break
            some.append(test)
        return some

    def tried(self, fault: Fault, options: argparse.Namespace) -> dict[str, Any]:
        """Plants a fault, runs the nearest tests, and takes it out again."""
        path = self.folder / fault.path
        source, started = path.read_bytes(), time.perf_counter()
        # What a fault in the compiler writes must not be found by the next.
        cache = fault.key(source) if "compiled" in fault.path else "shared"
        status, test, count = "survived", "", 0
        files = [f for f in self.nearest.ranked(fault.path) if not f.endswith(TOOL)]
        used = 0
        for file in files[: 2 * options.files]:
            some = self.chosen(file, fault, options)
            if not some:
                continue
            seconds = PATIENCE + 5 * sum(test["seconds"] for test in some)
            self.write(path, fault.planted(source))
            try:
                ran = self.pytest([test["test"] for test in some], seconds, cache)
            finally:
                self.write(path, source)
            used, count = used + 1, count + len(some)
            if ran.status != 0:
                failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.output, re.M)
                test = failed[1] if failed else file
                status = "timed out" if ran.status is None else "caught"
                break
            if used == options.files:
                break
        return {"status": status if count else "not tested", "test": test, "tests": count,
                "seconds": round(time.perf_counter() - started, 1)}  # fmt: skip


def area(path: str) -> str:
    """The area that a file belongs to."""
    package = Path(path).with_suffix("").parts[1]
    return next((name for name, packages in AREAS.items() if package in packages), "mathematics")


def sampled(root: Path, options: argparse.Namespace) -> list[Fault]:
    """The faults that the seed draws."""
    by_area: dict[str, list[Fault]] = {}
    for path in sorted((root / options.package).rglob("*")):
        name = str(path.relative_to(root))
        if path.suffix not in (".py", ".c", ".h") or (
            options.only and not any(part in name for part in options.only)
        ):
            continue
        group = "chosen" if options.only else area(name)
        if group in (*options.areas, "chosen"):
            by_area.setdefault(group, []).extend(faults(name, path.read_bytes()))
    return sample([by_area[group] for group in sorted(by_area)], root, options.n, options.seed)


def equivalents(file: Path) -> dict[tuple[str, str, str], str]:
    """The reasons why some faults change nothing, by file, line and changed line."""
    entries = tomllib.loads(file.read_text())["fault"] if file.exists() else []
    return {(e["path"], e["was"], e["becomes"]): e["reason"] for e in entries}


def run(root: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Tries each fault that has not been tried, and returns what is known of all."""
    options.results.parent.mkdir(parents=True, exist_ok=True)
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    known = {entry["key"]: entry for entry in map(json.loads, lines)}
    if options.again:
        known = {k: e for k, e in known.items() if e["status"] in ("caught", "timed out")}
    reasons = equivalents(root / "tests" / "equivalent_faults.toml")
    found = []
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        place = Workplace(
            root, Path(folder), options.package, options.results.parent / "reach.json"
        )
        for fault in sampled(place.folder, options):
            source = (place.folder / fault.path).read_bytes()
            number, was, becomes = fault.lines(source)
            key, reason = fault.key(source), reasons.get((fault.path, was, becomes))
            if key not in known or reason:
                result = {"status": "equivalent", "reason": reason} if reason else (
                    place.tried(fault, options)
                )  # fmt: skip
                known[key] = {"key": key, "path": fault.path, "line": number, "kind": fault.kind,
                              "was": was, "becomes": becomes, **result}  # fmt: skip
                with options.results.open("a") as file:
                    file.write(json.dumps(known[key]) + "\n")
                print(f"{known[key]['status']:10} {fault.path}:{number} {becomes}", flush=True)
            found.append(known[key])
    return found


def summary(found: list[dict[str, Any]]) -> str:
    """How many were caught, and the lines of those that were not."""
    counts = Counter(entry["status"] for entry in found)
    caught = counts["caught"] + counts["timed out"]
    lines = [f"{caught} of {len(found) - counts['equivalent']} faults were caught, "
             f"{counts['timed out']} of them by running too long; "
             f"{counts['equivalent']} more change nothing."]  # fmt: skip
    for entry in found:
        if entry["status"] in ("survived", "not tested", "equivalent"):
            lines.append(f"\n{entry['status']}: {entry['path']}:{entry['line']} ({entry['kind']})")
            lines += [f"  - {entry['was']}", f"  + {entry['becomes']}"]
            lines += [f"  {entry['reason']}"] if entry.get("reason") else []
    return "\n".join(lines)


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("n", type=int, help="how many faults")
    parser.add_argument("seed", type=int, help="fixes which; more of them begin with the same")
    parser.add_argument("--areas", nargs="+", default=["mathematics", "training", "runs"],
                        choices=["mathematics", *AREAS], help="where to plant them")  # fmt: skip
    parser.add_argument("--only", nargs="+", help="only files whose paths contain one of these")
    parser.add_argument("--files", type=int, default=4, help="most test files for each fault")
    parser.add_argument("--budget", type=float, default=60, help="most seconds of tests in a file")
    parser.add_argument("--record", type=float, default=300, help="most seconds to look at a file")
    parser.add_argument("--slow", action="store_true", help="run slow tests too")
    parser.add_argument("--again", action="store_true", help="try again what survived")
    parser.add_argument("--results", type=Path, help="instead of build/mutate/SEED.jsonl")
    parser.add_argument("--package", default="ocnet", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.results = options.results or Path("build/mutate") / f"{options.seed}.jsonl"
    options.results = options.results.resolve()
    return options


def ended(number: int, _: object) -> None:
    """Ends as after an error, so that no child goes on and no copy stays."""
    raise SystemExit(128 + number)


def main() -> None:
    """Prints what was found."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ended)
    print("\n" + summary(run(Path.cwd(), options_of())))


if __name__ == "__main__":
    main()
