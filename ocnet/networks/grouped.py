"""Read-outs of the states of an `Architecture`, which take little time and memory."""

import abc
import copy
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import nn, Tensor
from torch.nn import functional as F

from ..types import State
from .architecture import Architecture
from .blocks import Head
from .pooling import normalised, NormalisedPool, pixels, ProjectedPool, stacked
from .readouts import Backbone, ReadOuts


class Chain(NamedTuple):
    """The parts that read out one state: convolutions, batch-norm parameters, a linear layer."""

    skips: Sequence[Any]
    bn: nn.BatchNorm2d
    fc: nn.Linear


class Pooled(NamedTuple):
    """The inputs of the linear layers for some states.

    Attributes:
        features: Shape `(state, batch, width)`.
        mean, var: The batch's means and biased variances before the batch norm, shape
            `(state, width)`; None in evaluation mode.
        n: From how many values each of those was computed.
    """

    features: Tensor
    mean: Tensor | None
    var: Tensor | None
    n: int


def kernels(chains: Sequence[Chain]) -> Float[Tensor, "state out width"]:
    """The remaining skips of states of one stage, each composed into one 1x1 convolution."""
    skips = zip(*(chain.skips for chain in chains), strict=True)
    stacked = (torch.stack([skip.weight.flatten(1) for skip in row]) for row in skips)
    return functools.reduce(lambda W, S: S @ W, stacked)


def of_backbone(backbone: Backbone, k: int) -> Chain:
    """The parts with which the backbone reads out the state `x_k`."""
    head: Any = backbone.head
    return Chain([*backbone.after(k), *head.skips], head.bn, head.fc)


