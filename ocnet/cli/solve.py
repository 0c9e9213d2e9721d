"""`ocnet solve SPEC`: the optimal control of a problem, and what proves it."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from tabulate import tabulate

from .. import direct
from ..certificate import Certificate
from ..direct import save_solution, Solution, solve
from ..registry import METHODS, STEPS
from ..supervised import default_steps
from . import checks
from .options import (
    default_dtype,
    device_from,
    DeviceOption,
    new_folder,
    OutOption,
    problem_from,
    reported,
    SetOption,
    SpecArgument,
    StepsOption,
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("solve")(reported(solve_command))


def solve_command(
    spec: SpecArgument,
    steps: StepsOption = None,
    solver: Annotated[
        str,
        typer.Option(callback=checks.one_of(*STEPS), help=f"The steps: {', '.join(STEPS)}."),
    ] = "rk4",
    method: Annotated[
        str, typer.Option(callback=checks.one_of(*METHODS), help=f"One of {', '.join(METHODS)}.")
    ] = "interior-point",
    settings: SetOption = None,
    certify: Annotated[
        bool,
        typer.Option(help="Say how far this is from continuous time: solves on other grids, too."),
    ] = True,
    device: DeviceOption = "cpu",
    out: OutOption = None,
) -> None:
    """Find the control that minimises a problem's cost, and print what proves it.

    Computes in double precision. With --out the report (report.html), the solution
    (solution.safetensors) and the numbers (solution.json) are written there.
    """
    target = device_from(device)
    with default_dtype(torch.float64):
        problem = problem_from(spec, settings).to(target)
        n = default_steps(problem) if steps is None else steps
        if out is not None:
            out = new_folder(out)
        found = solve(problem, method=METHODS[method](), solver=STEPS[solver](n))
        rows, certificate = summary(found), None
        verdict = "There is no certificate: it was not asked for."
        if certify and found.status == "converged":
            certificate = direct.certify(found)
            verdict = certificate.verdict
        elif certify:
            verdict = f"There is no certificate of a solution that is {found.status}."
    name = type(problem).__name__
    typer.echo(f"{name}, {found.solver!r}: {found.status} ({found.reason})")
    typer.echo(tabulate(rows, tablefmt="plain", disable_numparse=True))
    for line in found.active():
        typer.echo(f"active: {line}")
    for stall in found.stalls.values():
        typer.echo(f"\n{stall.text()}")
    if certificate is not None:
        typer.echo(f"\n{certificate.table()}")
    typer.echo(f"\n{verdict}")
    if out is not None:
        write(out, name, found, rows, certificate, verdict)
        typer.echo(f"\nreport: {out / 'report.html'}")
    if found.status != "converged":
        raise typer.Exit(1)


def summary(found: Solution) -> list[tuple[str, str]]:
    """What was found, and how exactly Pontryagin's conditions hold."""
    rows = [
        ("cost", f"{float(found.cost):.10g}"),
        ("final time", f"{float(found.final_time):.10g}"),
        *((f"parameter {k}", f"{v.tolist()}") for k, v in found.parameters.items()),
        ("iterations", f"{int(found.iterations)}"),
        ("computed by", found.backend),
        ("constraint violation", f"{float(found.violation):.1e}"),
    ]
    residuals = found.optimality._asdict()
    return rows + [(f"residual: {k}", f"{float(v):.1e}") for k, v in residuals.items()]


def write(
    out: Path,
    name: str,
    found: Solution,
    rows: list[tuple[str, str]],
    certificate: Certificate | None,
    verdict: str,
) -> None:
    """Writes report, solution and numbers to a folder.

    Arguments:
        out: The folder.
        name: What the problem is called.
        found: The solution.
        rows: The table of what was found.
        certificate: The certificate, if there is one.
        verdict: What the certificate says, or why there is none.
    """
    # Not at the top of the file: users who only want numbers need not wait for matplotlib.
    from ..plot import solution as picture
    from ..report import Section, write_report

    figure = picture(found)
    table = tabulate(rows, tablefmt="html", disable_numparse=True)
    write_report(
        out / "report.html",
        f"{name}: optimal control",
        [
            Section(heading="", lead=f"{found.status}: {found.reason}.", table=table),
            Section(
                heading="Does it behave like its ODE?",
                lead=verdict,
                table="" if certificate is None else certificate.table("html"),
            ),
            Section(
                heading="The solution",
                figure=figure,
                caption="States, control, costates, and the Hamiltonian over each step.",
            ),
        ],
        {"steps": repr(found.solver), "torch": torch.__version__},
    )
    figure.savefig(out / "solution.png", dpi=160)
    save_solution(found, out / "solution.safetensors")
    numbers = dict(rows if certificate is None else [*rows, *certificate.rows()])
    (out / "solution.json").write_text(
        json.dumps({**numbers, "verdict": verdict}, indent=2), encoding="utf-8"
    )
