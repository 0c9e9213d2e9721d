"""Tests a user's problem: `check_problem(MyProblem())` in a pytest function."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ._arguments import check_count, check_kind, check_range
from .checks import (
    Finding,
    mismatches,
    misspelt,
    mixing_for_solve,
    mixing_in_training,
    naming,
    place,
    Point,
    sampled,
    written,
)
from .checks.finding import FUNCTIONS
from .direct import Solution, solve
from .problem import check_state, Problem, SolvedProblem
from .solver import RK4
from .supervised import default_steps


__all__ = ["check_problem"]


SIZE = 4
"""How many samples a batch has."""


MOST = 50
"""A problem is solved only if state and control have at most this many entries together."""


def check_problem(problem: Problem, *, n_steps: int | None = None, rtol: float = 1e-2) -> None:
    """Raises an AssertionError that names what is wrong with a problem, one fault a line.

    It looks for misspelt members, wrong shapes and number types in single and double precision,
    functions that mix the samples of a batch, derivatives that do not match differences, impossible
    bounds, and samples that are not reproducible. A problem whose controls are tensors is solved,
    from one sample: the answer's derivatives are compared too, kinks at which it stalled are named,
    and a `SolvedProblem`'s optimum must be reached.

    Arguments:
        problem: The problem; it is left as it is.
        n_steps: The number of Runge-Kutta steps to solve it with; the problem's own if None.
        rtol: How far the discretised optimum may be from the known one, relative to the size of
            the known one, or to 1 if that is larger.

    Raises:
        AssertionError: With all that was found.
        TypeError, ValueError: If an argument is of the wrong kind or out of range.
    """
    check_kind("problem", problem, Problem)
    if n_steps is not None:
        check_count("n_steps", n_steps)
    check_range("rtol", rtol, "0 <", "< inf")
    found: list[str] = []
    try:
        with naming(), torch.random.fork_rng([]):
            found += map(str, misspelt(problem))
            found += looked_at(problem)
            if not found and is_solved(problem):
                found += solved(problem, n_steps or default_steps(problem), rtol)
    except (TypeError, ValueError) as error:
        found.append(str(error))
    if found:
        lines = "\n".join(f"  {line}" for line in dict.fromkeys(found))
        raise AssertionError(f"{type(problem).__name__}:\n{lines}")


def is_solved(problem: Problem) -> bool:
    """Whether the check solves a problem: learning problems are trained instead."""
    if problem.control_shape is None or problem.projections:
        return False
    size = math.prod(problem.state_shape) + math.prod(problem.control_shape)
    return size <= MOST and sampled(problem).target is None


def looked_at(problem: Problem) -> Iterator[str]:
    """The faults that can be found without solving the problem."""
    for key, shape in (("t0", problem.t0), ("t1", problem.t1)):
        if not math.isfinite(float(shape)):
            yield f"{key} must be finite, but is {float(shape)}."
    first, second = (problem.sample(SIZE, torch.Generator().manual_seed(1)) for _ in range(2))
    sampled(problem)
    if not torch.equal(first.x0, second.x0):
        message = "gives other samples for the same generator."
        yield str(Finding("sample", place(problem, "sample"), message))
    with torch.no_grad():
        x0 = problem.embed(first.x0)
    check_state(problem, x0)
    yield from map(str, bounds_without_sense(problem))
    n = default_steps(problem) if problem.control_shape is None else min(default_steps(problem), 4)
    control = problem.initial_control(n, torch.Generator().manual_seed(0))
    yield from map(str, mixing_in_training(problem, control, first))
    if problem.control_shape is None or problem.projections:
        return
    yield from map(str, mixing_for_solve(problem, x0.detach(), first.target, float(problem.t0)))
    yield from map(str, types(problem, x0.detach(), first.target))
    yield from map(str, derivatives(problem, x0.detach(), first.target))


def bounds_without_sense(problem: Problem) -> Iterator[Finding]:
    """Findings about bounds that have nothing between them, or that exclude the guess."""
    for name in ("control_bounds", "final_time_bounds"):
        bounds = getattr(problem, name)
        if bounds is None:
            continue
        lower, upper = (torch.as_tensor(bound) for bound in bounds)
        if not bool((lower < upper).all()):
            yield Finding(name, "", f"must leave room between them, but are {bounds}.")
    if problem.final_time_bounds is not None:
        low, high = problem.final_time_bounds
        if not problem.t0 <= low <= problem.t1 <= high:
            message = f"must hold the guess t1={problem.t1}, but are {(low, high)}."
            yield Finding("final_time_bounds", "", message)
    values = dict((*problem.named_parameters(), *problem.named_buffers()))
    for name, (low, high) in problem.static_parameters.items():
        inside = name in values and bool(((values[name] >= low) & (values[name] <= high)).all())
        if not inside:
            yield Finding(name, "", f"must start between its bounds {(low, high)}.")


def types(problem: Problem, x0: Tensor, target: Tensor | None) -> Iterator[Finding]:
    """Functions that return another number type than the state's, in either precision."""
    for dtype in (torch.float32, torch.float64):
        twin = copy.deepcopy(problem).to(dtype)
        x = x0.to(dtype)
        u = x.new_zeros(len(x), *(problem.control_shape or ()))
        goal = target.to(dtype) if target is not None and target.is_floating_point() else target
        for name in written(problem):
            value = FUNCTIONS[name](twin, Point(x.new_tensor(float(problem.t0)), x, u, goal))
            if value.dtype != dtype:
                message = f"must return {dtype} for a state of that type, but got {value.dtype}."
                yield Finding(name, place(problem, name), message)