class GroupedReadOuts(ReadOuts):
    """Read-outs of an `Architecture` that keep little of each state, and read out all together.

    The remaining skips are linear, so they act as one 1x1 convolution, whose stride reads only a
    few pixels. For a state in an earlier stage, those pixels are observed; for a state in the last
    stage, the features after the pooling are. The backward pass computes again what batch norm and
    pooling need, so that a read-out keeps almost nothing.

    Arguments:
        architecture: The network's shape.
    """

    # The number of states whose projections `ProjectedPool` has in memory at once.
    STATES_AT_ONCE = 6

    mean: Tensor
    var: Tensor

    def __init__(self, architecture: Architecture):
        super().__init__(architecture.depth)
        self.architecture = architecture
        self.eps: float = 1e-5
        width = architecture.widths[-1]
        self.register_buffer("mean", torch.zeros(self.n, width))
        self.register_buffer("var", torch.ones(self.n, width))

    @abc.abstractmethod
    def chains(self, backbone: Backbone, ks: range) -> Sequence[Chain]:
        """The parts that read out the states `ks`: one chain for all, or one for each.

        One chain for all has the skips of the first state, so all must be in the same stage.
        """

    @abc.abstractmethod
    def empty(self, architecture: Architecture, backbone: Backbone) -> "GroupedReadOuts":
        """Read-outs of the same variant for another architecture."""

    def observe(self, backbone: Backbone, k: int, x: State) -> Tensor | Pooled:
        (chain,) = self.chains(backbone, range(k, k + 1))
        if chain.skips:
            return pixels(x, math.prod(skip.stride[0] for skip in chain.skips))
        count = x.numel() // x.shape[1]
        if self.training:
            p, mean, var = NormalisedPool.apply(chain.bn.weight, chain.bn.bias, self.eps, x)  # pyright: ignore[reportGeneralTypeIssues]
            return Pooled(p[None], mean[None], var[None], count)
        bn = chain.bn
        y = F.batch_norm(x, self.mean[k], self.var[k], bn.weight, bn.bias, eps=self.eps)
        return Pooled(F.relu(y).mean((-2, -1))[None], None, None, count)

    def logits(
        self, backbone: Backbone, ks: Sequence[int], ys: Sequence[Tensor | Pooled]
    ) -> Float[Tensor, "state batch classes"]:
        states = range(ks[0], ks[-1] + 1)
        layers = [chain.fc for chain in self.chains(backbone, states)]
        weight = torch.stack([layer.weight for layer in layers])
        bias = torch.stack([layer.bias for layer in layers])
        # Half precision would save nothing here, and round the statistics.
        with torch.autocast(weight.device.type, enabled=False):
            parts = list(self.parts(backbone, states, ys))
            if self.training and self.track_running_stats:
                self.track(states, parts)
            features = torch.cat([part.features for part in parts])
            return features.to(weight.dtype) @ weight.mT + bias[:, None]

    def parts(
        self, backbone: Backbone, ks: range, ys: Sequence[Tensor | Pooled]
    ) -> Iterator[Pooled]:
        """The pooled features of the states, in order; several states at once in earlier stages."""

        def skips_left(of_state: tuple[int, Tensor | Pooled]) -> int:
            return len(backbone.after(of_state[0]))

        # The pixels' shape cannot tell stages apart: two stages of one width share it.
        for _, group in itertools.groupby(zip(ks, ys, strict=True), key=skips_left):
            states, of_stage = zip(*group, strict=True)
            if isinstance(of_stage[0], Pooled):
                yield from of_stage
                continue
            for i in range(0, len(states), self.STATES_AT_ONCE):
                xs = of_stage[i : i + self.STATES_AT_ONCE]
                yield self.project(backbone, range(states[i], states[i] + len(xs)), xs)

    def project(self, backbone: Backbone, ks: range, xs: Sequence[Tensor]) -> Pooled:
        """The features of states of one stage before the last, from their pixels `xs`."""
        chains = self.chains(backbone, ks)
        kernel = kernels(chains)
        weight = torch.stack([chain.bn.weight for chain in chains])
        bias = torch.stack([chain.bn.bias for chain in chains])
        _, batch, *area = xs[0].shape
        count = batch * math.prod(area)
        if self.training:
            p, mean, var = ProjectedPool.apply(kernel, weight, bias, self.eps, *xs)  # pyright: ignore[reportGeneralTypeIssues]
            return Pooled(p.mT, mean, var, count)
        mean, var = self.mean[ks[0] : ks[-1] + 1], self.var[ks[0] : ks[-1] + 1]
        scale = weight * (var + self.eps).rsqrt()
        X = stacked(xs, kernel.dtype)
        y = normalised(scale[..., None] * kernel, bias - scale * mean, X)
        p = F.relu(y).unflatten(2, (batch, -1)).mean(-1)
        return Pooled(p.mT, None, None, count)

    @torch.no_grad()
    def track(self, ks: range, parts: Sequence[Pooled]) -> None:
        """Updates the running statistics of the states `ks`, as `nn.BatchNorm2d` does."""
        some, count = slice(ks[0], ks[-1] + 1), parts[0].n
        mean, var = (torch.cat([getattr(p, name) for p in parts]) for name in ("mean", "var"))
        self.mean[some].lerp_(mean, self.momentum)
        self.var[some].lerp_(var * (count / max(count - 1, 1)), self.momentum)
        self.batches[some] += 1

    def shared(self, backbone: Backbone) -> ReadOuts:
        return SharedReadOuts(self.architecture).to(self.mean)

    @torch.no_grad()
    def take_statistics(self, backbone: Backbone) -> None:
        head: Any = backbone.head
        self.mean.copy_(head.bn.running_mean.expand_as(self.mean))
        self.var.copy_(head.bn.running_var.expand_as(self.var))
        self.batches.fill_(1)

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
        return [of_backbone(backbone, ks[0])]

    def empty(self, architecture: Architecture, backbone: Backbone) -> GroupedReadOuts:
        return SharedReadOuts(architecture)


class OwnReadOuts(GroupedReadOuts):
    """Variant full: every read-out has its own copy of the skips and of the output block."""

    def __init__(self, architecture: Architecture, backbone: Backbone):
        super().__init__(architecture)
        head: Any = backbone.head
        self.own: nn.ModuleList = nn.ModuleList()
        for k in range(self.n):
            # The statistics are those of all states together, `mean` and `var`.
            bn = nn.BatchNorm2d(architecture.widths[-1], track_running_stats=False)
            bn.load_state_dict(dict(head.bn.named_parameters()))
            skips = nn.ModuleList([*backbone.after(k), *head.skips])
            own = {"skips": copy.deepcopy(skips), "bn": bn, "fc": copy.deepcopy(head.fc)}
            self.own.append(nn.ModuleDict(own))

    def chains(self, backbone: Backbone, ks: range) -> Sequence[Chain]:
        own: Any = self.own
        return [
            of_backbone(backbone, k)
            if k in self.resting
            else Chain(own[k]["skips"], own[k]["bn"], own[k]["fc"])
            for k in ks
        ]

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
