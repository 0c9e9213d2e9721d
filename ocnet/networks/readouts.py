"""The read-outs of a network's intermediate states, and the skips and head that they use."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import nn, Tensor

from ..types import State
from .crossing import without_repetitions


class Backbone(NamedTuple):
    """The skips and the head that a network itself uses to read out its states.

    Attributes:
        skips: The projection maps `S_k` under the index of their layer.
        head: The output block `H`.
    """

    skips: Mapping[int, nn.Module]
    head: nn.Module

    def after(self, k: int) -> list[nn.Module]:
        """The skips that the state `x_k` has yet to cross, without those that change nothing."""
        return without_repetitions([skip for j, skip in self.skips.items() if j >= k], self.head)


class ReadOuts(nn.Module, abc.ABC):
    r"""The intermediate outputs `y^_k = E_k(x_k) = H(S_{N-1}(... S_k(x_k)))` for `k < N`.

    Every state has batch-norm statistics of its own, which training mode updates and
    evaluation mode uses.

    Attributes:
        n: The number `N` of states that are read out.
        resting: The indexes of the states whose own heads, if there are any, no cost trains: the
            backbone's skips and head read those states out.
        momentum: The weight of a new batch in the running statistics.
        track_running_stats: Whether training mode follows the statistics, as in `nn.BatchNorm2d`.
        batches: How many batches each state's statistics have seen, shape `(n,)`.
        statistics: Whose statistics evaluation mode uses: "own", which each state has for itself,
            or "network", those that the network has of its last state.
    """

    batches: Tensor

    def __init__(self, n: int):
        super().__init__()
        self.n = n
        self.resting: frozenset[int] = frozenset()
        self.momentum: float = 0.1
        self.track_running_stats = True
        self.statistics: str = "own"
        self.register_buffer("batches", torch.zeros(n, dtype=torch.long))

    def forward(
        self, backbone: Backbone, ks: Sequence[int], xs: Sequence[State]
    ) -> Float[Tensor, "state batch ..."]:
        """The logits of the states `xs`, whose indexes are `ks`.

        Arguments:
            backbone: The skips and head that read out the network's final state.
            ks: Consecutive indexes.
            xs: The states.
        """
        return self.logits(
            backbone, ks, [self.observe(backbone, k, x) for k, x in zip(ks, xs, strict=True)]
        )

    @abc.abstractmethod
    def observe(self, backbone: Backbone, k: int, x: State) -> Any:
        """What `logits` needs from the state `x_k`, taken while the state is available."""

    @abc.abstractmethod
    def logits(
        self, backbone: Backbone, ks: Sequence[int], ys: Sequence[Any]
    ) -> Float[Tensor, "state batch ..."]:
        """The logits of the states for which `observe` gave `ys`; the rest is as in `forward`."""

    def own_parameters(self, k: int) -> list[nn.Parameter]:
        """The parameters that only the `k`-th read-out has; none by default."""
        return []

    @abc.abstractmethod
    def shared(self, backbone: Backbone) -> "ReadOuts":
        """Fresh read-outs of the same states that have the backbone's parameters."""

    @abc.abstractmethod
    def take_statistics(self, backbone: Backbone) -> None:
        """Takes the statistics of the network's own skips and head for every state."""

    @abc.abstractmethod
    def alone(self, backbone: Backbone, k: int) -> nn.Module:
        """The read-out `E_k` as a module with parameters of its own, to end a network with."""

    @abc.abstractmethod
    def keep(self, ks: Sequence[int], backbone: Backbone, bare: Sequence[int] = ()) -> "ReadOuts":
        """Copies of some read-outs, for a network that keeps only the layers `ks`.

        Arguments:
            ks: The indexes of the layers, whose inputs are the states that are read out.
            backbone: The skips and head that read out the smaller network's final state.
            bare: Those of the layers that keep only their skip.
        """
