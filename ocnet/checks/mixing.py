"""Functions that mix the samples or the times of a batch: evaluated together and apart."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from ..control import Control, OpenLoop
from ..modes import mode
from ..problem import Problem, Sample
from .calls import called
from .chance import Draws, draws, elsewhere
from .finding import Finding, FUNCTIONS, place, Point, ProblemError, written


TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""How far values together and apart may differ, relative to the largest (half precision: 0.1)."""

ANOTHER_EACH_TIME = "gives another value each time; solve needs the same value for the same input."

ADVICE = "reduce over the last dimensions only, such as x.norm(dim=-1) or x.sum(-1)"


def wave(like: Tensor) -> Tensor:
    """Numbers between -1 and 1 without a pattern that a formula could share."""
    index = torch.arange(1, like.numel() + 1, device=like.device, dtype=torch.float64)
    return (index * 0.7310585).cos().to(like.dtype).reshape(like.shape)


def generic(value: Tensor, size: int, spread: float) -> Tensor:
    """`size` different points near the rows of a batch; rows of integers as they are."""
    rows = value.detach()[torch.arange(size, device=value.device) % len(value)]
    if not rows.is_floating_point():
        return rows
    return rows + spread * (1 + rows.abs()) * wave(rows)


def mixing_for_solve(
    problem: Problem, x0: Tensor, target: Tensor | None, t: float
) -> list[Finding]:
    """Checks what `solve` asks: any batch dimensions, each sample by itself, nothing random.

    Arguments:
        problem: A problem whose control is a tensor.
        x0: Initial states, shape `(batch, *state_shape)`.
        target: Their targets, shape `(batch, ...)`, or None.
        t: The time at which they are evaluated.

    Raises:
        ProblemError: If a function fails, or returns something that cannot be right.
    """
    # Losses take one batch dimension; other functions get two, one for steps and one for instances.
    # Their sizes differ from those of state and control, so that `x.shape[0]` cannot look right.
    taken = (*problem.state_shape, *(problem.control_shape or ()))
    lead = tuple([n for n in (2, 3, 5, 7, *range(11, 20)) if n not in taken][:2])
    lead = (math.prod(lead),) if target is not None else lead
    size = math.prod(lead)
    u0 = x0.new_zeros(len(x0), *(problem.control_shape or ()))
    targets = None if target is None else generic(target, size, 0.0)

    time = x0.new_tensor(t)

    def near(spread: float) -> Point:
        return Point(time, generic(x0, size, spread), generic(u0, size, spread), targets)

    found, apart = [], near(0.3)
    before = elsewhere()
    with quiet(x0), torch.enable_grad():
        for name in written(problem):
            function = lambda at, name=name: called(problem, name, tracked(at))
            try:
                found += differing(problem, name, function, apart, lead, ())
            except ProblemError:
                # Far from the initial state there may be no value, closer to it there must be.
                found += differing(problem, name, function, near(1e-3), lead, ())
        if elsewhere() != before:
            found += [
                Finding(name, place(problem, name), ANOTHER_EACH_TIME)
                for name in written(problem)
                if draws(lambda name=name: called(problem, name, tracked(shaped(apart, lead))))
            ]
    return found


def tracked(at: Point) -> Point:
    """The point with a graph, and writable, as the solver hands it over."""
    x, u = (value.detach().requires_grad_().mul(1) for value in (at.x, at.u))
    return Point(at.t, x, u, at.target)


def mixing_in_training(problem: Problem, control: Control, sample: Sample) -> list[Finding]:
    """The functions that mix samples while problem and control are in evaluation mode.

    Batch norm mixes by design while it trains. Functions that fail are left out, because the
    training itself will say so.

    Arguments:
        problem, control: What is to be trained or compared.
        sample: A batch of it.
    """
    x0, target = sample
    if x0.dim() == len(problem.state_shape) and type(problem).embed is Problem.embed:
        return []
    targets = None if target is None else generic(target, 2, 0.0)
    found: list[Finding] = []

    def look(name: str, function: Callable[[Point], Tensor], at: Point) -> None:
        # Whatever a user's function raises, the first step raises too, where it belongs.
        with suppress(Exception):
            found.extend(differing(problem, name, function, at, (2,), (1,), chance=True))

    with mode(False, problem, control), quiet(x0), torch.no_grad(), suppress(Exception):
        inputs = generic(x0, 2, 0.3)
        look("embed", lambda at: problem.embed(at.x), Point(inputs, inputs, None, targets))
        for names, at in stages(problem, control, problem.embed(inputs), targets):
            if not isinstance(control, OpenLoop) and isinstance(at.u, Tensor):
                look("control", lambda at: control(float(at.t), at.x), at)
            for name in names:
                look(name, lambda at, name=name: FUNCTIONS[name](problem, unwrapped(at)), at)
    return found


