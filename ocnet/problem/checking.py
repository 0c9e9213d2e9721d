"""Checks of a problem and of its initial states."""

import math
from typing import Any

from torch import Tensor

from .._arguments import as_number, check_kind
from .problem import Problem
from .projection import Projection
from .sample import Sample


def check_state(problem: Any, x0: Any) -> None:
    """Raises a TypeError or ValueError that names what is wrong with a problem or its state."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an ocnet.Problem, but got {type(problem).__name__}.")
    t0, t1 = as_number("t0", problem.t0), as_number("t1", problem.t1)
    if not -math.inf < t0 < t1 < math.inf:
        raise ValueError(f"Must have t0 < t1, but got {t0=} and {t1=}.")
    if not hasattr(problem, "state_shape"):
        raise TypeError(f"{type(problem).__name__} must set state_shape, a tuple of integers.")
    check_shape("state_shape", problem.state_shape)
    if problem.control_shape is not None:
        check_shape("control_shape", problem.control_shape)
    if not isinstance(x0, Tensor) or not x0.is_floating_point():
        got = x0.dtype if isinstance(x0, Tensor) else type(x0).__name__
        raise TypeError(f"x0 must be a tensor of floating point numbers, but got {got}.")
    shape = tuple(problem.state_shape)
    if tuple(x0.shape[x0.dim() - len(shape) :]) != shape:
        raise ValueError(
            f"x0 must have shape (*batch, {', '.join(map(str, shape))}), but got {tuple(x0.shape)}."
        )
    end = problem.t0
    for projection in problem.projections:
        check_kind("Each of projections", projection, Projection)
        if projection.start < end or projection.end > problem.t1:
            raise ValueError(
                "projections must lie one after the other between t0 and t1, but got one on "
                f"[{projection.start}, {projection.end}]."
            )
        end = projection.end


def check_shape(name: str, shape: Any) -> None:
    """Raises a TypeError or ValueError unless a shape is a tuple of positive integers."""
    if not isinstance(shape, (tuple, list)) or not all(isinstance(size, int) for size in shape):
        raise TypeError(f"{name} must be a tuple of integers such as (2,), but got {shape!r}.")
    if not all(size > 0 for size in shape):
        raise ValueError(f"{name} must have sizes of at least 1, but got {tuple(shape)}.")


def check_not_empty(sample: Sample) -> None:
    """Raises a ValueError if a batch has no samples."""
    if sample.x0.numel() == 0:
        raise ValueError(
            f"x0 must hold at least one sample, but has shape {tuple(sample.x0.shape)}."
        )
