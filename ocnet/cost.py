"""Cost objects: stage and terminal costs that add and scale."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn, Tensor

from ._arguments import check_count, check_function, check_tensor
from .types import Cost, State, Time


__all__ = [
    "ControlEnergy",
    "CostTerm",
    "Loss",
    "Node",
    "ObservedStageCost",
    "PredictionLoss",
    "Quadratic",
    "ReadOut",
    "StageCost",
    "TerminalCost",
    "TerminalLoss",
    "TerminalQuadratic",
]


Loss = Callable[[Tensor, Tensor | None], Tensor]
"""A loss per sample: `(prediction, target) -> (*batch,)`."""


class CostTerm(nn.Module, abc.ABC):
    """A cost that adds to others of its kind and scales: `0.02 * a + b`."""

    def __add__(self, other: "CostTerm") -> "CostTerm":
        return weighted_sum([*terms(self), *terms(other)])

    def __mul__(self, factor: float) -> "CostTerm":
        if not isinstance(factor, (int, float, Tensor)):
            raise TypeError(f"A cost scales with a number, but got {type(factor).__name__}.")
        return weighted_sum([(factor * weight, term) for weight, term in terms(self)])

    __rmul__ = __mul__


class StageCost(CostTerm):
    """A running cost `l(t, x, u)` per unit of time."""

    @abc.abstractmethod
    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        """The cost, shape `(*batch,)` or one that broadcasts to it.

        Arguments:
            t: The time, without dimensions, in double precision.
            x: The states, shape `(*batch, *state_shape)`.
            u: The control values, shape `(*batch, *control_shape)`, or a module (a layer).
            target: What the states are compared with, shape `(*batch, ...)`, or None.
        """


class Node(NamedTuple):
    """One node of the quadrature of the running cost, `weight * l(t, x, u)`.

    Attributes:
        k: The index of the step, or of the control's interval; None if it is not known.
        weight: The step's width times the method's weight.
        time: The time as a Python float, which can be read without waiting for the device.
        t: The same time as a tensor.
        x: The state.
        u: The control value.
        y: What the cost observed of this state, if it is an `ObservedStageCost`.
    """

    k: int | None
    weight: float
    time: float
    t: Time
    x: State
    u: Any
    y: Any = None


class ObservedStageCost(StageCost):
    """A stage cost that looks at each state early, and is cheaper for many states at once.

    An example is the loss of a prediction that is read out of the states of a network. A solver
    calls `observe` as soon as it has the state, which the processor's cache still holds. In the
    backward pass, the gradient through what was observed is then computed together with that of the
    next state, so that few such gradients are in memory at a time.

    Attributes:
        steps_at_once: The number of steps whose nodes `total` takes at once; None for about
            `sqrt(n)`. With `Checkpoint()` it is always about `sqrt(n)`, with `Reversible` always 1.
    """

    steps_at_once: int | None = None

    @abc.abstractmethod
    def observe(self, node: Node, target: Tensor | None) -> Any:
        """What `total` will need to know about a node, as its `y`; it should be small.

        Arguments:
            node: The node, without its `y`.
            target: What the stage cost compares with, or None.
        """

    @abc.abstractmethod
    def total(self, nodes: Sequence[Node], target: Tensor | None) -> Cost:
        """`sum_i w_i l(t_i, x_i, u_i)` over some nodes of a path, shape `(*batch,)`."""

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        return self.rate(None, t, x, u, target)

    def rate(self, k: int | None, t: Time, x: State, u: Any, target: Tensor | None) -> Cost:
        """`l(t, x, u)` in the `k`-th step, shape `(*batch,)`.

        Arguments:
            k: The index of the step, or of the control's interval; None if it is not known.
            t, x, u: Where it is asked for.
            target: What it compares with, or None.
        """
        node = Node(k, 1.0, float(t.detach()), t, x, u)
        return self.total([node._replace(y=self.observe(node, target))], target)


class TerminalCost(CostTerm):
    """A cost `phi(x)` of the final state."""

    @abc.abstractmethod
    def forward(self, x: State, target: Tensor | None = None) -> Cost:
        """The cost, shape `(*batch,)`."""


def terms(cost: CostTerm) -> list[tuple[float | Tensor, CostTerm]]:
    """The weights and plain terms that a cost is the sum of."""
    if not isinstance(cost, CostTerm):
        raise TypeError(f"Only costs add to a cost, but got {type(cost).__name__}.")
    if isinstance(cost, (StageSum, TerminalSum)):
        return list(zip(cost.weights, cost.costs, strict=True))  # pyright: ignore[reportReturnType]
    return [(1.0, cost)]


def weighted_sum(weighted: list[tuple[float | Tensor, CostTerm]]) -> CostTerm:
    """The sum of weighted costs, all of the stage or all of the final state."""
    weights, costs = zip(*weighted, strict=True)
    for kind, total in ((StageCost, StageSum), (TerminalCost, TerminalSum)):
        if all(isinstance(cost, kind) for cost in costs):
            return total(weights, costs)
    names = ", ".join(type(cost).__name__ for cost in costs)
    raise TypeError(f"Stage costs and terminal costs do not add, but got {names}.")


class StageSum(StageCost):
    """A weighted sum of stage costs."""

    def __init__(self, weights: tuple[float | Tensor, ...], costs: tuple[StageCost, ...]):
        super().__init__()
        self.weights = weights
        self.costs: nn.ModuleList = nn.ModuleList(costs)

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        parts = zip(self.weights, self.costs, strict=True)
        return sum(weight * cost(t, x, u, target) for weight, cost in parts)  # pyright: ignore


class TerminalSum(TerminalCost):
    """A weighted sum of terminal costs."""

    def __init__(self, weights: tuple[float | Tensor, ...], costs: tuple[TerminalCost, ...]):
        super().__init__()
        self.weights = weights
        self.costs: nn.ModuleList = nn.ModuleList(costs)

    def forward(self, x: State, target: Tensor | None = None) -> Cost:
        parts = zip(self.weights, self.costs, strict=True)
        return sum(weight * cost(x, target) for weight, cost in parts)  # pyright: ignore


class Quadratic(StageCost):
    """`(x - x_ref)' Q (x - x_ref) / 2 + u' R u / 2` for vector states and controls.

    Arguments:
        Q: The weight of the state, shape `(n, n)`, positive semidefinite.
        R: The weight of the control, shape `(m, m)`, positive definite.
        x_ref: The state to stay at, shape `(n,)`; the origin by default.
    """

    Q: Tensor
    R: Tensor
    x_ref: Tensor

    def __init__(self, Q: Tensor, R: Tensor, x_ref: Tensor | None = None):
        super().__init__()
        for name, weight in (("Q", Q), ("R", R)):
            check_square(name, weight)
        check_reference(x_ref, Q)
        self.register_buffer("Q", Q)
        self.register_buffer("R", R)
        self.register_buffer("x_ref", Q.new_zeros(Q.shape[0]) if x_ref is None else x_ref)

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        return quadratic_form(self.Q, x - self.x_ref) / 2 + quadratic_form(self.R, u) / 2


class TerminalQuadratic(TerminalCost):
    """`(x - x_ref)' Q (x - x_ref) / 2` for vector states.

    Arguments:
        Q: The weight, shape `(n, n)`, positive semidefinite.
        x_ref: The state to end at, shape `(n,)`; the origin by default.
    """

    Q: Tensor
    x_ref: Tensor

    def __init__(self, Q: Tensor, x_ref: Tensor | None = None):
        super().__init__()
        check_square("Q", Q)
        check_reference(x_ref, Q)
        self.register_buffer("Q", Q)
        self.register_buffer("x_ref", Q.new_zeros(Q.shape[0]) if x_ref is None else x_ref)

    def forward(self, x: State, target: Tensor | None = None) -> Cost:
        return quadratic_form(self.Q, x - self.x_ref) / 2


class ControlEnergy(StageCost):
    """`|u|^2 / 2`: weight decay, if the control is the weights of a network.

    Arguments:
        ndim: The rank of a control value without its batch dimensions. If the value is a
            layer, all its parameters count.
    """

    def __init__(self, ndim: int = 1):
        super().__init__()
        check_count("ndim", ndim, least=0)
        self.ndim = ndim

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        if isinstance(u, nn.Module):
            squares = [p.square().sum() for p in u.parameters()]
            total = sum(squares[1:], start=squares[0]) if squares else x.new_zeros(())
            # If several processes share the parameters, each has summed over its own part.
            return (total.full_tensor() if hasattr(total, "full_tensor") else total) / 2  # pyright: ignore
        return u.square().flatten(u.dim() - self.ndim).sum(-1) / 2


class ReadOut(CostTerm):
    """`loss(readout(x), target)`, the loss of what is read out of a state.

    Arguments:
        readout: The map from a state to a prediction, such as the head of a classifier.
        loss: The loss per sample, `(prediction, target) -> (*batch,)`.
    """

    def __init__(self, readout: Callable[[Tensor], Tensor], loss: Loss):
        super().__init__()
        check_function("readout", readout)
        check_function("loss", loss)
        self.readout = readout
        self.loss = loss


class PredictionLoss(ReadOut, StageCost):
    """The loss of a state read out before the end, `loss(readout(x), target)`.

    Arguments:
        readout: The map from states, shape `(*batch, *state_shape)`, to predictions.
        loss: The loss per sample, `(prediction, target) -> (*batch,)`.
    """

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        return self.loss(self.readout(x), target)


class TerminalLoss(ReadOut, TerminalCost):
    """The loss of the final state, read out: `loss(readout(x), target)`.

    Arguments:
        readout: The map from states, shape `(*batch, *state_shape)`, to predictions.
        loss: The loss per sample, `(prediction, target) -> (*batch,)`.
    """

    def forward(self, x: State, target: Tensor | None = None) -> Cost:
        return self.loss(self.readout(x), target)


def quadratic_form(weight: Tensor, z: Tensor) -> Tensor:
    """`z' W z` along the last axis."""
    return ((z @ weight.mT) * z).sum(-1)


def check_square(name: str, weight: Tensor) -> None:
    """Raises a TypeError or ValueError unless `weight` is a square matrix."""
    check_tensor(name, weight)
    if weight.dim() != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"{name} must be a square matrix, but got shape {tuple(weight.shape)}.")


def check_reference(x_ref: Tensor | None, Q: Tensor) -> None:
    """Raises a TypeError or ValueError unless a reference is a state of a weight, or None."""
    if x_ref is None:
        return
    check_tensor("x_ref", x_ref)
    if x_ref.shape != Q.shape[:1]:
        raise ValueError(
            f"x_ref must have shape {tuple(Q.shape[:1])}, as Q has {tuple(Q.shape)}, but got "
            f"{tuple(x_ref.shape)}."
        )
