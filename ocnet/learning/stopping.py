"""Early stopping, and with it the choice of the best model."""

import math
from typing import Any

from .._arguments import check_count


class Stopping:
    """Tells whether a validation cost is the best so far, and when to stop waiting.

    Arguments:
        patience: How many validations in a row may bring no improvement; None for any number.

    Attributes:
        best: The least cost so far.
        failures: How many validations in a row brought no improvement.
    """

    def __init__(self, patience: int | None = None):
        if patience is not None:
            check_count("patience", patience)
        self.patience = patience
        self.best: float = math.inf
        self.failures: int = 0

    def improves(self, cost: float) -> bool:
        """Records a cost, and tells whether it is the least so far."""
        if cost < self.best:
            self.best = cost
            self.failures = 0
            return True
        self.failures += 1
        return False

    @property
    def is_over(self) -> bool:
        """Whether the patience has run out."""
        return self.patience is not None and self.failures >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """The least cost and the failures since."""
        return {"best": self.best, "failures": self.failures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state."""
        self.best = state["best"]
        self.failures = state["failures"]
