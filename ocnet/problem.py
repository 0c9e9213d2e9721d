"""Optimal control problems in Bolza form."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn, Tensor

from ._arguments import as_number, check_kind, check_range
from .control import Control, PiecewiseConstant
from .types import Cost, State, Time


__all__ = ["Batch", "Node", "Problem", "Projection", "Sample", "SolvedProblem", "Split"]


Split = Literal["train", "validation", "test"]


class Sample(NamedTuple):
    """A batch of inputs, and the targets that the costs compare with.

    Attributes:
        x0: The inputs, shape `(batch, ...)`; the initial states unless the problem embeds them.
        target: The targets, shape `(batch, ...)`, or None.
    """

    x0: Tensor
    target: Tensor | None = None


class Node(NamedTuple):
    """One node of the quadrature of the running cost, `weight * l(t, x, u)`.

    Attributes:
        weight: The step's width times the method's weight.
        time: The time as a Python float, which can be read without waiting for the device.
        t: The same time as a tensor.
        x: The state.
        u: The control value.
        y: What `Problem.observe` took of all that.
    """

    weight: float
    time: float
    t: Time
    x: State
    u: Any
    y: Any = None


class Batch(NamedTuple):
    """A problem from many initial states, each with parameters of its own: what `solve` takes.

    Attributes:
        problem: The problem.
        x0: The initial states, shape `(*batch, *state_shape)`.
        target: What the costs compare with, shape `(*batch, ...)`, or None.
        parameters: Values that replace the problem's parameters or buffers of that name, of
            their own shape or `(*batch, *shape)`.
    """

    problem: "Problem"
    x0: State
    target: Tensor | None
    parameters: dict[str, Tensor]


class Projection(nn.Module):
    """A projection map `S`: it takes the state from one space to the next between two times.

    Every solver crosses `[start, end]` in one step, `x(end) = S(x(start)) + (end - start) f`, with
    `f = dynamics(start, x(start), u(start))` already a vector of the new space. On a residual
    network this is the layer where the stage changes.

    Arguments:
        start: The time at which the layer reads the old state.
        end: The time at which the new state is reached.
        map: The projection, a module `(*batch, *old_shape) -> (*batch, *new_shape)`.

    Raises:
        ValueError: Unless `start < end`.
    """

    def __init__(self, start: float, end: float, map: nn.Module):
        super().__init__()
        start, end = as_number("start", start), as_number("end", end)
        if not -math.inf < start < end < math.inf:
            raise ValueError(f"Must have start < end, but got {start=} and {end=}.")
        check_kind("map", map, nn.Module)
        self.start = start
        self.end = end
        self.map = map

    def forward(self, x: State) -> State:
        """The projected state `S(x)`."""
        return self.map(x)


class Problem(nn.Module, abc.ABC):
    r"""A continuous-time optimal control problem in Bolza form,

    $$ \min_u \; \mathbb{E} \Big[ \int_{t_0}^{t_1} l(t, x, u) \, dt + \phi(x(t_1)) \Big]
       \quad \text{s.t.} \quad \dot{x} = f(t, x, u), \; x(t_0) = x_0. $$

    A problem knows nothing of grids, networks or optimisers. Write `dynamics` and `sample`, and
    one or both of `stage_cost` and `terminal_cost` (what is not written is zero). A cost may be a
    method, or a cost object assigned in the constructor: `self.stage_cost = 0.5 * Quadratic(...)`.

    Every method accepts leading batch dimensions of `x`, and a `u` whose batch dimensions
    broadcast with those of `x`.

    Attributes:
        t0, t1: The horizon: numbers, or tensors that hold one and may require a gradient.
        state_shape: The shape of one state at `t0`.
        control_shape: The shape of one control value; None if a control value is a layer.
        projections: The layers where the state space changes, in order of time.
        jumps: Times at which `dynamics` or `stage_cost` jumps or has a kink by itself, such as the
            two ends of a pulse. Adaptive solvers and the certificate's references step on them:
            what is narrower than their steps cannot be found otherwise.
        control_bounds: Lower and upper bounds of `u`, or None.
        control_angles: Which components of `u`, flattened, are angles in radians: pictures show
            them without jumps by whole turns, which mean nothing.
        final_time_bounds: Lower and upper bound of a final time that is free, with `t1` the guess
            to start from; None if it is fixed.
        static_parameters: The names of the problem's own parameters that are optimised beside
            the control, with the lower and upper bounds of each.
        n_steps: How many steps to discretise with, unless the user says otherwise.
        steps_at_once: Of how many steps `running_cost` gets the nodes at a time; None for about
            `sqrt(n)`. It is always that with `gradient="checkpoint"`, and 1 with "reversible".
    """

    t0: float = 0.0
    t1: float = 1.0
    state_shape: tuple[int, ...]
    control_shape: tuple[int, ...] | None = None
    projections: Sequence[Projection] = ()
    jumps: Sequence[float] = ()
    n_steps: int = 100
    steps_at_once: int | None = None
    control_bounds: tuple[float | Tensor, float | Tensor] | None = None
    control_angles: tuple[int, ...] = ()
    final_time_bounds: tuple[float, float] | None = None
    static_parameters: Mapping[str, tuple[float, float]] = {}

    @abc.abstractmethod
    def dynamics(self, t: Time, x: State, u: Any) -> State:
        """The vector field `f(t, x, u)`, shape `(*batch, *state_shape)`."""

    def stage_cost(self, t: Time, x: State, u: Any, target: Tensor | None) -> Cost:
        """The running cost `l(t, x, u)` per unit of time, shape `(*batch,)`; zero by default."""
        return x.new_zeros(self.batch_shape(x))

    def running_cost(self, nodes: Sequence[Node], target: Tensor | None) -> Cost:
        """`sum_i w_i l(t_i, x_i, u_i)` over some of a solution's nodes, shape `(*batch,)`.

        A Runge-Kutta solver asks for the nodes of `steps_at_once` steps at a time. Override it,
        beside `stage_cost`, where the costs of many states at once are cheaper than one by one.
        """
        total = nodes[0].x.new_zeros(())
        for weight, _, t, x, u, _ in nodes:
            total = total.add(self.stage_cost(t, x, u, target), alpha=weight)
        return total

    def observe(self, node: Node, target: Tensor | None) -> Any:
        """What `running_cost` will want of a node, as its `y`; None by default.

        A Runge-Kutta solver asks as soon as it has the state, which the processor's cache still
        holds. In the backward pass the gradient through `y` is then computed when that of the next
        state is, so that few such gradients are in memory at a time.

        Arguments:
            node: The node, without its `y`.
            target: What the stage cost compares with, or None.
        """
        return None

    def terminal_cost(self, x: State, target: Tensor | None) -> Cost:
        """The terminal cost `phi(x(t1))`, shape `(*batch,)`; zero by default."""
        return x.new_zeros(self.batch_shape(x))

    def path_constraint(self, t: Time, x: State, u: Any) -> Tensor:
        """What must be `<= 0` along the path, shape `(*batch, rows)`; no rows by default.

        `solve` imposes it at the start of each step, with that step's control, and at the final
        time with the last step's control (but for rows that read neither state nor time, which
        that control has satisfied already). Rows that no decision can influence are left out:
        those of the given initial state, or with Euler steps those of a position whose
        acceleration is controlled at the second node too. Where the initial state violates them,
        the solution's `violation` and `reason` tell so, but that does not stop `solve`.
        """
        return x.new_zeros(*self.batch_shape(x), 0)

    def terminal_constraint(self, x: State, target: Tensor | None) -> Tensor:
        """What must be `= 0` at the final state, shape `(*batch, rows)`; no rows by default."""
        return x.new_zeros(*self.batch_shape(x), 0)

    def terminal_inequality(self, x: State, target: Tensor | None) -> Tensor:
        """What must be `<= 0` at the final state, shape `(*batch, rows)`; no rows by default."""
        return x.new_zeros(*self.batch_shape(x), 0)

    @abc.abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        """Draws `batch_size` inputs (and targets)."""

    def data(self, split: Split) -> Sample | None:
        """All samples of a finite data set's split; None if `sample` draws from a distribution.

        Training goes through "train" in shuffled epochs, chooses on "validation" and reports
        "test" once.
        """
        return None

    def check(self, sample: Sample) -> None:
        """Raises a ValueError if samples are not what the problem takes; anything goes by default.

        Training calls it once for a data set, before that goes to an accelerator.
        """

    def parameter_groups(
        self, control: Control, lr: float, weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        """What an optimiser trains, as `torch.optim` takes it: one group unless overridden.

        Arguments:
            control: The control.
            lr: The learning rate.
            weight_decay: The weight decay.

        Raises:
            ValueError: Unless the rate is positive and the decay is not negative.
        """
        check_rates(lr, weight_decay)
        parameters = [*control.parameters(), *self.parameters()]
        return [{"params": parameters, "lr": lr, "weight_decay": weight_decay}]

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        """A training batch made harder at random, on its device; unchanged by default."""
        return sample

    def score(self, x: State, target: Tensor | None) -> dict[str, Cost]:
        """Further measures of the final state, each `(*batch,)`, such as the accuracy."""
        return {}

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        """A control to start training from, one interval for each of `n` steps; zero by default.

        Raises:
            TypeError: If the control values are layers: the problem must then override this.
        """
        if self.control_shape is None:
            raise TypeError(f"{type(self).__name__} takes layers: it must write initial_control.")
        return PiecewiseConstant(self.t0, self.t1, n, self.control_shape)

    def initial_states(self, t: Tensor, x0: State) -> Tensor | None:
        """A guess of the states at times `t`, shape `(time, *batch, *state_shape)`.

        None, the default, means those that the initial control leads to.
        """
        return None

    def batch(self, x0: State, target: Tensor | None = None, **parameters: Tensor) -> Batch:
        """This problem from each of the states `x0`: thousands at once in one call of `solve`."""
        return Batch(self, x0, target, parameters)

    def embed(self, x0: Tensor) -> Tensor:
        """The initial state `x(t0)` of an input; the input itself by default."""
        return x0

    @property
    def has_stage_cost(self) -> bool:
        """Whether the problem has a stage cost of its own: solvers need not sum up zeros."""
        return "stage_cost" in self.__dict__ or type(self).stage_cost is not Problem.stage_cost

    @property
    def constraints(self) -> list[str]:
        """The names of the constraints that the problem has; training keeps none of them."""
        methods = ("path_constraint", "terminal_constraint", "terminal_inequality")
        found = [
            n
            for n in methods
            if n in self.__dict__ or getattr(type(self), n) is not getattr(Problem, n)
        ]
        values = ("control_bounds", "final_time_bounds")
        found += [n for n in values if getattr(self, n) is not None]
        bounded = any(math.isfinite(b) for pair in self.static_parameters.values() for b in pair)
        return [*found, "static_parameters"] if bounded else found

    def batch_shape(self, x: State) -> torch.Size:
        """The batch dimensions of a state (its rank is the same in every stage)."""
        return x.shape[: x.dim() - len(self.state_shape)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "projections":
            value = nn.ModuleList(value)
        if name in ("t0", "t1") and isinstance(value, nn.Parameter):
            # The defaults below make PyTorch take the name for one that is taken.
            self._parameters[name] = value
            object.__setattr__(self, name, value)
            return
        super().__setattr__(name, value)
        # A module that is assigned lies in `_modules`, where Python looks only after the class:
        # the defaults above would hide it.
        if name in ("stage_cost", "terminal_cost", "projections") and isinstance(value, nn.Module):
            object.__setattr__(self, name, value)


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


def check_rates(lr: float, weight_decay: float) -> None:
    """Raises a ValueError unless the rate is positive and the weight decay not negative."""
    check_range("lr", lr, "0 <", "< inf")
    check_range("weight_decay", weight_decay, "0 <=", "< inf")


def check_state(problem: Any, x0: Any) -> None:
    """Raises a TypeError or ValueError that names what is wrong with a problem or its state."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an ocnet.Problem, but got {type(problem).__name__}.")
    t0, t1 = as_number("t0", problem.t0), as_number("t1", problem.t1)
    if not -math.inf < t0 < t1 < math.inf:
        raise ValueError(f"Must have t0 < t1, but got {t0=} and {t1=}.")
    if not hasattr(problem, "state_shape"):
        raise TypeError(f"{type(problem).__name__} must set state_shape, a tuple of integers.")
    check_shape("state_shape", problem.state_shape)
    if problem.control_shape is not None:
        check_shape("control_shape", problem.control_shape)
    if not isinstance(x0, Tensor) or not x0.is_floating_point():
        got = x0.dtype if isinstance(x0, Tensor) else type(x0).__name__
        raise TypeError(f"x0 must be a tensor of floating point numbers, but got {got}.")
    shape = tuple(problem.state_shape)
    if tuple(x0.shape[x0.dim() - len(shape) :]) != shape:
        raise ValueError(
            f"x0 must have shape (*batch, {', '.join(map(str, shape))}), but got {tuple(x0.shape)}."
        )
    end = problem.t0
    for projection in problem.projections:
        check_kind("Each of projections", projection, Projection)
        if projection.start < end or projection.end > problem.t1:
            raise ValueError(
                "projections must lie one after the other between t0 and t1, but got one on "
                f"[{projection.start}, {projection.end}]."
            )
        end = projection.end


def check_shape(name: str, shape: Any) -> None:
    """Raises a TypeError or ValueError unless a shape is a tuple of positive integers."""
    if not isinstance(shape, (tuple, list)) or not all(isinstance(size, int) for size in shape):
        raise TypeError(f"{name} must be a tuple of integers such as (2,), but got {shape!r}.")
    if not all(size > 0 for size in shape):
        raise ValueError(f"{name} must have sizes of at least 1, but got {tuple(shape)}.")


def check_not_empty(sample: Sample) -> None:
    """Raises a ValueError if a batch has no samples."""
    if sample.x0.numel() == 0:
        raise ValueError(
            f"x0 must hold at least one sample, but has shape {tuple(sample.x0.shape)}."
        )
