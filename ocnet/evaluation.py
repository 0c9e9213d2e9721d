"""The cost of a trajectory, and of a control."""

from torch import Tensor

from ._arguments import check_kind
from .control import Control
from .problem import Problem, Sample
from .solver import Solver
from .trajectory import Trajectory
from .types import Cost


__all__ = ["evaluate", "objective"]


def objective(problem: Problem, trajectory: Trajectory, target: Tensor | None = None) -> Cost:
    """The running cost plus the terminal cost, for each initial state, shape `(*batch,)`.

    Raises:
        TypeError, ValueError: If an argument is of another class, or the terminal cost is not one
            number for each state.
    """
    check_kind("problem", problem, Problem)
    check_kind("trajectory", trajectory, Trajectory)
    x = trajectory.states[-1]
    terminal = problem.terminal_cost(x, target)
    if terminal.shape != problem.batch_shape(x):
        raise ValueError(
            f"terminal_cost must return shape {tuple(problem.batch_shape(x))}, but got "
            f"{tuple(terminal.shape)}."
        )
    return trajectory.running_cost + terminal


def evaluate(
    problem: Problem, control: Control, solver: Solver, sample: Sample
) -> tuple[Cost, Trajectory]:
    """The cost of a control for each sample, shape `(*batch,)`, and the trajectory it makes.

    Arguments:
        problem, control, solver: What to evaluate.
        sample: The inputs, and the targets that the costs compare with.

    Raises:
        TypeError, ValueError: If the arguments do not fit together.
    """
    check_kind("problem", problem, Problem)
    check_kind("solver", solver, Solver)
    check_kind("sample", sample, Sample)
    trajectory = solver.solve(problem, control, problem.embed(sample.x0), sample.target)
    return objective(problem, trajectory, sample.target), trajectory
