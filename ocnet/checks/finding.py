"""Findings about a user's function: its name, where it is written, and what is wrong."""

import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn, Tensor

from .._blame import at_line, told, users_frames
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
"""How the definitions of these functions begin."""


def written(problem: Problem) -> list[str]:
    """The names of the functions that the problem itself defines."""
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


def named(error: Exception, function: str | None = None) -> ProblemError | None:
    """The error that names the user's function, file and line; None if there is none of those.

    Arguments:
        error: What was raised.
        function: The name of the function; if None, that of the user's outermost frame.
    """
    frames = users_frames(error)
    if not frames and not hasattr(error, "formula"):
        return None
    return ProblemError(told(error, function or (frames[0][2] if frames else "")))


@contextmanager
def naming() -> Iterator[None]:
    """Turns errors from the user's functions into one line that names function, file and line.

    Raises:
        ProblemError: From the original error.
    """
    try:
        yield
    except ProblemError:
        raise
    except Exception as error:
        explained = named(error)
        if explained is None:
            raise
        raise explained from error


def refuse(findings: Sequence[Finding]) -> None:
    """Raises a ProblemError with the first finding, if there are any."""
    if findings:
        raise ProblemError(str(findings[0]))
