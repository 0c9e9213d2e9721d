"""Read-outs of intermediate states through the rest of the network's skips, many at once."""

import abc
import copy
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import nn, Tensor
from torch.nn import functional as F

from .._types import State
from .architecture import Architecture
from .blocks import Head
from .pooling import NormalisedPool, pixels, projected, scaled_gradient


class Backbone(NamedTuple):
    """What a network itself reads its states out with.

    Attributes:
        skips: The projection maps `S_k` under the index of their layer.
        head: The output block `H`.
    """

    skips: Mapping[int, nn.Module]
    head: nn.Module

    def after(self, k: int) -> list[nn.Module]:
        """The skips that the state `x_k` has yet to cross."""
        return [skip for j, skip in self.skips.items() if j >= k]


class ReadOuts(nn.Module, abc.ABC):
    r"""The intermediate outputs `y^_k = E_k(x_k) = H(S_{N-1}(... S_k(x_k)))` for `k < N`.

    Every state has batch-norm statistics of its own, which training mode follows and
    evaluation mode uses.

    Attributes:
        n: The number `N` of states that are read out.
        momentum: The weight of a new batch in the running statistics.
        track_running_stats: Whether training mode follows the statistics, as of `nn.BatchNorm2d`.
        batches: How many batches each state's statistics have seen, shape `(n,)`.
    """

    batches: Tensor

    def __init__(self, n: int):
        super().__init__()
        self.n = n
        self.momentum = 0.1
        self.track_running_stats = True
        self.register_buffer("batches", torch.zeros(n, dtype=torch.long))

    @abc.abstractmethod
    def forward(
        self,
        backbone: Backbone,
        ks: Sequence[int],
        xs: Sequence[State],
        gains: Sequence[float] | None = None,
    ) -> Float[Tensor, "state batch classes"]:
        """The logits of the states `xs`, whose indexes are `ks`.

        Arguments:
            backbone: What the network reads its final state out with.
            ks: Consecutive indexes.
            xs: The states.
            gains: Factors on the gradients of the parameters that only one state's read-out
                has, one for each state.
        """

    @abc.abstractmethod
    def alone(self, backbone: Backbone, k: int) -> nn.Module:
        """The read-out `E_k` as a module with parameters of its own, to end a network with."""

    @abc.abstractmethod
    def keep(self, ks: Sequence[int], backbone: Backbone) -> "ReadOuts":
        """Copies of some read-outs, for a network that keeps only the blocks `ks`.

        Arguments:
            ks: The indexes of the blocks, whose inputs are the states that are read out.
            backbone: What the smaller network reads its final state out with.
        """


class Heads(NamedTuple):
    """The parameters of several read-outs; the leading axis is 1 or missing where they share them.

    Attributes:
        kernel: The remaining skips composed into one 1x1 convolution, shape
            `(state or 1, out, in)`; None if there are none.
        stride: The stride of that convolution.
        weight, bias: Of the batch norm, shape `(state, out)`.
        fc_weight, fc_bias: Of the linear layer, shapes `(state, classes, out)` and
            `(state, classes)`.
    """

    kernel: Tensor | None
    stride: int
    weight: Tensor
    bias: Tensor
    fc_weight: Tensor
    fc_bias: Tensor


def compose(kernels: Sequence[Tensor]) -> Tensor | None:
    """The kernel of 1x1 convolutions in a row, their product; None for none."""
    return functools.reduce(lambda W, S: S @ W, kernels) if kernels else None


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
    per_state: tuple[str, ...] = ("mean", "var", "batches")

    def __init__(self, architecture: Architecture):
        super().__init__(architecture.depth)
        self.architecture = architecture
        self.eps = 1e-5
        width = architecture.widths[-1]
        self.register_buffer("mean", torch.zeros(self.n, width))
        self.register_buffer("var", torch.ones(self.n, width))

    @abc.abstractmethod
    def heads(self, backbone: Backbone, ks: range, gains: Sequence[float] | None) -> Heads:
        """The parameters of the read-outs of states of one stage."""

    def forward(
        self,
        backbone: Backbone,
        ks: Sequence[int],
        xs: Sequence[State],
        gains: Sequence[float] | None = None,
    ) -> Float[Tensor, "state batch classes"]:
        logits = []
        for _, group in itertools.groupby(range(len(ks)), key=lambda i: xs[i].shape):
            at = list(group)
            some = slice(at[0], at[-1] + 1)
            states = range(ks[at[0]], ks[at[-1]] + 1)
            heads = self.heads(backbone, states, None if gains is None else gains[some])
            logits.append(self.read(heads, states, xs[some]))
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

    def alone(self, backbone: Backbone, k: int) -> nn.Module:
        a = self.architecture
        skips = [copy.deepcopy(skip) for skip in (*backbone.after(k), *backbone.head.skips)]  # pyright: ignore
        head = Head(a.widths[-1], a.classes, skips)  # pyright: ignore[reportArgumentType]
        head.to(self.mean)
        self.fill(head, backbone, k)
        assert head.bn.running_mean is not None and head.bn.running_var is not None
        head.bn.running_mean.copy_(self.mean[k])
        head.bn.running_var.copy_(self.var[k])
        return head

    @torch.no_grad()
    def keep(self, ks: Sequence[int], backbone: Backbone) -> ReadOuts:
        few = self.empty(self.architecture.keep(ks), backbone).to(self.mean)
        for name in few.per_state:
            getattr(few, name).copy_(getattr(self, name)[list(ks)])
        few.fill_kernels(self, ks)
        return few.train(self.training)

    @abc.abstractmethod
    def empty(self, architecture: Architecture, backbone: Backbone) -> "GroupedReadOuts":
        """Read-outs of the same variant for another architecture."""

    def fill_kernels(self, other: Any, ks: Sequence[int]) -> None:
        """Copies the own skips of the states `ks` of other read-outs, if there are any."""

    @abc.abstractmethod
    def fill(self, head: Head, backbone: Backbone, k: int) -> None:
        """Copies the parameters of the `k`-th read-out into a head."""


