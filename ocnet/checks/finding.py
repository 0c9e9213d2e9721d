"""What is wrong with a function of the user's: its name, where it is written, and why."""

import functools
import inspect
import os
import sysconfig
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ..errors import OcnetError
from ..problem import Problem


class ProblemError(OcnetError, TypeError, ValueError):
    """A problem's function or attribute that cannot be right; names it, its file and its line."""


class Finding(NamedTuple):
    """One thing that is wrong with a problem.

    Attributes:
        function: The name of the function or attribute, such as "dynamics".
        place: Its file and line, "" if they are not known.
        message: What is wrong, a predicate of the function.
    """

    function: str
    place: str
    message: str

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"{self.function}{where} {self.message}"


class Point(NamedTuple):
    """Where a problem's functions are evaluated.

    Attributes:
        t: The time, a scalar.
        x: States, shape `(*batch, *state_shape)`.
        u: Controls, shape `(*batch, *control_shape)`, or a layer.
        target: What the costs compare with, shape `(*batch, ...)`, or None.
    """

    t: Tensor
    x: Tensor
    u: Any
    target: Tensor | None


FUNCTIONS: dict[str, Callable[[Problem, Point], Any]] = {
    "dynamics": lambda problem, at: problem.dynamics(at.t, at.x, at.u),
    "stage_cost": lambda problem, at: problem.stage_cost(at.t, at.x, at.u, at.target),
    "path_constraint": lambda problem, at: problem.path_constraint(at.t, at.x, at.u),
    "terminal_cost": lambda problem, at: problem.terminal_cost(at.x, at.target),
    "terminal_constraint": lambda problem, at: problem.terminal_constraint(at.x, at.target),
    "terminal_inequality": lambda problem, at: problem.terminal_inequality(at.x, at.target),
}
"""The functions of a problem, evaluated at a point."""

SIGNATURES = {
    "dynamics": "dynamics(self, t, x, u)",
    "stage_cost": "stage_cost(self, t, x, u, target)",
    "path_constraint": "path_constraint(self, t, x, u)",
    "terminal_cost": "terminal_cost(self, x, target)",
    "terminal_constraint": "terminal_constraint(self, x, target)",
    "terminal_inequality": "terminal_inequality(self, x, target)",
    "embed": "embed(self, x0)",
    "sample": "sample(self, batch_size, generator=None)",
}
"""How they are written."""


def written(problem: Problem) -> list[str]:
    """The names of the functions that the problem has of its own."""
    own = lambda name: (
        name in vars(problem) or getattr(type(problem), name) is not getattr(Problem, name)
    )
    return [name for name in FUNCTIONS if own(name)]


def code_of(function: Any) -> types.CodeType | None:
    """The code of a function, a method, or a cost object's `forward`; None if there is none."""
    function = function.forward if isinstance(function, nn.Module) else function
    function = inspect.unwrap(getattr(function, "__func__", function))
    return getattr(function, "__code__", None)


def place(problem: Problem, name: str) -> str:
    """The file and the line of a problem's function."""
    code = code_of(getattr(problem, name, None))
    return "" if code is None else at_line(code.co_filename, code.co_firstlineno)


def at_line(file: str, line: int) -> str:
    """A place in a file, "cart.py:12"; below the working directory the path is relative."""
    path = os.path.relpath(file) if Path(file).is_relative_to(Path.cwd()) else file
    return f"{path}:{line}"


@functools.cache
def library_folders() -> tuple[str, ...]:
    """The folders whose code is not the user's."""
    own = Path(__file__).parents[1]
    return tuple(
        f"{folder}{os.sep}"
        for folder in (own, Path(torch.__file__).parent, sysconfig.get_paths()["stdlib"])
    )


LIBRARIES = ("numpy", "jaxtyping", "beartype")
"""Packages whose code is not the user's."""


def is_users(file: str) -> bool:
    """Whether a file of a traceback holds code of the user's."""
    inside = any(f"{os.sep}site-packages{os.sep}{name}{os.sep}" in file for name in LIBRARIES)
    site = f"{os.sep}site-packages{os.sep}" in file
    folders = library_folders()[:2] if site else library_folders()
    return not inside and not file.startswith("<") and not file.startswith(folders)


def users_frames(error: BaseException) -> list[tuple[str, int, str]]:
    """File, line and function of the user's frames in a traceback, the outermost first."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_users(code.co_filename):
            frames.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    return frames


HINTS = (
    ("numpy", "use torch's functions in place of numpy's"),
    ("data pointer", "use torch's functions, and no values taken out of tensors"),
    (".item()", "use torch's functions, and no values taken out of tensors"),
    ("can be converted to Python scalars", "use torch's functions in place of math's"),
    ("cannot be converted to Scalar", "use torch's functions in place of math's"),
    ("Boolean value of Tensor", "use torch.where in place of if"),
    ("data-dependent control flow", "use torch.where in place of if"),
    ("stack expects each tensor", "x[..., 0] and u[..., 0] are components whatever the batch"),
    ("in-place operation", "write nothing into t, x, u or target: make new tensors"),
    ("expected scalar type", "t.to(x) converts a time to the state's type"),
    ("to have the same dtype", "t.to(x) converts a time to the state's type"),
)
"""What to do about errors that contain certain words."""


def in_one_line(error: BaseException) -> str:
    """An error and what to do about it, in one line."""
    told = next(iter(str(error).strip().splitlines()), "")
    # What torch advises next is not always good advice here.
    told = told.split(". ")[0]
    hint = next((advice for words, advice in HINTS if words in str(error)), "")
    told = f"{type(error).__name__}: {told}".rstrip(". ")
    return f"{told}; {hint}." if hint else f"{told}."


def named(error: Exception, function: str | None = None) -> ProblemError | None:
    """The error that names the user's function, file and line; None if there is none of those.

    Arguments:
        error: What was raised.
        function: The name of the function; that of the outermost of the user's frames if None.
    """
    frames = users_frames(error)
    if not frames:
        return None
    (file, line, inner), outer = frames[-1], function or frames[0][2]
    where = (
        at_line(file, line) if inner in (outer, "<lambda>") else f"{at_line(file, line)} in {inner}"
    )
    return ProblemError(f"{outer} ({where}) fails: {in_one_line(error)}")


@contextmanager
def naming() -> Iterator[None]:
    """Turns errors out of the user's functions into one line that names function, file and line.

    Raises:
        ProblemError: From the original error.
    """
    try:
        yield
    except ProblemError:
        raise
    except Exception as error:
        told = named(error)
        if told is None:
            raise
        raise told from error


def refuse(findings: Sequence[Finding]) -> None:
    """Raises a ProblemError with the first finding, if there are any."""
    if findings:
        raise ProblemError(str(findings[0]))
