"""Read-outs of the states of an `Architecture`: all states of a stage at once."""

import abc
import copy
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import nn, Tensor
from torch.nn import functional as F

from .._types import State
from .architecture import Architecture
from .blocks import Head
from .pooling import NormalisedPool, pixels, projected
from .readouts import Backbone, ReadOuts


class Chain(NamedTuple):
    """What one state is read out with: convolutions, the batch norm's weight and bias, linear."""

    skips: Sequence[Any]
    bn: nn.BatchNorm2d
    fc: nn.Linear


class Heads(NamedTuple):
    """The parameters of several read-outs; the leading axis is 1 where they share them.

    Attributes:
        kernel: The remaining skips composed into one 1x1 convolution, shape
            `(state or 1, out, in)`; None if there are none.
        stride: The stride of that convolution.
        weight, bias: Of the batch norm, shape `(state or 1, out)`.
        fc_weight, fc_bias: Of the linear layer, shapes `(state or 1, classes, out)` and
            `(state or 1, classes)`.
    """

    kernel: Tensor | None
    stride: int
    weight: Tensor
    bias: Tensor
    fc_weight: Tensor
    fc_bias: Tensor


def heads(chains: Sequence[Chain]) -> Heads:
    """The parameters of read-outs of states of one stage, stacked."""
    skips = zip(*(chain.skips for chain in chains), strict=True)
    kernels = [torch.stack([skip.weight.flatten(1) for skip in row]) for row in skips]
    return Heads(
        functools.reduce(lambda W, S: S @ W, kernels) if kernels else None,
        math.prod(skip.stride[0] for skip in chains[0].skips),
        torch.stack([chain.bn.weight for chain in chains]),
        torch.stack([chain.bn.bias for chain in chains]),
        torch.stack([chain.fc.weight for chain in chains]),
        torch.stack([chain.fc.bias for chain in chains]),
    )


