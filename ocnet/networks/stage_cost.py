"""The stage cost of a residual network: the losses of what is read out of its states."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from ..control.base import constants
from ..cost import Node, ObservedStageCost
from ..types import Cost
from .loss import check_cheaply
from .readouts import Backbone, ReadOuts


SLACK = 1e-12
"""How far times may be off, relative to the horizon: torchdiffeq moves some by one rounding."""


class Outputs(Protocol):
    """What the cost needs from its network."""

    depth: int
    readouts: ReadOuts

    @property
    def gamma(self) -> tuple[float, ...]:
        """The weights `gamma_k`, `k < N`."""
        ...

    @property
    def backbone(self) -> Backbone:
        """The skips and the head that read out the network's final state."""
        ...

    @property
    def n_classes(self) -> int:
        """How many logits the head gives."""
        ...

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """The losses of the logits of several states, shape `(state, batch)`."""
        ...


class OutputLoss(ObservedStageCost):
    r"""`gamma_k L(y^_k, y)` at the states `x_k`, with `y^_k` what is read out of `x_k`.

    Without a target it is zero: that is prediction.

    Arguments:
        network: The network, whose `gamma`, `loss` and read-outs are looked up at each call.
    """

    network: Outputs

    def __init__(self, network: Outputs):
        super().__init__()
        # Not a submodule: this cost is itself a part of the network.
        object.__setattr__(self, "network", network)

    @property
    def steps_at_once(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What is observed of a state is small, so it can wait for one evaluation of all losses."""
        return max(self.network.depth, 1)

    def observe(self, node: Node, target: Tensor | None) -> Any:
        network = self.network
        if target is None or not any(network.gamma):
            return None
        return network.readouts.observe(network.backbone, self.layer(node), node.x)

    def total(self, nodes: Sequence[Node], target: Tensor | None) -> Cost:
        network, x = self.network, nodes[0].x
        if target is None or not any(network.gamma):
            return x.new_zeros(x.shape[0])
        check_cheaply(target, network.n_classes)
        ks = [self.layer(node) for node in nodes]
        if ks != list(range(ks[0], ks[0] + len(ks))):
            raise ValueError(f"The stage cost is of consecutive states, but got x_k for k={ks}.")
        weights = [node.weight * network.gamma[k] for node, k in zip(nodes, ks, strict=True)]
        logits = network.readouts.logits(network.backbone, ks, [node.y for node in nodes])
        losses = network.losses(logits, target)
        # Not a matrix product: half precision would round that.
        return (constants(weights, losses.dtype, losses.device)[:, None] * losses).sum(0)

    def layer(self, node: Node) -> int:
        """The index `k < N` of the state `x_k` at a node.

        Raises:
            ValueError: If the node lies between two states.
        """
        depth, time = self.network.depth, node.time
        k = int(time) if node.k is None else node.k
        if not (0 <= k < depth and abs(time - k) <= SLACK * depth):
            step = "" if node.k is None else f" in step {k}"
            raise ValueError(
                f"The stage cost is of the states at t = 0, 1, ..., {depth - 1}: take "
                f"Euler({depth}), not a solver that reads it at t={time:g}{step}."
            )
        return k
