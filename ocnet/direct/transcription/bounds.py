"""The bounds of controls and of constants as tensors, and values between them."""

import math

import torch
from torch import Tensor

from .check import check_bounds
from .points import Points
from .units import NEAR_ONE


def of_controls(points: Points, like: Tensor) -> tuple[Tensor, Tensor]:
    """The lower and upper bounds of a control, each `(nu,)`, of the type of `like`."""
    shape = points.problem.control_shape or ()
    pair = points.problem.control_bounds or (-math.inf, math.inf)
    low, high = (torch.as_tensor(b).to(like).expand(shape).reshape(-1) for b in pair)
    check_bounds("control_bounds", low, high)
    return low, high


def of_constants(points: Points, like: Tensor) -> tuple[Tensor, Tensor]:
    """The bounds of the horizon's stretch and of the static parameters, each `(nz - nx,)`."""
    problem = points.problem
    pairs = []
    if problem.final_time_bounds is not None:
        width = problem.t1 - problem.t0
        pairs.append([(t - problem.t0) / width for t in problem.final_time_bounds])
    for name, value in points.static.items():
        pairs += [problem.static_parameters[name]] * value.numel()
    low, high = like.new_tensor(pairs).reshape(-1, 2).unbind(-1)
    check_bounds("final_time_bounds and static_parameters", low, high)
    return low, high


def inside(value: Tensor, lower: Tensor, upper: Tensor, share: float = 1e-2) -> Tensor:
    """`value` moved between the bounds, away from them by a share of the room or of one.

    Where bounds are large numbers, the share is of their size instead of one.
    """
    size = torch.stack([lower, upper]).abs()
    size = torch.where(size.isfinite() & (size > NEAR_ONE), size, 1.0).amax(0)
    room = torch.minimum(share * (upper - lower), share * size)
    return torch.maximum(torch.minimum(value, upper - room), lower + room)
