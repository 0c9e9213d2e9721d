"""Cost objects: stage and terminal costs that add and scale."""

import abc
from collections.abc import Callable
from typing import Any

from torch import nn, Tensor

from ._arguments import check_count, check_function, check_tensor
from .types import Cost, State, Time


__all__ = [
    "ControlEnergy",
    "CostTerm",
    "Loss",
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
        """The cost, shape `(*batch,)` or one that broadcasts to it."""


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
        ndim: The rank of a control value without its batch dimensions. Of a layer, all
            parameters count.
    """

    def __init__(self, ndim: int = 1):
        super().__init__()
        check_count("ndim", ndim, least=0)
        self.ndim = ndim

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        if isinstance(u, nn.Module):
            squares = [p.square().sum() for p in u.parameters()]
            total = sum(squares[1:], start=squares[0]) if squares else x.new_zeros(())
            # Of parameters that several processes share each has summed over its own part.
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
    """The loss of the state, read out before it has reached the end. Arguments: as of `ReadOut`."""

    def forward(self, t: Time, x: State, u: Any, target: Tensor | None = None) -> Cost:
        return self.loss(self.readout(x), target)


class TerminalLoss(ReadOut, TerminalCost):
    """The loss of the final state, read out. Arguments: as of `ReadOut`."""

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
