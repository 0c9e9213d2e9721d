"""The mean cost of a batch as a module."""

from torch import nn, Tensor

from ..control import Control
from ..evaluation import evaluate
from ..problem import Problem, Sample
from ..solver import Solver
from ..supervised import scores


class MeanCost(nn.Module):
    """The mean cost of a batch as a module, which is what PyTorch's wrappers take."""

    side_by_side: int | None = None

    def __init__(self, problem: Problem, control: Control):
        super().__init__()
        self.problem = problem
        self.control = control

    def forward(self, solver: Solver, x0: Tensor, target: Tensor | None = None) -> Tensor:
        """The mean over the batch: a scalar, or one value for each of the systems side by side.

        Raises:
            ValueError: If there are not as many systems as there should be.
        """
        costs, _ = evaluate(self.problem, self.control, solver, Sample(x0, target))
        if self.side_by_side is None:
            return costs.mean()
        if costs.dim() < 2 or len(costs) != self.side_by_side:
            raise ValueError(
                f"The cost of side_by_side={self.side_by_side} systems must have the shape "
                f"({self.side_by_side}, batch), but got {tuple(costs.shape)}."
            )
        return costs.flatten(1).mean(1)

    def measures(self, solver: Solver, sample: Sample) -> dict[str, Tensor]:
        """The cost and the scores of each sample."""
        costs, trajectory = evaluate(self.problem, self.control, solver, sample)
        return {"cost": costs, **scores(self.problem, trajectory.states[-1], sample.target)}

    def first_non_finite(self, solver: Solver, sample: Sample) -> tuple[int, float] | None:
        """The index and time of the first state that is not finite, or None if all are finite."""
        x0 = self.problem.embed(sample.x0)
        return solver.first_non_finite(self.problem, self.control, x0, sample.target)
