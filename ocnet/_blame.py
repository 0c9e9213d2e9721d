"""Errors inside a user's formula: which line of the user's raised them, and what to write there."""

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor


EXPLAINED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a mistake in a formula raises; others, an interrupt among them, pass as they are."""

OWN = Path(__file__).parent
LIBRARIES = tuple({Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")})

DTYPE_WORDS = ("same dtype", "scalar type", "but got Double", "!= double", "double !=", "dtype")
GRAD_WORDS = ("does not require grad", "not have been used in the graph")


@contextmanager
def blamed(formula: str, x: Tensor | None = None) -> Iterator[None]:
    """Lets an error inside a user's formula name the formula and the line.

    Arguments:
        formula: The name of the formula, such as "Cart.dynamics".
        x: The state that it was called with.
    """
    try:
        yield
    except EXPLAINED as error:
        blame(error, formula, x)
        raise


def blame(error: Exception, formula: str, x: Tensor | None = None) -> None:
    """Rewrites the message of an error that a user's formula raised, in place.

    Arguments:
        error: The error, with its traceback.
        formula: The name of the formula.
        x: The state that it was called with.
    """
    if hasattr(error, "formula"):
        return
    lines = str(error).strip().splitlines() or [type(error).__name__]
    place = user_line(error)
    message = f"{formula} failed{place}: {lines[0].rstrip('.')}." + advice(str(error), x)
    if type(error).__str__ is BaseException.__str__ or isinstance(error, KeyError):
        error.args = (message,)
    error.formula = formula  # pyright: ignore[reportAttributeAccessIssue]


def user_line(error: BaseException) -> str:
    """` at FILE:LINE` of the innermost line that belongs to the user; empty if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if OWN in path.parents or frame.filename.startswith("<frozen"):
            continue
        if any(library in path.parents for library in LIBRARIES) or "torch" in path.parts:
            continue
        if frame.filename.startswith("<@beartype") or "jaxtyping" in path.parts:
            continue
        return f" at {frame.filename}:{frame.lineno}"
    return ""


def advice(text: str, x: Tensor | None) -> str:
    """What to write instead, where the message of PyTorch lets that be known."""
    if any(words in text for words in GRAD_WORDS):
        return " Inside a formula torch.func.grad works, torch.autograd.grad does not."
    if "saved tensor hooks" in text:
        return ' torch.func does not work with gradient="checkpoint": take gradient="backprop".'
    if x is not None and x.dtype != torch.float64 and any(words in text for words in DTYPE_WORDS):
        return (
            f" The state is {str(x.dtype).removeprefix('torch.')}, and the time double precision: "
            "t.to(x) is the time in the state's precision."
        )
    return ""


def called(owner: object, method: str) -> str:
    """The name of a method, such as "Cart.dynamics"."""
    return f"{type(owner).__name__}.{method}"
