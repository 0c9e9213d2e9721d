"""Runs the benchmark and prints its table.

python -m tests.benchmarks.ocp_library [--only NAME ...] [--rounds 3] [--out FILE.json]
python -m tests.benchmarks.ocp_library --show AFTER.json [--before BEFORE.json]
"""

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from .formulas import ALL
from .report import Report


def main() -> None:
    """Solves the problems asked for and prints what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[])
    parser.add_argument("--rounds", type=int, default=3, help="how many timed calls of each")
    parser.add_argument("--out", type=Path, help="where to write the numbers")
    parser.add_argument("--cached", action="store_true", help="do not compile anew")
    parser.add_argument("--show", type=Path, help="print a table that was written, solve nothing")
    parser.add_argument("--before", type=Path, help="compare with a table that was written")
    options = parser.parse_args()
    before = Report.read(options.before) if options.before else None
    if options.show:
        print(Report.read(options.show).text(before))
        return
    names = [kind.name for kind in ALL]
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"--only must name problems, but got {unknown}; there are {names}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as empty:
        if not options.cached:
            os.environ["OCNET_CACHE"] = empty
        report = measured(options.only or names, options.rounds)
    print(report.text(before))
    if options.out:
        options.out.write_text(json.dumps(asdict(report), indent=1) + "\n")


def measured(names: list[str], rounds: int) -> Report:
    """The report on some of the problems, one line printed as soon as it is known."""
    # CasADi is needed to solve, not to show what was written.
    from .rows import row_of

    report = Report.empty()
    for kind in ALL:
        if kind.name not in names:
            continue
        row = row_of(kind(), rounds)
        report.rows.append(row)
        ours, ipopt = row.ours, row.ipopt
        print(
            f"{row.name}: {'solved' if ours.solved else 'MISSED'} ({ours.minimum}), "
            f"{ours.status}, {ours.iterations} iterations to {ipopt.iterations} of IPOPT "
            f"({'solved' if ipopt.solved else 'MISSED'}), {ours.second:.3f} s to "
            f"{ipopt.second:.3f}, first {ours.first:.1f} s, violation {ours.violation:.0e}",
            flush=True,
        )
    return report


if __name__ == "__main__":
    main()
