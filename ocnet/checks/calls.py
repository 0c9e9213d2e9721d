"""Calls a user's function and looks at what comes back: tensors of the shape that was promised."""

import torch
from torch import Tensor

from .._blame import in_one_line
from ..problem import Problem
from .finding import (
    Finding,
    FUNCTIONS,
    named,
    place,
    Point,
    ProblemError,
    SIGNATURES,
)


ROWS = ("path_constraint", "terminal_constraint", "terminal_inequality")
"""Functions that return a vector for each state."""


def called(problem: Problem, name: str, at: Point) -> Tensor:
    """What a function of the problem returns at a point.

    Arguments:
        problem: The problem whose functions are called.
        name: Which function.
        at: The point; the control is a tensor.

    Raises:
        ProblemError: In one line, if it fails, writes into its arguments, or returns anything but a
            tensor of floating point numbers of the right shape.
    """
    given = [value for value in at if isinstance(value, Tensor)]
    versions = [value._version for value in given]
    try:
        value = FUNCTIONS[name](problem, at)
    except Exception as error:
        message = f"fails: {in_one_line(error)}"
        if isinstance(error, TypeError) and "argument" in str(error):
            message = f"must be written as {SIGNATURES[name]}: {error}."
        raise named(error, name) or wrong(problem, name, message) from error
    if [v._version for v in given] != versions:
        raise wrong(problem, name, "writes into its arguments; it must make new tensors instead.")
    if not isinstance(value, Tensor):
        raise wrong(problem, name, f"must return a tensor, but got {type(value).__name__}.")
    if not value.is_floating_point():
        raise wrong(problem, name, f"must return floating point numbers, but got {value.dtype}.")
    if torch.promote_types(value.dtype, at.x.dtype) != at.x.dtype:
        raise wrong(
            problem, name,
            f"must return {at.x.dtype} for a state of that type, but got {value.dtype}; make "
            "numbers by x.new_tensor, or convert them with .to(x).",
        )  # fmt: skip
    check_shape(problem, name, at, value)
    return value


def wrong(problem: Problem, name: str, message: str) -> ProblemError:
    """The error for a function of the problem that cannot be right."""
    return ProblemError(str(Finding(name, place(problem, name), message)))


def check_shape(problem: Problem, name: str, at: Point, value: Tensor) -> None:
    """Raises a ProblemError unless a value has the shape that its function promises."""
    batch = tuple(problem.batch_shape(at.x))
    state = tuple(problem.state_shape)
    if name == "dynamics":
        wanted, fits = (*batch, *state), value.shape == at.x.shape
        promised = ("*batch", *state)
    elif name in ROWS:
        wanted, promised = (*batch, "rows"), ("*batch", "rows")
        fits = value.dim() == len(batch) + 1 and value.shape[:-1] == batch
    elif name == "stage_cost":
        wanted, promised = batch, ("*batch",)
        fits = broadcasts(value.shape, batch)
    else:
        wanted, promised = batch, ("*batch",)
        fits = value.shape == batch
    if not fits:
        shapes = [f"({', '.join(map(str, shape))})" for shape in (promised, wanted)]
        advice = "x[..., 0] is a component whatever the batch, x[0] is not"
        if name in ROWS and value.shape == batch:
            advice = "x[..., :1] is one row of them"
        raise wrong(
            problem, name,
            f"must return shape {shapes[0]}, here {shapes[1]}, but got {tuple(value.shape)}; "
            f"{advice}.",
        )  # fmt: skip


def broadcasts(shape: torch.Size, batch: tuple[int, ...]) -> bool:
    """Whether a shape can be expanded to another."""
    try:
        return torch.broadcast_shapes(shape, batch) == torch.Size(batch)
    except RuntimeError:
        return False