def stages(
    problem: Problem, control: Control, x: Tensor, target: Tensor | None
) -> Iterator[tuple[list[str], Point]]:
    """Functions and the points at which to look at them, one state space after the other."""
    along = [name for name in written(problem) if not name.startswith("terminal")]
    ends = [float(p.start) for p in problem.projections] + [float(problem.t1)]
    start = float(problem.t0)
    for end, projection in zip(ends, [*problem.projections, None], strict=True):
        for time in times(problem, control, start, end):
            u = for_samples(control(time, x), problem.control_shape, len(x))
            yield along, Point(x.new_tensor(time), x, u, target)
        if projection is not None:
            x, start = projection(x), float(projection.end)
    yield (
        [n for n in written(problem) if n.startswith("terminal")],
        Point(x.new_tensor(float(problem.t1)), x, None, target),
    )


def for_samples(u: Any, shape: tuple[int, ...] | None, size: int) -> Any:
    """A control value with a row for each of `size` samples, or wrapped if they share it.

    A function may reduce over all of a control that the samples share.
    """
    if shape is None or not isinstance(u, Tensor):
        return u
    return (u,) if u.dim() == len(shape) else generic(u, size, 0.0)


def unwrapped(at: Point) -> Point:
    """The point with the control itself."""
    return at._replace(u=at.u[0]) if isinstance(at.u, tuple) else at


def times(problem: Problem, control: Control, start: float, end: float) -> list[float]:
    """A few times in `[start, end)`; for a control of layers, one time for each kind of layer."""
    if start == end:
        return []
    if problem.control_shape is not None:
        return [start, start + 0.37 * (end - start)]
    inside = [knot for knot in control.knots if start <= knot < end]
    picked = inside[:: -(-len(inside) // 64) or 1]
    return list({repr(control(knot)): knot for knot in picked}.values())


def differing(
    problem: Problem,
    name: str,
    function: Callable[[Point], Tensor],
    at: Point,
    lead: tuple[int, ...],
    single: tuple[int, ...],
    chance: bool = False,
) -> list[Finding]:
    """A finding if a function gives points other values together than one by one.

    Arguments:
        problem, name, function: The problem, the name of its function, and the function itself.
        at: The points, with one batch dimension.
        lead: The batch dimensions of all points together.
        single: Those of one point.
        chance: Whether the function may be random, as dropout is.
    """
    size = math.prod(lead)
    with Draws() as watched:
        together = function(shaped(at, lead))
    if watched.seen:
        return [] if chance else [Finding(name, place(problem, name), ANOTHER_EACH_TIME)]
    if not isinstance(together, Tensor):
        return []
    together = together.expand(lead) if together.dim() < len(lead) else together
    # One point is neither first nor last (of more than two): some functions mix only the others.
    # A second one is needed because a median or a largest value may be that of the first.
    values = together.detach().reshape(size, -1)
    if all(alone(function, at, lead, single, i, values[i]) for i in (size // 2, 0)):
        return []
    if draws(lambda: function(shaped(at, lead))):
        return [] if chance else [Finding(name, place(problem, name), ANOTHER_EACH_TIME)]
    message = f"mixes the samples of a batch: one gives another value alone; {ADVICE}."
    return [Finding(name, place(problem, name), message)]


def alone(
    function: Callable[[Point], Tensor],
    at: Point,
    lead: tuple[int, ...],
    single: tuple[int, ...],
    i: int,
    value: Tensor,
) -> bool:
    """Whether a function gives a point the same value by itself as among others.

    Arguments:
        function: What is looked at: `(t, x, u) -> value`.
        at: The points.
        lead: The batch dimensions of all points together.
        single: Those of one point.
        i: Which point.
        value: The value among others, a vector.
    """
    try:
        part = function(shaped(row(at, i), single))
    except ProblemError:
        # A function that fails without batch dimensions may mix with them; that finding says more.
        part = function(shaped(row(at, i), (1,) * len(lead)))
        if alike(value, part.detach().reshape(-1)):
            raise
    return alike(value, part.detach().reshape(-1))


def alike(value: Tensor, part: Tensor) -> bool:
    """Whether two vectors agree up to rounding, relative to the largest entry."""
    part = part.expand(value.shape) if part.numel() == 1 else part
    if part.shape != value.shape:
        return False
    if part.numel() == 0:
        return True
    tolerance = TOLERANCE.get(value.dtype, 0.1)
    gap, size = (value - part).abs().amax().item(), part.abs().amax().item()
    if math.isfinite(gap) and math.isfinite(size):
        return gap <= tolerance * size
    return torch.allclose(value, part, rtol=tolerance, atol=0.0, equal_nan=True)


def row(at: Point, i: int) -> Point:
    """One of several points."""
    take = lambda value: value[i : i + 1] if isinstance(value, Tensor) else value
    return Point(at.t, at.x[i : i + 1], take(at.u), take(at.target))


def shaped(at: Point, lead: tuple[int, ...]) -> Point:
    """Points whose one batch dimension becomes several."""
    apart = lambda value: (
        value.reshape((*lead, *value.shape[1:])) if isinstance(value, Tensor) else value
    )
    return Point(at.t, apart(at.x), apart(at.u), apart(at.target))


@contextmanager
def quiet(like: Tensor) -> Iterator[None]:
    """Leaves the random state as it was, on the device of a tensor too."""
    devices = [like.device] if like.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
