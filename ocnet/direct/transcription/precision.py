"""Converts a problem to the precision that it is solved in, whatever its tensors and torch use."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn, Tensor

from ...problem import Batch, Problem


KNOWN = (torch.float32, torch.float64)
"""The precisions that `solve` computes in."""


def in_precision(batch: Batch, dtype: torch.dtype | None) -> Batch:
    """A batch whose states, targets, parameters and problem are in a precision.

    The problem is copied where one of its tensors has another type. Gradients flow through the
    conversion to the tensors that were given.

    Arguments:
        batch: The batch.
        dtype: The precision; None for that of the initial states.

    Raises:
        TypeError: If there is no such precision, or the device does not have it.
    """
    if dtype is not None and dtype not in KNOWN:
        raise TypeError(f"dtype must be torch.float64, torch.float32 or None, but got {dtype!r}.")
    problem, x0, target, parameters = batch
    if not isinstance(x0, Tensor) or x0.dtype not in KNOWN:
        return batch  # A later check refuses such states.
    dtype = dtype or x0.dtype
    if dtype == torch.float64 and x0.device.type == "mps":
        raise TypeError("x0 is on mps, which has no double precision: pass dtype=torch.float32.")
    others = {
        id(v): v.to(dtype) for v in tensors_of(problem) if v.dtype in KNOWN and v.dtype != dtype
    }
    return Batch(
        copied(problem, others) if others else problem,
        x0.to(dtype),
        converted(target, dtype),
        {name: converted(value, dtype) for name, value in parameters.items()},
    )


def converted(value: Any, dtype: torch.dtype) -> Any:
    """A tensor of real numbers in a precision; anything else as it is."""
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype in KNOWN else value


def copied(problem: Problem, others: dict[int, Tensor]) -> Problem:
    """A copy of a problem with other tensors in the place of some.

    Arguments:
        problem: The problem.
        others: The tensors, by the `id` of those that they stand for.

    Raises:
        TypeError: If it cannot be copied.
    """
    try:
        return copy.deepcopy(problem, dict(others))
    # The user's own attributes can refuse to be copied in any way.
    except Exception as error:
        name = type(problem).__name__
        raise TypeError(
            f"{name} cannot be copied to solve it in another precision ({error}): pass dtype=None."
        ) from error


def tensors_of(problem: nn.Module) -> Iterator[Tensor]:
    """The parameters, buffers and other tensors that a problem and its modules hold."""
    for module in problem.modules():
        yield from tensors_in({k: v for k, v in vars(module).items() if k != "_modules"})


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


@contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """A context in which tensors made without a type, as by `torch.eye(2)`, have this one."""
    before = torch.get_default_dtype()
    if before == dtype or dtype not in KNOWN:
        yield
        return
    torch.set_default_dtype(dtype)
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:
        # A formula can hold tensors that nobody finds, such as those of a closure.
        if error.args and "dtype" in str(error.args[0]) and "dtype=" not in str(error.args[0]):
            hint = f"solve computes in {dtype} unless it is called with dtype=None"
            error.args = (f"{str(error.args[0]).rstrip('.')}; {hint}.", *error.args[1:])
        raise
    finally:
        torch.set_default_dtype(before)
