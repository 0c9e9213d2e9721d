"""What `solve` asks of a problem before it starts: one clear line for whatever is wrong."""

from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn, Tensor

from ..._arguments import check_kind
from ...checks import misspelt, mixing_for_solve, moving_the_start, refuse
from ...checks.finding import code_of, FUNCTIONS
from ...problem import Batch, check_state, Problem
from ...solver.running_cost import parts


def check_batch(batch: Batch) -> None:
    """Raises a TypeError or ValueError unless a problem with its states can be transcribed."""
    problem, x0, target, parameters = batch
    check_state(problem, x0)
    name = type(problem).__name__
    if problem.control_shape is None:
        raise TypeError(f"solve needs controls that are tensors, but {name} takes layers.")
    if len(problem.projections) > 0:
        raise ValueError(f"solve knows no projections, but {name} has {len(problem.projections)}.")
    if len(problem.observations) > 0:
        raise ValueError(
            f"solve takes no costs at given times, but {name} has {len(problem.observations)} "
            "observations: train it, or make them a stage cost."
        )
    observed = parts(problem.stage_cost)[1]
    if observed:
        raise ValueError(
            "solve takes the stage cost of one state at a time, but "
            f"{name}.stage_cost observes states: {type(observed[0][1]).__name__}."
        )
    if x0.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"solve computes in float32 or float64, but x0 is {x0.dtype}.")
    if x0.numel() == 0:
        raise ValueError(f"x0 must hold at least one state, but has shape {tuple(x0.shape)}.")
    check_control_bounds(problem)
    check_final_time(problem)
    for key in problem.static_parameters:
        value = own_value(problem, key)
        if x0.requires_grad and value.requires_grad and depends_on(x0, value):
            raise ValueError(
                f"x0 depends on the static parameter {key!r}, but initial states are fixed: let it "
                "act in dynamics, costs and constraints only."
            )
    if problem.static_parameters:
        refuse(moving_the_start(problem, list(problem.static_parameters), drawn=False))
    check_kind("target", target, Tensor, type(None))
    for key, value in parameters.items():
        own_value(problem, key)
        if not isinstance(value, Tensor):
            raise TypeError(f"{key} must be a tensor, but got {type(value).__name__}.")
    shape = problem.batch_shape(x0)
    if target is not None and target.shape[: len(shape)] != shape:
        raise ValueError(f"target must have shape {(*shape, ...)}, but got {tuple(target.shape)}.")
    check_functions(batch)


def depends_on(value: Tensor, parameter: Tensor) -> bool:
    """Whether a tensor was computed from a parameter."""
    (slope,) = torch.autograd.grad(value.sum(), parameter, retain_graph=True, allow_unused=True)
    return slope is not None


def check_control_bounds(problem: Problem) -> None:
    """Raises a TypeError or ValueError unless bounds of the control are two of its shape."""
    bounds, shape = problem.control_bounds, tuple(problem.control_shape or ())
    if bounds is None:
        return
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise TypeError(f"control_bounds must be a pair (lower, upper), but got {bounds!r}.")
    for bound in bounds:
        if not isinstance(bound, (int, float, Tensor)):
            raise TypeError(
                f"control_bounds must be numbers or tensors, but got {type(bound).__name__}."
            )
        size = tuple(torch.as_tensor(bound).shape)
        fits = len(size) <= len(shape) and all(
            a in (1, b) for a, b in zip(size[::-1], shape[::-1], strict=False)
        )
        if not fits:
            raise ValueError(
                f"control_bounds must be numbers or have shape {shape}, but one has {size}; bounds "
                "over time or batch are written as a path_constraint."
            )


def check_final_time(problem: Problem) -> None:
    """Raises a TypeError or ValueError unless bounds of the final time are two times after t0."""
    bounds = problem.final_time_bounds
    if bounds is None:
        return
    numbers = isinstance(bounds, (tuple, list)) and all(
        isinstance(bound, (int, float)) for bound in bounds
    )
    if not numbers or len(bounds) != 2:
        raise TypeError(f"final_time_bounds must be a pair of numbers, but got {bounds!r}.")
    if not problem.t0 <= bounds[0] < bounds[1]:
        raise ValueError(
            f"final_time_bounds must be two times, the first before the second and not before "
            f"t0={problem.t0}, but got {tuple(bounds)}."
        )