def derivatives(problem: Problem, x0: Tensor, target: Tensor | None) -> Iterator[Finding]:
    """Functions whose derivatives do not fit their values, near a sample."""
    x = x0[:1].flatten(1)
    nx, shape = x.shape[1], problem.control_shape or ()
    u = x.new_zeros(1, math.prod(shape))
    w = torch.cat([x, u], -1)
    w = w + 0.1 * (1 + w.abs()) * torch.arange(1, w.shape[1] + 1).to(w).cos()
    for name in written(problem):
        for share in (0.0, 0.37):
            t = w.new_tensor(float(problem.t0 + share * (problem.t1 - problem.t0)))

            def function(w: Tensor, name: str = name, t: Tensor = t) -> Tensor:
                points = w.reshape(-1, w.shape[-1])
                goal = None if target is None else target[:1].expand(len(points), *target.shape[1:])
                at = Point(
                    t, points[:, :nx].reshape(-1, *problem.state_shape),
                    points[:, nx:].reshape(-1, *shape), goal,
                )  # fmt: skip
                value = FUNCTIONS[name](problem, at)
                value = value.expand(len(points)) if value.dim() == 0 else value
                return value.reshape(*w.shape[:-1], -1)

            for one in mismatches(function, w, w.abs()[0].clamp(min=1.0)):
                variable = "all variables together"
                if one.coordinate is not None:
                    k = one.coordinate
                    variable = f"x[{k}]" if k < nx else f"u[{k - nx}]"
                message = (
                    f"has in row {one.row} the derivative {one.derivative:.4g} in {variable}, but "
                    f"its values change at the rate {one.quotient:.4g}."
                )
                yield Finding(name, place(problem, name), message)
                break


def solved(problem: Problem, n_steps: int, rtol: float) -> Iterator[str]:
    """What is wrong with the answer of `solve`, and with the known optimum."""
    if not problem.constraints and len(written(problem)) == 1:
        yield "stage_cost and terminal_cost are both missing: there is nothing to minimise."
        return
    solution = solve(problem, solver=RK4(n_steps))
    if solution.status != "converged":
        yield f"solve says {solution.status}: {solution.reason}."
    elif isinstance(problem, SolvedProblem):
        yield from missed(problem, solution, rtol)


def missed(problem: SolvedProblem, solution: Solution, rtol: float) -> Iterator[str]:
    """The finding that the known optimum is not the cost found."""
    known = problem.optimal_cost(solution.batch.x0.to(sampled(problem).x0))
    if known.shape != solution.cost.shape:
        message = f"must return shape (*batch,), but got {tuple(known.shape)} for one state."
        yield str(Finding("optimal_cost", place(problem, "optimal_cost"), message))
        return
    gap = float((solution.cost - known).abs().detach())
    if not gap <= rtol * max(1.0, float(known.abs().detach())):
        message = f"is {float(known):.6g}, but solve finds {float(solution.cost):.6g}."
        yield str(Finding("optimal_cost", place(problem, "optimal_cost"), message))
