"""Read-outs of the intermediate states of any residual network, one state at a time."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import fx, nn, Tensor
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ..types import State
from .crossing import pieces
from .readouts import Backbone, ReadOuts
from .segment import NetworkPart


class ChainedReadOuts(ReadOuts):
    """Read-outs that send each state through every later skip and the head, whatever they are.

    The plain definition: slower than `GroupedReadOuts`, but skips and head may be any modules.
    Buffers, such as the statistics of batch norm, are kept for each state.

    Arguments:
        n: The number of states.
        backbone: The skips and the head that read out the network's final state.
        own: Whether every read-out has its own copy of the parameters (variant full), or all
            share the backbone's (variant WS).
    """

    def __init__(self, n: int, backbone: Backbone, own: bool = False):
        super().__init__(n)
        self.own = own
        self.chains: nn.ModuleList = nn.ModuleList(
            copied(chain(backbone, k), own) for k in range(n)
        )
        # Modules that keep no running statistics have nothing to collect.
        for k, module in enumerate(self.chains):
            self.batches[k] = int(not follows_statistics(module))

    def observe(self, backbone: Backbone, k: int, x: State) -> Float[Tensor, "batch ..."]:
        for layer in self.chains[k].modules():
            if isinstance(layer, _BatchNorm):
                layer.momentum = self.momentum
        if not self.rests(k):
            return self.chains[k](x)
        # With the backbone's parameters, and the buffers of this state.
        names = (name for name, _ in self.chains[k].named_parameters())
        weights: Any = dict(zip(names, chain(backbone, k).parameters(), strict=True))
        return functional_call(self.chains[k], weights, (x,))

    def rests(self, k: int) -> bool:
        """Whether the state `x_k` has a head of its own that no cost trains."""
        return self.own and k in self.resting

    def logits(
        self, backbone: Backbone, ks: Sequence[int], ys: Sequence[Tensor]
    ) -> Float[Tensor, "state batch ..."]:
        if self.training and self.track_running_stats:
            self.batches[ks[0] : ks[-1] + 1] += 1
        return torch.stack(list(ys))

    def own_parameters(self, k: int) -> list[nn.Parameter]:
        return list(self.chains[k].parameters()) if self.own else []

    def shared(self, backbone: Backbone) -> ReadOuts:
        return ChainedReadOuts(self.n, backbone)

    @torch.no_grad()
    def take_statistics(self, backbone: Backbone) -> None:
        for k, mine in enumerate(self.chains):
            theirs = chain(backbone, k).buffers()
            for here, there in zip(mine.buffers(), theirs, strict=True):
                here.copy_(there)
        self.batches.fill_(1)

    @torch.no_grad()
    def alone(self, backbone: Backbone, k: int) -> nn.Module:
        module = copy.deepcopy(self.chains[k])
        if self.rests(k):
            pairs = zip(module.parameters(), chain(backbone, k).parameters(), strict=True)
            for p, of_backbone in pairs:
                p.copy_(of_backbone)
        return module

    @torch.no_grad()
    def keep(self, ks: Sequence[int], backbone: Backbone, bare: Sequence[int] = ()) -> ReadOuts:
        few = ChainedReadOuts(len(ks), backbone, self.own)
        for new, k in zip(few.chains, ks, strict=True):
            take_values(new, self.chains[k])
        few.batches.copy_(self.batches[list(ks)])
        return few.train(self.training)


def take_values(new: nn.Module, old: nn.Module) -> None:
    """Copies the values of a chain to a chain of a smaller network.

    The parts of a wrapped network are identified by their number, even where some are gone; other
    chains nest their modules differently, but in the same order.
    """
    theirs = {piece.number: piece for piece in pieces(old) if isinstance(piece, NetworkPart)}
    if not theirs:
        pairs = zip(values(new), values(old), strict=True)
    else:
        mine = [piece for piece in pieces(new) if isinstance(piece, NetworkPart)]
        both = [(one, theirs[one.number]) for one in mine if one.number in theirs]
        pairs = [pair for a, b in both for pair in zip(values(a), values(b), strict=True)]
    for there, here in pairs:
        there.copy_(here)


def values(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def follows_statistics(module: nn.Module) -> bool:
    """Whether a module keeps running statistics in training mode."""
    norms = (part for part in module.modules() if isinstance(part, _NormBase))
    return any(norm.track_running_stats for norm in norms) or any(
        node.target is torch.ops.aten.batch_norm.default
        for part in module.modules()
        if isinstance(part, fx.GraphModule)
        for node in part.graph.nodes
    )


def chain(backbone: Backbone, k: int) -> nn.Sequential:
    """The rest of the skips and the head after the state `x_k`."""
    return nn.Sequential(*backbone.after(k), backbone.head)


def copied(module: nn.Module, own: bool) -> nn.Module:
    """A copy with buffers of its own, and with parameters of its own or the very same ones."""
    shared = {} if own else {id(p): p for p in module.parameters()}
    return copy.deepcopy(module, shared)
