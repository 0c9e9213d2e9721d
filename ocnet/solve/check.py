"""What `solve` asks of a problem before it starts: one clear line for whatever is wrong."""

from collections.abc import Callable

import torch
from torch import nn, Tensor

from ..checks import misspelt, mixing_for_solve, refuse
from ..problem import Batch, check_problem, Problem


def check_batch(batch: Batch) -> None:
    """Raises a TypeError or ValueError unless a problem with its states can be transcribed."""
    problem, x0, target, parameters = batch
    check_problem(problem, x0)
    name = type(problem).__name__
    if problem.control_shape is None:
        raise TypeError(f"solve needs controls that are tensors, but {name} takes layers.")
    if len(problem.projections) > 0:
        raise ValueError(f"solve knows no projections, but {name} has {len(problem.projections)}.")
    for key, value in parameters.items():
        own_value(problem, key)
        if not isinstance(value, Tensor):
            raise TypeError(f"{key} must be a tensor, but got {type(value).__name__}.")
    shape = problem.batch_shape(x0)
    if target is not None and target.shape[: len(shape)] != shape:
        raise ValueError(f"target must have shape {(*shape, ...)}, but got {tuple(target.shape)}.")
    check_functions(batch)


def check_functions(batch: Batch) -> None:
    """Raises a ProblemError for a misspelt member, or a function that cannot be right."""
    problem, x0, target, _ = batch
    refuse(misspelt(problem))
    rank = x0.dim() - len(problem.state_shape)
    states = x0.detach().reshape(-1, *problem.state_shape)[:6]
    targets = None if target is None else target.reshape(-1, *target.shape[rank:])[:6]
    refuse(mixing_for_solve(problem, states, targets, problem.t0))


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


def depends_on_time(batch: Batch) -> bool:
    """Whether dynamics, stage cost or path constraint read the time."""
    problem, x0, target, _ = batch
    u = x0.new_zeros(*problem.batch_shape(x0), *(problem.control_shape or ()))

    def depends(function: Callable[[Tensor], Tensor]) -> bool:
        times = [
            x0.new_tensor(problem.t0 + a * (problem.t1 - problem.t0)) for a in (0.0, 0.37, 1.0)
        ]
        with torch.no_grad():
            first, *others = [function(t) for t in times]
        if any(not torch.equal(first, value) for value in others):
            return True
        with torch.enable_grad():
            t = times[0].requires_grad_()
            value = function(t)
            if not value.requires_grad:
                return False
            (by_time,) = torch.autograd.grad(value.sum(), t, allow_unused=True)
        return by_time is not None

    x = x0.detach()
    return (
        depends(lambda t: problem.dynamics(t, x, u))
        or depends(lambda t: problem.stage_cost(t, x, u, target))
        or depends(lambda t: problem.path_constraint(t, x, u))
    )
