"""Many small networks trained side by side: one batched system, one optimiser, one graph."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import nn, Tensor
from torch.nn.functional import cross_entropy, leaky_relu, pad

from ..._types import Cost, State, Time
from ...control import PiecewiseConstant
from ...control.base import check_count
from ...init import fill_, Kind
from ...objective import evaluate
from ...problem import Problem, Sample
from ...solver import Euler
from .images import Images
from .models import product, Res1


class SideBySide(Problem):
    r"""Classifiers of res-1 with biases, each with a scaling of its own, as one system.

        h_0 = A x,   h' = T (V sigma(h) + b) on [0, 1],   T = L^{1 - beta},   F(x) = B h(1)

    Time runs from 0 to 1 in each network: the horizon `T` of its own moves into the dynamics, so
    that Euler with `L` steps has the step `alpha_L = L^{-beta}` in all of them. The state has the
    shape `(network, batch, d)`, the control `(network, 1, d, d + 1)`.

    Arguments:
        n_layers: The depth `L`.
        betas: The scaling of each network.
        kinds: The process over depth that initialises the weights of each.
        d: The width.
        n_in, n_out: The sizes of inputs and logits.
        seed: Of embeddings, heads and weights; networks of the same kind get the same ones.
    """

    def __init__(
        self,
        n_layers: int,
        betas: Sequence[float],
        kinds: Sequence[Kind],
        *,
        d: int = 30,
        n_in: int = 784,
        n_out: int = 10,
        seed: int = 0,
    ):
        super().__init__()
        check_count("n_layers", n_layers, least=2)
        if len(betas) != len(kinds):
            raise ValueError(
                f"Must have as many betas as kinds, but got {len(betas)} and {len(kinds)}."
            )
        self.n_steps = n_layers
        self.kinds, self.d, self.seed = tuple(kinds), d, seed
        self.state_shape = (d,)
        self.control_shape = (d, d + 1)
        self.register_buffer(
            "T", torch.tensor([float(n_layers ** (1 - beta)) for beta in betas])[:, None, None]
        )
        generator = torch.Generator().manual_seed(seed)
        A = torch.randn(d, n_in, generator=generator) / math.sqrt(n_in)
        B = torch.randn(n_out, d, generator=generator) / math.sqrt(d)
        self.embedding = nn.Parameter(A.repeat(len(betas), 1, 1))
        self.head = nn.Parameter(B.repeat(len(betas), 1, 1))

    T: Tensor

    @property
    def n_networks(self) -> int:
        """How many networks there are."""
        return len(self.kinds)

    def embed(self, x0: Tensor) -> State:
        return x0 @ self.embedding.mT

    def dynamics(self, t: Time, x: State, u: Tensor) -> State:
        # The last column of u is the bias.
        return self.T * product(u, pad(leaky_relu(x, Res1.slope), (0, 1), value=1.0))

    def logits(self, x: State) -> Float[Tensor, "network batch class"]:
        """What the heads make of the final states."""
        return x @ self.head.mT

    def terminal_cost(self, x: State, target: Tensor | None) -> Cost:
        assert target is not None, "images have labels"
        labels = target.expand(self.n_networks, -1)
        return cross_entropy(self.logits(x).mT, labels, reduction="none")

    def score(self, x: State, target: Tensor | None) -> dict[str, Cost]:
        return {"accuracy": (self.logits(x).argmax(-1) == target).to(x.dtype)}

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        _, n_out, _ = self.head.shape
        x = torch.randn(batch_size, self.embedding.shape[-1], generator=generator)
        return Sample(x, torch.randint(n_out, (batch_size,), generator=generator))

    def initial_control(
        self, n: int, generator: torch.Generator | None = None
    ) -> PiecewiseConstant:
        control = PiecewiseConstant(self.t0, self.t1, n, (self.n_networks, 1, self.d, self.d + 1))
        for i, kind in enumerate(self.kinds):
            generator = torch.Generator().manual_seed(self.seed)
            fill_(control.path.data[:, i, 0, :, :-1], kind, 1 / math.sqrt(self.d), generator)
        return control


@dataclass(frozen=True)
class Trained:
    """What became of each network.

    Attributes:
        validation, test: The accuracies, NaN where training diverged, shape `(network,)`.
        loss: The mean training loss of each epoch, shape `(epoch, network)`.
    """

    validation: Float[Tensor, " network"]
    test: Float[Tensor, " network"]
    loss: Float[Tensor, "epoch network"]


def train_side_by_side(
    problem: SideBySide,
    control: PiecewiseConstant,
    data: Images,
    lr: float,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    generator: torch.Generator | None = None,
) -> Trained:
    """Trains every network with Adam, the learning rate divided by ten every five epochs.

    The networks share nothing but the batches: the gradient of the sum of their losses is, for
    each, the gradient of its own loss. One that diverges becomes NaN and leaves the others alone.

    Arguments:
        problem: The networks.
        control: Their weights, trained in place with embeddings and heads.
        data: What to train on, to choose on and to report.
        lr: The learning rate.
        epochs: How often to go through the training part.
        batch_size: How many images a step sees; what is left of an epoch is dropped.
        generator: Makes the order of the images reproducible.
    """
    optimizer = torch.optim.Adam([*control.parameters(), *problem.parameters()], lr=lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.1)
    solver = Euler(problem.n_steps)
    losses = []
    for _ in range(epochs):
        total, count = torch.zeros_like(problem.T.flatten()), 0
        for batch in shuffled(data.train, batch_size, generator):
            optimizer.zero_grad()
            cost, _ = evaluate(problem, control, solver, batch)
            loss = cost.mean(1)
            loss.sum().backward()
            optimizer.step()
            total, count = total + loss.detach(), count + 1
        schedule.step()
        losses.append(total / max(count, 1))
    return Trained(
        validation=accuracy(problem, control, data.validation),
        test=accuracy(problem, control, data.test),
        loss=torch.stack(losses),
    )


def shuffled(
    sample: Sample, batch_size: int, generator: torch.Generator | None
) -> Iterator[Sample]:
    """An epoch of batches of equal size."""
    x, y = sample
    assert y is not None, "images have labels"
    order = torch.randperm(len(x), generator=generator)
    for index in order[: len(x) // batch_size * batch_size].split(batch_size):
        yield Sample(x[index], y[index])


@torch.no_grad()
def accuracy(
    problem: SideBySide, control: PiecewiseConstant, sample: Sample
) -> Float[Tensor, " network"]:
    """The accuracy of each network, NaN where its outputs are not finite."""
    x, y = sample
    assert y is not None, "images have labels"
    right, finite = 0.0, True
    for part, labels in zip(x.split(1000), y.split(1000), strict=True):
        final = Euler(problem.n_steps).solve(problem, control, problem.embed(part)).states[-1]
        right = right + problem.score(final, labels)["accuracy"].sum(1)
        finite = finite & torch.isfinite(problem.logits(final)).flatten(1).all(1)
    return torch.where(finite, right / len(x), math.nan)  # pyright: ignore
