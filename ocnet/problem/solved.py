"""Problems whose optimal cost is known."""

import abc

from torch import Tensor

from ..types import Cost, State
from .problem import Problem


class SolvedProblem(Problem):
    """A problem whose optimal cost is known: a yardstick for solvers and for training."""

    @abc.abstractmethod
    def optimal_cost(self, x0: State) -> Cost:
        """The least cost attainable from `x0` in continuous time, shape `(*batch,)`."""

    def euler_optimal_cost(self, x0: State, n: int) -> Cost | None:
        """The least cost of the problem discretised by `n` Euler steps; None if not known."""
        return None

    def optimal_control(self, t: Tensor, x0: State) -> Tensor | None:
        """The optimal open-loop control at times `t`, shape `(time, *batch, *control_shape)`.

        None if there is no closed form.
        """
        return None
