"""Errors inside a user's formula: one line with the formula, the line that raised it, and advice.

`ocnet.checks` raises them as a ProblemError before anything is computed; solvers, which call
formulas many times, rewrite the error in place, so that it keeps its class.
"""

import functools
import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


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
"""The errors that a mistake in a formula raises; others, such as an interrupt, are not changed."""

LIBRARIES = ("numpy", "jaxtyping", "beartype")
"""Packages whose code is not the user's."""

TIME = "t.to(x) converts a time to the state's type"
VALUES = "use torch's functions, and no values taken out of tensors"
MATH = "use torch's functions in place of math's"
WHERE = "use torch.where in place of if"
HINTS = (
    ("does not require grad", "torch.func.grad works here, torch.autograd.grad does not"),
    ("used in the graph", "torch.func.grad works here, torch.autograd.grad does not"),
    ("saved tensor hooks", "torch.func needs gradient=Backprop() in place of Checkpoint()"),
    ("numpy", "use torch's functions in place of numpy's"),
    ("data pointer", VALUES),
    (".item()", VALUES),
    ("can be converted to Python scalars", MATH),
    ("cannot be converted to Scalar", MATH),
    ("Boolean value of Tensor", WHERE),
    ("data-dependent control flow", WHERE),
    ("stack expects each tensor", "x[..., 0] and u[..., 0] are components whatever the batch"),
    ("in-place operation", "write nothing into t, x, u or target: make new tensors"),
    ("expected scalar type", TIME),
    ("same dtype", TIME),
    ("but got Double", TIME),
    ("!= double", TIME),
    ("double !=", TIME),
)
"""What to do about errors that contain certain words."""


@contextmanager
def blamed(formula: str) -> Iterator[None]:
    """Lets an error inside a user's formula name the formula and the line.

    Arguments:
        formula: The name of the formula, such as "Cart.dynamics".
    """
    try:
        yield
    except EXPLAINED as error:
        blame(error, formula)
        raise


def blame(error: Exception, formula: str) -> None:
    """Rewrites the message of an error that a user's formula raised, in place.

    Arguments:
        error: The error, with its traceback.
        formula: The name of the formula.
    """
    if hasattr(error, "formula"):
        return
    message = told(error, formula)
    if type(error).__str__ is BaseException.__str__ or isinstance(error, KeyError):
        error.args = (message,)
    error.formula = formula  # pyright: ignore[reportAttributeAccessIssue]


def told(error: Exception, formula: str) -> str:
    """An error inside a formula in one line: formula, place, what happened, what to do."""
    if hasattr(error, "formula"):
        return str(error.args[0])
    where = ""
    for file, line, function in users_frames(error)[-1:]:
        own = function in (formula.rpartition(".")[2], "<lambda>")
        where = f" ({at_line(file, line)})" if own else f" ({at_line(file, line)} in {function})"
    return f"{formula}{where} fails: {in_one_line(error)}"


def in_one_line(error: BaseException) -> str:
    """An error and what to do about it, in one line."""
    first = next(iter(str(error).strip().splitlines()), "")
    # The advice that torch gives next is not always good here.
    first = first.split(". ")[0]
    hint = next((advice for words, advice in HINTS if words in str(error)), "")
    line = f"{type(error).__name__}: {first}".rstrip(". :")
    return f"{line}; {hint}." if hint else f"{line}."


def users_frames(error: BaseException) -> list[tuple[str, int, str]]:
    """File, line and function of the user's frames in a traceback, the outermost first."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_users(code.co_filename):
            frames.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return frames


def is_users(file: str) -> bool:
    """Whether a file of a traceback holds code of the user's."""
    inside = any(f"{os.sep}site-packages{os.sep}{name}{os.sep}" in file for name in LIBRARIES)
    site = f"{os.sep}site-packages{os.sep}" in file
    folders = library_folders()[:2] if site else library_folders()
    return not inside and not file.startswith("<") and not file.startswith(folders)


@functools.cache
def library_folders() -> tuple[str, ...]:
    """The folders whose code is not the user's."""
    own = Path(__file__).parent
    return tuple(
        f"{folder}{os.sep}"
        for folder in (own, Path(torch.__file__).parent, sysconfig.get_paths()["stdlib"])
    )


def at_line(file: str, line: int) -> str:
    """A place in a file, "cart.py:12"; below the working directory the path is relative."""
    path = os.path.relpath(file) if Path(file).is_relative_to(Path.cwd()) else file
    return f"{path}:{line}"


def called(owner: object, method: str) -> str:
    """The name of a method, such as "Cart.dynamics"."""
    return f"{type(owner).__name__}.{method}"
