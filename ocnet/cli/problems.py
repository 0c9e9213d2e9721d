"""`ocnet problems`: the problems of a package, with their known optima."""

from typing import Annotated

import typer
from tabulate import tabulate

from ..catalogue import problems_of
from ..problem import Problem, SolvedProblem
from .options import one_line, reported


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("problems")(reported(problems))


def problems(
    package: Annotated[str, typer.Argument(help="The package to search.")] = "problems",
) -> None:
    """List problems with their known optima.

    Each row starts with the SPEC that the other commands take. The optimum is that of the
    continuous problem from its first initial state; learning problems have none.
    """
    try:
        found = problems_of(package)
    except ValueError as error:
        raise typer.BadParameter(one_line(error), param_hint=f"PACKAGE {package}") from None
    rows = [[spec, optimum(kind), summary(kind)] for spec, kind in found.items()]
    typer.echo(tabulate(rows, headers=["SPEC", "optimum", "problem"], disable_numparse=True))


def optimum(kind: type[Problem]) -> str:
    """The optimal cost from the problem's first initial state, or a dash."""
    if not issubclass(kind, SolvedProblem):
        return "-"
    problem = kind().double()
    return f"{problem.optimal_cost(problem.sample(1).x0.double()).item():.10g}"


def summary(kind: type[Problem]) -> str:
    """The first line of the docstring."""
    return (kind.__doc__ or "").strip().split("\n")[0]