class SharedReadOuts(GroupedReadOuts):
    """Variant WS: every read-out has the weights of the backbone's skips and output block."""

    def heads(self, backbone: Backbone, ks: range, gains: Sequence[float] | None) -> Heads:
        head: Any = backbone.head
        skips: Any = (*backbone.after(ks[0]), *head.skips)
        return Heads(
            compose([skip.weight.flatten(1)[None] for skip in skips]),
            math.prod(skip.stride[0] for skip in skips),
            head.bn.weight, head.bn.bias, head.fc.weight, head.fc.bias,
        )  # fmt: skip

    def empty(self, architecture: Architecture, backbone: Backbone) -> GroupedReadOuts:
        return SharedReadOuts(architecture)

    def fill(self, head: Head, backbone: Backbone, k: int) -> None:
        for name in ("bn", "fc"):
            source = getattr(backbone.head, name)
            getattr(head, name).load_state_dict(source.state_dict())


class OwnReadOuts(GroupedReadOuts):
    """Variant full: every read-out has its own copy of the skips and of the output block."""

    heads_of = ("bn_weight", "bn_bias", "fc_weight", "fc_bias")
    per_state = (*GroupedReadOuts.per_state, *heads_of)

    def __init__(self, architecture: Architecture, backbone: Backbone):
        super().__init__(architecture)
        head: Any = backbone.head
        for name in self.heads_of:
            module, attribute = name.split("_")
            p = getattr(getattr(head, module), attribute)
            self.register_parameter(name, copies(p, self.n))
        # State k has the shape of the stage that made it: x_k leaves a stage at the next one's
        # first block.
        self.ends = [*backbone.skips, self.n - 1]
        self.kernels, first = nn.ModuleList(), 0
        for end in self.ends:
            skips: Any = (*backbone.after(first), *head.skips)
            rows = [copies(skip.weight.flatten(1), end + 1 - first) for skip in skips]
            self.kernels.append(nn.ParameterList(rows))
            first = end + 1

    def fill_kernels(self, other: Any, ks: Sequence[int]) -> None:
        first = 0
        for end, mine, theirs in zip(other.ends, self.kernels, other.kernels, strict=False):
            rows = [k - first for k in ks if first <= k <= end]
            for p, q in zip(mine, theirs, strict=True):  # pyright: ignore[reportArgumentType]
                p.copy_(q[rows])
            first = end + 1

    def kernels_of(self, ks: range) -> list[Tensor]:
        """The kernels of the skips behind states of one stage, each `(state, out, in)`."""
        stage = next(i for i, end in enumerate(self.ends) if ks[0] <= end)
        first = self.ends[stage - 1] + 1 if stage else 0
        return [p[ks[0] - first : ks[-1] + 1 - first] for p in self.kernels[stage]]  # pyright: ignore

    def heads(self, backbone: Backbone, ks: range, gains: Sequence[float] | None) -> Heads:
        head: Any = backbone.head
        skips: Any = (*backbone.after(ks[0]), *head.skips)
        some = slice(ks[0], ks[-1] + 1)
        own = [getattr(self, name)[some] for name in self.heads_of]
        kernel = compose([scaled_gradient(p, gains) for p in self.kernels_of(ks)])
        stride = math.prod(skip.stride[0] for skip in skips)
        return Heads(kernel, stride, *(scaled_gradient(p, gains) for p in own))

    def empty(self, architecture: Architecture, backbone: Backbone) -> GroupedReadOuts:
        return OwnReadOuts(architecture, backbone)

    @torch.no_grad()
    def fill(self, head: Head, backbone: Backbone, k: int) -> None:
        kernels = self.kernels_of(range(k, k + 1))
        for skip, kernel in zip(head.skips, kernels, strict=True):
            skip.weight.copy_(kernel[0][..., None, None])  # pyright: ignore
        for name in self.heads_of:
            module, attribute = name.split("_")
            getattr(getattr(head, module), attribute).copy_(getattr(self, name)[k])


def copies(p: Tensor, n: int) -> nn.Parameter:
    """A parameter that holds `n` copies of another, stacked."""
    return nn.Parameter(p.detach().repeat(n, *[1] * p.dim()))
