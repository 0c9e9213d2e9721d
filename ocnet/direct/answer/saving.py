"""Solutions in safetensors files, which hold no code."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..._arguments import check_kind
from ...problem import Batch, Problem
from ...solver import Euler, ExplicitRungeKutta, Heun, RK4, RK38, Tableau
from ...trajectory import Trajectory
from ..transcription.precision import in_precision
from .optimality import Multipliers, Optimality
from .solution import as_control, Seconds, Solution
from .stall import Missed, Stall


TENSORS = ("cost", "costates", "hamiltonian", "violation", "final_time", "iterations")
"""The fields of a solution that are one tensor each."""


def save_solution(solution: Solution, path: str | Path) -> None:
    """Writes everything but the problem to a safetensors file, which holds no code.

    Arguments:
        solution: What `solve` returned.
        path: The file, which is overwritten.
    """
    check_kind("solution", solution, Solution)
    tensors = {
        "t": solution.trajectory.t, "x": solution.x, "u": solution.u, "x0": solution.batch.x0,
        "running_cost": solution.trajectory.running_cost,
        **{f"parameter.{k}": v for k, v in solution.parameters.items()},
        **{f"given.{k}": v for k, v in solution.batch.parameters.items()},
    }  # fmt: skip
    if solution.batch.target is not None:
        tensors["target"] = solution.batch.target
    for name in TENSORS:
        tensors[name] = getattr(solution, name)
    for name, group in (("optimality", solution.optimality), ("multipliers", solution.multipliers)):
        tensors |= {f"{name}.{key}": value for key, value in group._asdict().items()}
    told = {
        "horizon": [solution.control.t0, solution.control.t1],
        "tableau": solution.solver.tableau,
        "evaluations": solution.trajectory.evaluations,
        "statuses": solution.statuses,
        "reasons": solution.reasons,
        "backend": solution.backend,
        "seconds": solution.seconds,
        "stalls": {str(i): stall for i, stall in solution.stalls.items()},
    }
    plain = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    save_file(plain, path, metadata={"ocnet.solution": json.dumps(told)})


def load_solution(path: str | Path, problem: Problem) -> Solution:
    """Reads a solution that `save_solution` wrote.

    Arguments:
        path: The file.
        problem: The problem that it solves.

    Raises:
        ValueError: If the file holds no solution, or one of a problem of another shape.
    """
    check_kind("problem", problem, Problem)
    with safe_open(path, framework="pt") as file:
        told = json.loads((file.metadata() or {}).get("ocnet.solution", "null"))
        if told is None:
            raise ValueError(f"{path} holds no solution.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    x, u = tensors["x"], tensors["u"]
    shape = tuple(x.shape[x.dim() - len(problem.state_shape) :])
    if shape != tuple(problem.state_shape):
        raise ValueError(
            f"{path} holds states of shape {shape}, but {type(problem).__name__} has "
            f"{tuple(problem.state_shape)}."
        )

    def named(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    t0, t1 = told["horizon"]
    return Solution(
        batch=in_precision(
            Batch(problem, tensors["x0"], tensors.get("target"), named("given.")), x.dtype
        ),
        solver=runge_kutta(told["tableau"], len(u)),
        control=as_control(t0, t1, u),
        trajectory=Trajectory(
            tensors["t"], x.unbind(), u.unbind(), tensors["running_cost"], told["evaluations"]
        ),
        optimality=Optimality(**named("optimality.")),
        multipliers=Multipliers(**named("multipliers.")),
        parameters=named("parameter."),
        statuses=tuple(told["statuses"]),
        reasons=tuple(told["reasons"]),
        backend=told["backend"],
        seconds=Seconds(*told["seconds"]),
        stalls={int(i): read_stall(*parts) for i, parts in told["stalls"].items()},
        **{name: tensors[name] for name in TENSORS},
    )


def read_stall(residuals: list[Any], dependent: list[str]) -> Stall:
    """Restores a `Stall` that was written as lists."""
    return Stall(tuple(Missed(*residual) for residual in residuals), tuple(dependent))


def runge_kutta(tableau: list[Any], n: int) -> ExplicitRungeKutta:
    """Restores the method whose tableau was written as lists."""
    a, b, c, order = tableau
    given = Tableau(tuple(map(tuple, a)), tuple(b), tuple(c), order)
    for known in (Euler, Heun, RK4, RK38):
        if known(n).tableau == given:
            return known(n)
    return ExplicitRungeKutta(given, n)
