"""Two references of different kind: an adaptive solver, and a fine grid with nodes of its own."""

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..control import Control
from ..control.base import Law
from ..evaluation import evaluate, objective, observation_times
from ..problem import Problem, Sample
from ..solver import RK38, Solver, TorchDiffEq
from ..solver.base import Grid, uniform_grid
from ..solver.dense import evaluation_times, with_states_at
from ..solver.ode import snapped
from ..trajectory import Trajectory
from ..types import ControlValue
from .path import Arc, Path, pieces_of, STEPS_AT_ONCE


FINE_STEPS = 5000
"""The fine grid takes this many steps; it sees whatever is wider than 1/10,000 of the horizon."""

NEARLY_NOTHING = 0.05
"""A cost is measured against at least this share of what it costs to do nothing."""

STATES_AT_ONCE = 30_000_000
"""The states of one path may hold this many numbers; a fine grid may evaluate 30 times as many."""


def doubled(problem: Problem, control: Control, sample: Sample) -> tuple[Problem, Control, Sample]:
    """Copies in double precision, so that rounding does not blur the error of the steps.

    They are in evaluation mode, so that comparing leaves no trace in running statistics. Integer
    labels stay integers.
    """
    x0, target = sample
    if target is not None and target.is_floating_point():
        target = target.double()
    x0 = x0.double() if x0.is_floating_point() else x0
    problem, control = copy.deepcopy(problem).double(), copy.deepcopy(control).double()
    return problem.eval(), control.eval(), Sample(x0, target)


