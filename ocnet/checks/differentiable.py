"""Names functions that have values but cannot be differentiated, where the derivatives fail."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .._blame import in_one_line
from ..problem import Problem
from .finding import Finding, FUNCTIONS, place, Point, ProblemError, written
from .mixing import quiet, tracked


@contextmanager
def differentiating(problem: Problem, x0: Tensor, target: Tensor | None) -> Iterator[None]:
    """Names the function at fault if a block fails because it cannot be differentiated.

    Arguments:
        problem: The problem, whose control is a tensor.
        x0: Its initial states, shape `(*batch, *state_shape)`.
        target: Their targets, shape `(*batch, ...)`, or None.

    Raises:
        ProblemError: In one line, with function, file and line.
    """
    try:
        yield
    except ProblemError:
        raise
    except RuntimeError as error:
        u = x0.new_zeros(*problem.batch_shape(x0), *(problem.control_shape or ()))
        at = Point(x0.new_tensor(float(problem.t0)), x0, u, target)
        for name in written(problem):
            refuse_if_fails(problem, name, at, error)
        raise


def refuse_if_fails(problem: Problem, name: str, at: Point, cause: RuntimeError) -> None:
    """Raises a ProblemError if a function cannot be differentiated twice.

    Arguments:
        problem, name: The problem, and the name of its function.
        at: The point at which to differentiate.
        cause: The error that led to this check.
    """
    with quiet(at.x), torch.enable_grad():
        at = tracked(at)
        value = FUNCTIONS[name](problem, at)
        if not value.requires_grad:
            return
        try:
            first = torch.autograd.grad(
                value.sum(), (at.x, at.u), create_graph=True, allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip
            total = first[0].sum() + first[1].sum()
            if total.requires_grad:
                torch.autograd.grad(total, (at.x, at.u), allow_unused=True)
        except RuntimeError as error:
            message = f"cannot be differentiated: {in_one_line(error)}"
            raise ProblemError(str(Finding(name, place(problem, name), message))) from cause