class GroupedReadOuts(ReadOuts):
    """Read-outs of an `Architecture`: all states of one stage in one batched operation.

    The remaining skips are linear, so they act as one 1x1 convolution whose stride reads few of
    the pixels. What the batch norm and the pooling need for the backward pass is computed again
    there: the states are alive anyway, so a read-out keeps next to nothing.

    Arguments:
        architecture: The network's shape.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, architecture: Architecture):
        super().__init__(architecture.depth)
        self.architecture = architecture
        self.eps = 1e-5
        width = architecture.widths[-1]
        self.register_buffer("mean", torch.zeros(self.n, width))
        self.register_buffer("var", torch.ones(self.n, width))

    @abc.abstractmethod
    def chains(self, backbone: Backbone, ks: range) -> Sequence[Chain]:
        """What the states `ks` of one stage are read out with: one for all, or one for each."""

    @abc.abstractmethod
    def empty(self, architecture: Architecture, backbone: Backbone) -> "GroupedReadOuts":
        """Read-outs of the same variant for another architecture."""

    def forward(
        self, backbone: Backbone, ks: Sequence[int], xs: Sequence[State]
    ) -> Float[Tensor, "state batch classes"]:
        logits = []
        for _, group in itertools.groupby(range(len(ks)), key=lambda i: xs[i].shape):
            at = list(group)
            states = range(ks[at[0]], ks[at[-1]] + 1)
            logits.append(
                self.read(heads(self.chains(backbone, states)), states, xs[at[0] : at[-1] + 1])
            )
        return torch.cat(logits)

    def read(self, heads: Heads, ks: range, xs: Sequence[State]) -> Tensor:
        """The logits of states of one stage."""
        weight, bias = (p.expand(len(ks), -1).flatten() for p in (heads.weight, heads.bias))
        if self.training:
            pooled, mean, var = NormalisedPool.apply(
                heads.kernel, heads.stride, weight, bias, self.eps, *xs
            )  # pyright: ignore[reportGeneralTypeIssues]
            if self.track_running_stats:
                self.track(ks, mean, var, count=pixels(xs[0], heads.stride) * xs[0].shape[0])
        else:
            some = slice(ks[0], ks[-1] + 1)
            z = projected(heads.kernel, heads.stride, *xs)
            mean, var = self.mean[some].flatten(), self.var[some].flatten()
            z = F.batch_norm(z.flatten(1, 2), mean, var, weight, bias, eps=self.eps)
            pooled = F.relu(z).mean(-1)
        pooled = pooled.unflatten(1, (len(ks), -1))
        return pooled.transpose(0, 1) @ heads.fc_weight.mT + heads.fc_bias.unsqueeze(-2)

    @torch.no_grad()
    def track(self, ks: range, mean: Tensor, var: Tensor, count: int) -> None:
        """Follows the statistics of a batch, as `nn.BatchNorm2d` does.

        Arguments:
            ks: The indexes of the states.
            mean, var: Their means and biased variances, shape `(states * width,)`.
            count: How many values each was computed from.
        """
        some = slice(ks[0], ks[-1] + 1)
        unbiased = var * (count / max(count - 1, 1))
        self.mean[some].lerp_(mean.view(len(ks), -1), self.momentum)
        self.var[some].lerp_(unbiased.view(len(ks), -1), self.momentum)
        self.batches[some] += 1

    @torch.no_grad()
    def alone(self, backbone: Backbone, k: int) -> nn.Module:
        (chain,) = self.chains(backbone, range(k, k + 1))
        a, skips = self.architecture, copy.deepcopy(chain.skips)
        head = Head(a.widths[-1], a.classes, skips).to(self.mean)
        head.bn.weight.copy_(chain.bn.weight)
        head.bn.bias.copy_(chain.bn.bias)
        head.fc.load_state_dict(chain.fc.state_dict())
        assert head.bn.running_mean is not None and head.bn.running_var is not None
        head.bn.running_mean.copy_(self.mean[k])
        head.bn.running_var.copy_(self.var[k])
        return head

    @torch.no_grad()
    def keep(self, ks: Sequence[int], backbone: Backbone, bare: Sequence[int] = ()) -> ReadOuts:
        few = self.empty(self.architecture.keep(ks, bare), backbone).to(self.mean)
        for name in ("mean", "var", "batches"):
            getattr(few, name).copy_(getattr(self, name)[list(ks)])
        return few.train(self.training)


class SharedReadOuts(GroupedReadOuts):
    """Variant WS: every read-out has the weights of the backbone's skips and output block."""

    def chains(self, backbone: Backbone, ks: range) -> Sequence[Chain]:
        head: Any = backbone.head
        return [Chain([*backbone.after(ks[0]), *head.skips], head.bn, head.fc)]

    def empty(self, architecture: Architecture, backbone: Backbone) -> GroupedReadOuts:
        return SharedReadOuts(architecture)


class OwnReadOuts(GroupedReadOuts):
    """Variant full: every read-out has its own copy of the skips and of the output block."""

    def __init__(self, architecture: Architecture, backbone: Backbone):
        super().__init__(architecture)
        head: Any = backbone.head
        self.own = nn.ModuleList()
        for k in range(self.n):
            # The statistics are those of all states together, `mean` and `var`.
            bn = nn.BatchNorm2d(architecture.widths[-1], track_running_stats=False)
            bn.load_state_dict(dict(head.bn.named_parameters()))
            skips = nn.ModuleList([*backbone.after(k), *head.skips])
            own = {"skips": copy.deepcopy(skips), "bn": bn, "fc": copy.deepcopy(head.fc)}
            self.own.append(nn.ModuleDict(own))

    def chains(self, backbone: Backbone, ks: range) -> Sequence[Chain]:
        own: Any = self.own
        return [Chain(own[k]["skips"], own[k]["bn"], own[k]["fc"]) for k in ks]

    def own_parameters(self, k: int) -> list[nn.Parameter]:
        return list(self.own[k].parameters())

    def empty(self, architecture: Architecture, backbone: Backbone) -> GroupedReadOuts:
        return OwnReadOuts(architecture, backbone)

    @torch.no_grad()
    def keep(self, ks: Sequence[int], backbone: Backbone, bare: Sequence[int] = ()) -> ReadOuts:
        few: Any = super().keep(ks, backbone, bare)
        for mine, k in zip(few.own, ks, strict=True):
            mine.load_state_dict(self.own[k].state_dict())
        return few