def output_intervals(n: int, size: int) -> int:
    """The number of intervals between compared times: an even multiple of `n`, at least 200.

    The compared times include the midpoints of steps, where straight lines are off most.

    If the states at so many times would not fit, it is a smaller multiple or a divisor of `n`.

    Arguments:
        n: The steps of the network.
        size: How many numbers the states of the batch hold at one time.
    """
    most = max(1, STATES_AT_ONCE // max(size, 1))
    wanted = 2 * n * max(2 if n <= 100 else 1, math.ceil(100 / n))
    if wanted <= most:
        return wanted
    if n <= most:
        return n * (most // n)
    return max(k for k in range(1, n + 1) if n % k == 0 and k <= most)


def adaptive(m: int) -> TorchDiffEq:
    """The first reference: Dormand and Prince at rtol 1e-9, with output at `m` intervals' ends."""
    return TorchDiffEq("dopri5", m, rtol=1e-9, atol=1e-12, max_steps=max(500, 40_000 // m))


@torch.no_grad()
def path_by(problem: Problem, control: Control, solver: Solver, sample: Sample) -> Path:
    """The path of a solver whose output times are those of its own uniform grid.

    Raises:
        SolverError: If the solver breaks down.
        ValueError: If it does not keep the states in between.
    """
    cost, trajectory = evaluate(problem, control, solver, sample)
    grid = uniform_grid(problem, solver.n)
    return as_path(problem, grid, trajectory, cost)


def as_path(problem: Problem, grid: Grid, trajectory: Trajectory, cost: Tensor) -> Path:
    """A trajectory whose states are those at the nodes of a grid."""
    pieces = pieces_of(problem, grid, trajectory.all_states)
    running = trajectory.running_cost.reshape(-1)
    return Path(pieces, trajectory.states[-1], cost.reshape(-1), running, trajectory.evaluations)


@torch.no_grad()
def fine(
    problem: Problem, control: Control, sample: Sample, m: int, steps: int = FINE_STEPS
) -> Path:
    """The second reference: Kutta's 3/8 rule on a fine grid of unequal steps.

    It steps on the control's knots and on both sides of the problem's jumps. The steps in between
    differ in width, so that their nodes do not line up with anything periodic.

    Arguments:
        problem, control, sample: What to solve.
        m: The intervals at whose ends the states are wanted.
        steps: The least number of steps over the horizon; fewer if the states are large.
    """
    x = problem.embed(sample.x0)
    steps = max(m, min(steps, 30 * STATES_AT_ONCE // (4 * max(x.numel(), 1))))
    grid = uniform_grid(problem, m)
    grid = grid._replace(times=snapped(grid.times, control.knots))
    cuts = breaks(problem, control)
    method = RK38(1)
    states, cost = [x], x.new_zeros(())
    controls, evaluations = list[ControlValue](), 0
    at_once = max(1, min(STEPS_AT_ONCE, STATES_AT_ONCE // (8 * max(x.numel(), 1))))
    for part, ends in parts(grid, cuts, math.ceil(steps / m), at_once):
        taken = method.steps(part, control, x)
        us, xs, x, cost = method.advance(problem, taken, x, cost, sample.target)
        states += [xs[i] for i in ends]
        controls += [us[i] for i in (0, *(end + 1 for end in ends[:-1]))]
        evaluations += sum(len(step.stages) for step in taken)
    running = cost + x.new_zeros(problem.batch_shape(x))
    t = x.new_tensor(grid.times)
    trajectory = Trajectory(t, tuple(states), tuple(controls), running, evaluations)
    if len(problem.observations):
        times = observation_times(problem, sample.target, states[0])
        asked = evaluation_times(problem, times, states[0])
        assert asked is not None, "there are observations"
        trajectory = with_states_at(trajectory, asked, method.order, problem, control)
    return as_path(problem, grid, trajectory, objective(problem, trajectory, sample.target))


def parts(
    grid: Grid, cuts: Sequence[float], count: int, at_once: int
) -> Iterator[tuple[Grid, list[int]]]:
    """A finer grid, some steps at a time, and which of those steps end at a node of the coarse one.

    Arguments:
        grid: The coarse grid.
        cuts: Times that steps must end at.
        count: The least number of steps into which an interval is divided.
        at_once: About how many steps to take at a time.
    """
    times, ends = list[float](), list[int]()
    for k, (start, end) in enumerate(pairwise(grid.times)):
        is_crossed = k in grid.projections
        if times and (is_crossed or len(times) > at_once):
            yield Grid(times, {}), ends
            times, ends = [], []
        if is_crossed:
            yield Grid([start, end], {0: grid.projections[k]}), [0]
            continue
        times = [*(times or [start]), *unequal(start, end, cuts, count)[1:]]
        ends.append(len(times) - 2)
    if times:
        yield Grid(times, {}), ends


def breaks(problem: Problem, control: Control) -> list[float]:
    """The times that steps must end at: knots, and the two sides of the problem's jumps."""
    side = 1e-12 * (problem.t1 - problem.t0)
    jumps = [t + shift for t in problem.jumps for shift in (-side, side)]
    return sorted({*control.knots, *jumps})


def unequal(start: float, end: float, cuts: Sequence[float], count: int) -> list[float]:
    """`[start, end]` divided at the cuts into at least `count` steps of different widths."""
    ends = [start, *(t for t in cuts if start < t < end), end]
    times = [start]
    for a, b in pairwise(ends):
        pieces = max(1, math.ceil(count * (b - a) / (end - start) - 1e-9))
        # The golden ratio spreads the shifts evenly without ever repeating.
        shifts = [0.5 * ((i * 0.6180339887498949) % 1.0) - 0.25 for i in range(1, pieces)]
        times += [a + (b - a) * (i + s) / pieces for i, s in enumerate(shifts, start=1)]
        times.append(b)
    return times


@torch.no_grad()
def cost_scale(problem: Problem, control: Control, sample: Sample, path: Path) -> Tensor:
    r"""What a difference in cost is measured against, shape `(batch,)`; it does not vanish.

    $\int |l| dt + |\phi(x(t_1))|$ along the path: the larger of the sample's own and of the mean
    over the batch. It is at least 5% of the sum of two costs: that of staying where the path
    begins, and the largest terminal cost along the path. So an optimum of 0 is not off by 100%. If
    the end of a path is off by 5%, a quadratic terminal cost is off by 5% too.
    """
    batch = path.cost.shape
    own, still = path.running_cost.abs(), torch.zeros_like(path.cost)
    if problem.has_stage_cost:
        moving = torch.zeros_like(own)
        for piece in path.pieces:
            along, resting = stage_costs(problem, control, sample, piece)
            moving, still = moving + along.reshape(batch), still + resting.reshape(batch)
        own = torch.maximum(own, moving)
    last = path.pieces[-1]
    some = range(0, len(last.times), max(1, len(last.times) // 64))
    ends = [problem.terminal_cost(last.x[k].reshape(path.final.shape), sample.target) for k in some]
    own = own + problem.terminal_cost(path.final, sample.target).abs().reshape(batch)
    still = still + torch.stack(ends).abs().amax(0).reshape(batch)
    own, still = (torch.nan_to_num(v, nan=0.0, posinf=0.0) for v in (own, still))
    scale = torch.maximum(own, own.mean())
    return torch.maximum(scale, NEARLY_NOTHING * torch.maximum(still, still.mean())).clamp(
        min=1e-300
    )


def stage_costs(
    problem: Problem, control: Control, sample: Sample, piece: Arc
) -> tuple[Tensor, Tensor]:
    """`int |l| dt` along a piece of a path, and the same for a state held where it begins.

    Arguments:
        problem, control, sample: What was solved.
        piece: The control between two knots, `(t, x) -> u`.
    """
    batch = piece.shape[: len(piece.shape) - len(problem.state_shape)]
    moving = still = piece.x.new_zeros(batch)
    stride = max(1, (len(piece.times) - 1) // 64)
    at = sorted({*range(0, len(piece.times), stride), len(piece.times) - 1})
    times = [piece.times[k] for k in at]
    ends = [times[0], *((a + b) / 2 for a, b in pairwise(times)), times[-1]]
    widths = [b - a for a, b in pairwise(ends)]

    def cost(k: int, t: float, law: Law) -> Tensor:
        x = piece.x[k].reshape(piece.shape)
        return problem.stage_cost(x.new_tensor(t), x, law(x), sample.target).abs().expand(batch)

    for k, t, law, width in zip(at, times, control.laws(times), widths, strict=True):
        moving, still = moving + width * cost(k, t, law), still + width * cost(0, t, law)
    return moving, still
