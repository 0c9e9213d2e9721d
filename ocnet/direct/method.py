"""What every method of `solve` does: from a discretised problem and a start to an outcome."""

import abc
from typing import NamedTuple

import torch
from torch import Tensor

from .transcription.backend import Linearisation
from .transcription.transcription import Transcription
from .transcription.variables import Iterate


class Outcome(NamedTuple):
    """Where a method ended, for each instance.

    Attributes:
        it: The variables.
        code: The value of a `Code`, shape `(batch,)`.
        iterations: The number of iterations that it took.
        minimum: Whether the second-order condition holds.
        lin: The linearisation at the variables, where the method knows it.
    """

    it: Iterate
    code: Tensor
    iterations: Tensor
    minimum: Tensor
    lin: Linearisation | None = None

    @property
    def ending(self) -> tuple[Tensor, Tensor, Tensor]:
        """All but the variables, each of shape `(batch,)`."""
        return self.code, self.iterations, self.minimum

    def after(self, before: "Outcome") -> "Outcome":
        """This outcome, with the iterations that led to its start counted, too."""
        return self._replace(iterations=before.iterations + self.iterations)

    def take(self, at: Tensor) -> "Outcome":
        """The outcome of some of the instances."""
        code, iterations, minimum = (value[at] for value in self.ending)
        return Outcome(self.it.take(at), code, iterations, minimum)


def replaced(out: Outcome, at: Tensor, part: Outcome) -> Outcome:
    """The outcome with that of some of the instances replaced."""
    endings = zip(out.ending, part.ending, strict=True)
    code, iterations, minimum = (a.index_copy(0, at, b) for a, b in endings)
    return Outcome(out.it.put(at, part.it), code, iterations, minimum)


class Method(abc.ABC):
    """A way to improve a start until it is optimal."""

    @abc.abstractmethod
    def run(self, nlp: Transcription, start: Iterate, mu: float) -> Outcome:
        """Improves `start` until each instance is optimal, or it is clear that it never will be.

        Arguments:
            nlp: The discretised problem.
            start: Where to start.
            mu: The barrier parameter for which the start's slacks and multipliers were made.
        """

    @property
    @abc.abstractmethod
    def accuracy(self) -> float | None:
        """The residual below which an answer is converged; None means the number type's own."""

    @property
    def by_torch(self) -> str | None:
        """Why it iterates in torch even where derivatives are machine code; None if it does not."""
        return None


def accuracy(method: Method, dtype: torch.dtype) -> float:
    """The residual below which an answer is converged: 1e-9 in double, 1e-4 in single precision."""
    if method.accuracy is not None:
        return method.accuracy
    return 1e-9 if dtype == torch.float64 else 1e-4
