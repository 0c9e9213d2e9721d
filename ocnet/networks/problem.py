"""A residual network as an optimal control problem: its layers are the control."""

import abc
import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from .._arguments import as_number, check_function, check_kind, check_sequence
from ..control import Control
from ..cost import Loss
from ..problem import Problem, Projection, Sample
from ..supervised import check_rates, SupervisedProblem
from ..types import Cost, State, Time
from .crossing import Crossing
from .loss import accuracy, check_cheaply, check_labels, CrossEntropy
from .readouts import Backbone, ReadOuts
from .stage_cost import OutputLoss


Gamma = float | int | Sequence[float] | Callable[[int], float]
"""The weight of the stage cost: a number, one for each depth `k < N`, or a function of `k`."""


class Parts(NamedTuple):
    """What a residual network has besides its branches.

    Attributes:
        embedding: The map from images to `x_0`.
        skips: The projection maps `S_k` that are not the identity, under their index `k`.
        head: The output block `H`.
        readouts: How intermediate states are read out.
    """

    embedding: nn.Module
    skips: Mapping[int, nn.Module]
    head: nn.Module
    readouts: ReadOuts


class ResidualProblem(SupervisedProblem, abc.ABC):
    r"""Minimise over the branches `F_0, ..., F_{N-1}` (and the embedding, skips and head)

    $$ J_N = \sum_{k<N} \gamma_k L(\hat y_k, y) + L(\hat y, y), \quad
       x_{k+1} = S_k(x_k) + F_k(x_k), \quad \hat y_k = H(S_{N-1}(\cdots S_k(x_k))). $$

    The horizon is `[0, N]`, so that `Euler(N)` has step 1 and is the network. A control value is
    a branch, a module. Without a target there is no stage cost: that is prediction.

    Arguments:
        parts: Embedding, skips, head and read-outs.
        state_shape: The shape of `x_0`.
        image_shape: The shape of an image, or None to take any.
        loss: The loss `L` per sample, `(logits, labels) -> (batch,)`.
        gamma: The weight of the stage cost. If `gamma_k = 0`, a separate head of `x_k` rests: it is
            not trained, and the backbone reads `x_k` out in its place. The attribute can be
            changed between two steps of training. When a head starts or stops resting, the
            statistics stay those of the old head: `collect_statistics` makes the new ones.

    Raises:
        ValueError: If a weight of the stage cost is negative.

    Source: Puettschneider et al., "Towards an optimal control perspective of ResNet training",
    arXiv 2506.21453.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        state_shape: tuple[int, ...],
        image_shape: tuple[int, ...] | None = None,
        loss: Loss | None = None,
        gamma: Gamma = 0.0,
    ):
        super().__init__()
        check_kind("parts", parts, Parts)
        if loss is not None:
            check_function("loss", loss)
        embedding, skips, head, readouts = parts
        self.depth: int = readouts.n
        self.t1: float = float(max(self.depth, 1))
        self.state_shape = state_shape
        self.image_shape = image_shape
        self.image_dtype: torch.dtype | None = None
        self.embedding = embedding
        self.projections: Sequence[Projection] = [
            Crossing(k, skip.map, skip.follow, skip.lead)
            if isinstance(skip, Crossing)
            else Projection(float(k), float(k + 1), skip)
            for k, skip in skips.items()
        ]
        self.head = head
        self._n_classes: int | None = None
        self.readouts = readouts
        self.loss: CrossEntropy | Loss = CrossEntropy() if loss is None else loss
        self.gamma = gamma
        if type(self).stage_cost is not Problem.stage_cost:
            raise TypeError(
                f"{type(self).__name__}.stage_cost is a method, which hides the losses of the "
                "intermediate outputs: add a cost object to self.stage_cost in the constructor."
            )
        # A cost object in the place of the method.
        self.stage_cost: OutputLoss = OutputLoss(self)  # pyright: ignore[reportIncompatibleMethodOverride]

    @property
    def gamma(self) -> tuple[float, ...]:
        """The weights `gamma_k` of the intermediate outputs, `k < N`."""
        return self._gamma

    @gamma.setter
    def gamma(self, gamma: Gamma) -> None:
        self._gamma = gammas(gamma, self.depth)
        self.readouts.resting = frozenset(k for k, weight in enumerate(self._gamma) if not weight)

    @property
    def backbone(self) -> Backbone:
        """The skips and the head that read out the network's final state."""
        skips = {round(p.start): p if isinstance(p, Crossing) else p.map for p in self.projections}
        return Backbone(skips, self.head)

    def dynamics(self, t: Time, x: State, u: Any) -> State:
        return u(x)

    def embed(self, x0: Tensor) -> State:
        """`x_0 = V(images)`; raises a TypeError or ValueError for anything else."""
        check_kind("images", x0, Tensor)
        if self.image_shape is not None and x0.shape[1:] != self.image_shape:
            raise ValueError(
                f"images must have shape (batch, {', '.join(map(str, self.image_shape))}), but "
                f"got {tuple(x0.shape)}."
            )
        return self.embedding(x0)

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of the logits of several states, shape `(state, batch)`."""
        repeated = target.repeat(logits.shape[0], *[1] * (target.dim() - 1))
        return self.loss(logits.flatten(0, 1), repeated).unflatten(0, logits.shape[:2])

    def terminal_cost(self, x: State, target: Tensor | None) -> Cost:
        logits = self.head(x)
        if target is not None:
            check_cheaply(target, logits.shape[-1])
        return self.loss(logits, target)

    def parameter_groups(
        self, control: Control, lr: float, weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        r"""What an optimiser trains: branches, backbone, and the own heads of each state.

        The gradient of `J_N` moves the head of `y^_k` by `gamma_k` times the gradient of its
        loss, so its learning rate is `lr / gamma_k` (`lr` where `gamma_k = 0`: there it rests,
        and takes no gradient).
        Weight decay adds the objective's $\tfrac{\lambda}{2} \sum_k |w_{F,k}|^2$, which covers
        only the branches. The last `N` groups are the heads'; with shared weights there are none.
        After a change of `gamma`, a new call gives the new rates; to go on with the same optimiser,
        change `gamma` by `ocnet.learning.GammaSchedule`.

        Arguments:
            control: The branches.
            lr: The learning rate of all but the heads.
            weight_decay: `lambda`.
        """
        check_rates(lr, weight_decay)
        heads = [self.readouts.own_parameters(k) for k in range(self.depth)]
        others = {id(p) for p in (*itertools.chain(*heads), *control.parameters())}
        backbone = [p for p in self.parameters() if id(p) not in others]
        groups = [
            {"params": list(control.parameters()), "lr": lr, "weight_decay": weight_decay},
            {"params": backbone, "lr": lr, "weight_decay": 0.0},
        ]
        rates = (lr / gamma if gamma else lr for gamma in self.gamma)
        groups += [
            {"params": own, "lr": rate, "weight_decay": 0.0}
            for own, rate in zip(heads, rates, strict=True)
            if own
        ]
        return groups

    def resting_parameters(self) -> list[nn.Parameter]:
        """The parameters of own heads with `gamma_k = 0`, which no cost trains."""
        return [p for k in self.readouts.resting for p in self.readouts.own_parameters(k)]

    @torch.no_grad()
    def zero_state(self, k: int) -> State:
        """A zero state sent through the skips before `x_k`: it has the shape of `x_k`."""
        # A network need not have parameters, and those that it has may be shards.
        p = next(self.parameters(), torch.empty(0, device=self.readouts.batches.device))
        x = torch.zeros(1, *self.state_shape, dtype=p.dtype, device=p.device)
        for j, skip in self.backbone.skips.items():
            x = shaped(skip, x) if j < k else x
        return x

    def batch_shape(self, x: State) -> torch.Size:
        """The batch dimension; the rank of the rest may differ from stage to stage."""
        return x.shape[:1]

    @property
    def n_classes(self) -> int:
        """How many logits the head gives."""
        if self._n_classes is None:
            self._n_classes = shaped(self.head, self.zero_state(self.depth)).shape[-1]
        return self._n_classes

    def check(self, sample: Sample) -> None:
        if sample.target is not None:
            check_labels(sample.target, self.n_classes)

    def score(self, x: State, target: Tensor | None) -> dict[str, Cost]:
        """The accuracy, where the targets say what is right; see `accuracy`."""
        logits = self.head(x)
        right = None if target is None else accuracy(logits, target)
        return {} if right is None else {"accuracy": right}


class Classifier(ResidualProblem):
    """A residual network whose data come from elsewhere: `train(..., data=loader)`."""

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        raise TypeError("This problem has no data of its own: give train(..., data=loader).")


@torch.no_grad()
def shaped(module: nn.Module, x: Tensor) -> Tensor:
    """A tensor of the shape that a module returns for `x`.

    Its parameters may be shards, which compute nothing outside a step: zeros stand in for them.
    """
    zeros = {
        name: torch.zeros(p.shape, dtype=p.dtype, device=p.device)
        for name, p in module.named_parameters()
    }
    # The module is a copy, so that batch norm does not count this as a batch.
    return torch.func.functional_call(copy.deepcopy(module).eval(), zeros, x)


def gammas(gamma: Gamma, depth: int) -> tuple[float, ...]:
    """The weights of the stage cost for all depths.

    Raises:
        ValueError: If there is not one for each layer, or one is negative.
    """
    if isinstance(gamma, (int, float)):
        values = [gamma] * depth
    elif callable(gamma):
        values = [gamma(k) for k in range(depth)]
    else:
        check_sequence("gamma", gamma)
        values = list(gamma)
    if len(values) != depth:
        raise ValueError(f"gamma must have {depth} values, one for each layer: got {len(values)}.")
    for k, weight in enumerate(values):
        if not 0 <= as_number("gamma", weight) < math.inf:
            raise ValueError(f"Must have 0 <= gamma < inf, but got gamma={weight} at depth {k}.")
    return tuple(map(float, values))
