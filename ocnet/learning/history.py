"""What training measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """What one step of training measured, before it updated the parameters.

    Attributes:
        step: The index of the step.
        cost: The mean cost of the batch.
        grad_norm: The Euclidean norm of the gradient.
    """

    step: int
    cost: float
    grad_norm: float


@dataclass(frozen=True)
class History:
    """What training measured, one record a step; `ocnet.plot.histories` draws it."""

    records: Sequence[Record]

    @property
    def cost(self) -> list[float]:
        """The mean cost of the batch at each step."""
        return [record.cost for record in self.records]

    @property
    def grad_norm(self) -> list[float]:
        """The norm of the gradient at each step."""
        return [record.grad_norm for record in self.records]
