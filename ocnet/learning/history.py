"""What training measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .._arguments import check_kind, check_sequence


class Record(NamedTuple):
    """What one step of training measured, before it updated the parameters.

    Attributes:
        step: The index of the step.
        cost: The mean cost of the batch.
        grad_norm: The Euclidean norm of the gradient.
        costs: The mean cost of each of several systems that are trained side by side, of which
            `cost` is the sum; empty where there is one.
    """

    step: int
    cost: float
    grad_norm: float
    costs: tuple[float, ...] = ()


class Validated(NamedTuple):
    """What a validation measured.

    Attributes:
        step: After how many steps.
        measures: The mean cost, under "cost", and the mean scores.
    """

    step: int
    measures: dict[str, float]


@dataclass(frozen=True)
class History:
    """What training measured, one record a step; `ocnet.plot.histories` draws it.

    Attributes:
        records: The steps.
        validations: The validations between them, if there were any.
        best_step: After how many steps the validation cost was least, or None.

    Raises:
        TypeError: If they are not records.
    """

    records: Sequence[Record]
    validations: Sequence[Validated] = ()
    best_step: int | None = None

    def __post_init__(self) -> None:
        check_sequence("records", self.records, "records")
        for record in self.records:
            check_kind("Each of records", record, Record)

    @property
    def cost(self) -> list[float]:
        """The mean cost of the batch at each step."""
        return [record.cost for record in self.records]

    @property
    def grad_norm(self) -> list[float]:
        """The norm of the gradient at each step."""
        return [record.grad_norm for record in self.records]