def check_start(batch: Batch, start: Any) -> None:
    """Raises a TypeError or ValueError unless a start solves a problem of the same shapes."""
    problem, other = batch.problem, start.batch.problem
    for name in ("state_shape", "control_shape"):
        own, given = tuple(getattr(problem, name)), tuple(getattr(other, name))
        if own != given:
            raise ValueError(
                f"start must solve a problem with {name}={own}, but it solves "
                f"{type(other).__name__} with {given}."
            )
    for name in ("path_constraint", "terminal_constraint", "terminal_inequality"):
        counts = [name in p.constraints for p in (problem, other)]
        if counts[0] != counts[1]:
            raise ValueError(
                f"start must solve a problem with the same constraints, but only one of "
                f"{type(problem).__name__} and {type(other).__name__} has a {name}."
            )


looked_at: WeakKeyDictionary[Problem, tuple[Any, ...]] = WeakKeyDictionary()
"""Problems whose functions were checked, and what they were like at that time."""


def written_as(problem: Problem, x0: Tensor, target: Tensor | None) -> tuple[Any, ...]:
    """A problem's functions and members, and what it is given, as a value that can be compared."""
    parts = (vars(problem), problem._parameters, problem._buffers, problem._modules)
    members = [
        # A function's code, because a new function may have the address of an old one in memory.
        (name, code_of(value) if isinstance(value, FunctionType) else id(value))
        for part in parts
        for name, value in part.items()
    ]
    functions = [code_of(getattr(problem, name)) for name in FUNCTIONS]
    return type(problem), members, functions, x0.dtype, x0.device, target is None


def check_functions(batch: Batch) -> None:
    """Raises a ProblemError for a misspelt member, or a function that cannot be right.

    A problem that is solved again and again is looked at once, and again when its members or the
    code of its functions have changed. The independent pass still sees changes that this misses.
    """
    problem, x0, target, _ = batch
    now = written_as(problem, x0, target)
    if looked_at.get(problem) == now:
        return
    refuse(misspelt(problem))
    rank = x0.dim() - len(problem.state_shape)
    states = x0.detach().reshape(-1, *problem.state_shape)[:6]
    targets = None if target is None else target.reshape(-1, *target.shape[rank:])[:6]
    refuse(mixing_for_solve(problem, states, targets, problem.t0))
    looked_at[problem] = now


def share_checks(given: Batch, batch: Batch) -> None:
    """What was checked of a problem counts for its copy in another precision, and the other way.

    It counts for each as it is now.
    """
    if batch.problem is not given.problem:
        before, after = (written_as(*part[:3]) for part in (given, batch))
        if looked_at.get(given.problem) == before:
            looked_at[batch.problem] = after
        elif looked_at.get(batch.problem) == after:
            looked_at[given.problem] = before


def check_bounds(name: str, lower: Tensor, upper: Tensor) -> None:
    """Raises a ValueError unless there is room between the bounds."""
    for low, high in zip(lower.tolist(), upper.tolist(), strict=True):
        if not low < high:
            raise ValueError(f"{name} must leave room between them, but got {low} and {high}.")


def own_value(problem: Problem, name: str) -> Tensor:
    """The problem's own parameter or buffer of that name.

    Raises:
        ValueError: If there is none.
    """
    owner, _, last = name.rpartition(".")
    try:
        module: nn.Module = problem.get_submodule(owner)
        value = module._parameters.get(last, module._buffers.get(last))
    except AttributeError:
        value = None
    if value is None:
        known = [key for key, _ in (*problem.named_parameters(), *problem.named_buffers())]
        raise ValueError(
            f"{type(problem).__name__} must have a parameter or buffer {name!r}, but it has "
            f"{', '.join(known) or 'none'}."
        )
    return value
