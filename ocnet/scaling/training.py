"""Many small networks trained side by side: one batched system, one optimiser, one graph."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import nn, Tensor
from torch.nn.functional import cross_entropy, leaky_relu, pad

from .._arguments import (
    check_all,
    check_count,
    check_generator,
    check_kind,
    check_range,
    check_sequence,
)
from ..control import PiecewiseConstant
from ..init import fill_, Kind
from ..learning import Engine, Record, training
from ..problem import Sample
from ..solver import Euler
from ..supervised import SupervisedProblem
from ..types import Cost, State, Time
from .adam import NetworkwiseAdam
from .datasets import Images
from .models import product, Res1


DECAY_EVERY = 5
"""How many epochs a learning rate lasts before it is divided by ten."""

CPU_MEMORY = 2**29
"""How many bytes the networks of a chunk may take on a CPU: more would be no faster."""


class SideBySide(SupervisedProblem):
    r"""Classifiers of res-1 with biases, each with a scaling of its own, as one system.

        h_0 = A x,   h' = T (V sigma(h) + b) on [0, 1],   T = L^{1 - beta},   F(x) = B h(1)

    Time runs from 0 to 1 in each network: its own horizon `T` moves into the dynamics, so
    that Euler with `L` steps has the step `alpha_L = L^{-beta}` in all of them. The state has the
    shape `(network, batch, d)`, the control `(network, 1, d, d + 1)`.

    Arguments:
        n_layers: The depth `L`.
        betas: The scaling of each network.
        kinds: The process over depth that initialises the weights of each.
        d: The width of every network, `>= 1`.
        n_in, n_out: The sizes of inputs and logits.
        seed: The seed of embeddings, heads and weights; networks of the same kind get the
            same ones.
    """

    kinds: tuple[Kind, ...]
    d: int
    seed: int

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
        for name, size in (("d", d), ("n_in", n_in), ("n_out", n_out)):
            check_count(name, size)
        check_count("seed", seed, least=0)
        check_sequence("betas", betas)
        for beta in betas:
            check_range("betas", beta, "-inf <", "< inf")
        check_all("kinds", kinds, Kind)
        if len(betas) != len(kinds):
            raise ValueError(
                f"Must have as many betas as kinds, but got {len(betas)} and {len(kinds)}."
            )
        self.depth = n_layers
        self.kinds, self.d, self.seed = tuple(kinds), d, seed
        self.state_shape: tuple[int, ...] = (d,)
        self.control_shape: tuple[int, ...] | None = (d, d + 1)
        self.register_buffer(
            "T", torch.tensor([float(n_layers ** (1 - beta)) for beta in betas])[:, None, None]
        )
        generator = torch.Generator().manual_seed(seed)
        A = torch.randn(d, n_in, generator=generator) / math.sqrt(n_in)
        B = torch.randn(n_out, d, generator=generator) / math.sqrt(d)
        self.embedding: nn.Parameter = nn.Parameter(A.repeat(len(betas), 1, 1))
        self.head: nn.Parameter = nn.Parameter(B.repeat(len(betas), 1, 1))

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
        """What the heads compute from the final states."""
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
        shape = (self.n_networks, 1, self.d, self.d + 1)
        control = PiecewiseConstant(self.t0, self.t1, n, shape)
        for kind in dict.fromkeys(self.kinds):
            generator = torch.Generator().manual_seed(self.seed)
            V = fill_(torch.empty(n, self.d, self.d), kind, 1 / math.sqrt(self.d), generator)
            same = [i for i, other in enumerate(self.kinds) if other == kind]
            control.path.data[:, same, 0, :, :-1] = V[:, None]
        return control


@dataclass(frozen=True)
class Trained:
    """What became of each network.

    Attributes:
        validation, test: The accuracies, NaN where training diverged, shape `(network,)`.
        loss: The mean training loss of each epoch, shape `(epoch, network)`.
        diverged_at: The first step at which the loss of each network was not finite, or None.
    """

    validation: Float[Tensor, " network"]
    test: Float[Tensor, " network"]
    loss: Float[Tensor, "epoch network"]
    diverged_at: tuple[int | None, ...]


def train_side_by_side(
    problem: SideBySide,
    control: PiecewiseConstant,
    data: Images,
    rates: Float[Tensor, " network"] | float,
    *,
    epochs: int = 10,
    batch_size: int = 128,
    generator: torch.Generator | None = None,
    compiled: bool = False,
) -> Trained:
    """Trains every network with Adam, the learning rate divided by ten every five epochs.

    The networks share nothing but the batches: the gradient of the sum of their losses is, for
    each, the gradient of its own loss. One that diverges becomes NaN and leaves the others alone.
    The steps are those of `ocnet.training`; on a CUDA device they are recorded as graphs.

    Arguments:
        problem: The networks.
        control: Their weights, trained in place with embeddings and heads, on their device.
        data: What to train on, to choose on and to report.
        rates: The learning rate of each network, or of all.
        epochs: How often to go through the training part.
        batch_size: How many images a step sees; what is left of an epoch is dropped.
        generator: Makes the order of the images reproducible; on the CPU.
        compiled: Whether to compile what a layer does, once for all layers.

    Raises:
        ValueError: If the training part is smaller than a batch, the rates do not fit, or images
            hold values that are not finite.
    """
    check_kind("problem", problem, SideBySide)
    check_kind("control", control, PiecewiseConstant)
    check_kind("data", data, Images)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_count(name, value)
    check_generator(generator)
    device = control.path.device
    train, validation, test = (on_device(part, device) for part in data)
    if len(train.x0) < batch_size:
        raise ValueError(
            f"Must have batch_size <= {len(train.x0)} training images, but got {batch_size=}."
        )
    optimizer = optimizer_of(problem, control, rates)
    steps = training(
        problem, control, Euler(control.n_intervals), optimizer,
        epochs_of(train, batch_size, generator),
        engine=Engine(device, compile=compiled, capture=device.type == "cuda"),
        side_by_side=problem.n_networks,
    )  # fmt: skip
    loss, diverged_at = followed(steps, optimizer, epochs, len(train.x0) // batch_size)
    # A recorded graph holds on to the memory of its step, but the evaluation needs that memory.
    del steps
    return Trained(
        validation=accuracy(problem, control, validation, batch_size).cpu(),
        test=accuracy(problem, control, test, batch_size).cpu(),
        loss=loss,
        diverged_at=diverged_at,
    )


def optimizer_of(
    problem: SideBySide, control: PiecewiseConstant, rates: Float[Tensor, " network"] | float
) -> NetworkwiseAdam:
    """Adam for all parameters, with the learning rate of each network, or of all."""
    groups = [
        {"params": list(control.parameters()), "axis": 1},
        {"params": list(problem.parameters()), "axis": 0},
    ]
    rates = torch.as_tensor(rates, device=control.path.device)
    return NetworkwiseAdam(groups, rates.expand(problem.n_networks))


def epochs_of(data: Sample, batch_size: int, generator: torch.Generator | None) -> Iterator[Sample]:
    """Endless batches in shuffled epochs; the rest of an epoch that fills no batch is dropped."""
    x, y = data
    assert y is not None, "images have labels"
    while True:
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for index in order.split(batch_size)[: len(x) // batch_size]:
            yield Sample(x[index], y[index])


def followed(
    steps: Iterator[Record], optimizer: NetworkwiseAdam, epochs: int, per_epoch: int
) -> tuple[Float[Tensor, "epoch network"], tuple[int | None, ...]]:
    """Takes the steps of all epochs, with a learning rate that falls.

    Arguments:
        steps: The training, one record for each step that it takes.
        optimizer: The optimiser whose learning rates fall.
        epochs, per_epoch: How many epochs there are, of how many steps.

    Returns:
        The mean loss of each epoch, and for each network the first step at which its loss was not
        finite, or None.
    """
    losses = []
    for epoch in range(epochs):
        losses.append([record.costs for record in itertools.islice(steps, per_epoch)])
        if (epoch + 1) % DECAY_EVERY == 0:
            optimizer.decay(0.1)
    loss = torch.tensor(losses)
    finite = loss.flatten(0, 1).isfinite()
    first = finite.logical_not().int().argmax(0).tolist()
    lost = finite.all(0).logical_not().tolist()
    diverged_at = tuple(k if is_lost else None for k, is_lost in zip(first, lost, strict=True))
    return loss.mean(1), diverged_at


def on_device(sample: Sample, device: torch.device) -> Sample:
    """Inputs and labels, all of them on a device."""
    x, y = sample
    assert y is not None, "images have labels"
    return Sample(x.to(device), y.to(device))


def bytes_per_network(
    n_layers: int, d: int, n_in: int, n_out: int, batch_size: int, itemsize: int = 4
) -> int:
    """About how much memory a step takes for each network that it trains.

    There are six copies of the weights: the weights themselves, their gradient, the layers from
    which it is stacked, two moments, and the update. For each layer and image the backward pass
    keeps the state, and the activation with its one for the bias.

    Arguments:
        n_layers, d: The network's depth and width, `>= 1`.
        n_in, n_out: The sizes of its inputs and outputs, `>= 1`.
        batch_size: How many inputs a step takes.
        itemsize: The bytes of a number: 4 in single precision.
    """
    for name, value in (("n_layers", n_layers), ("d", d), ("n_in", n_in), ("n_out", n_out),
                        ("batch_size", batch_size), ("itemsize", itemsize)):  # fmt: skip
        check_count(name, value)
    weights = n_layers * d * (d + 1) + d * n_in + n_out * d
    activations = n_layers * batch_size * (2 * d + 1)
    return itemsize * (6 * weights + activations)


def networks_at_once(per_network: int, device: torch.device) -> int:
    """How many networks fit in memory at a time, to be trained side by side."""
    check_count("per_network", per_network)
    check_kind("device", device, torch.device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, int(0.8 * free) // per_network)
    return max(1, CPU_MEMORY // per_network)


@torch.no_grad()
def accuracy(
    problem: SideBySide, control: PiecewiseConstant, sample: Sample, batch_size: int = 128
) -> Float[Tensor, " network"]:
    """The accuracy of each network, NaN where its outputs are not finite.

    The batches are no larger than those of the training, so that it takes no more memory.
    """
    x, y = sample
    assert y is not None, "images have labels"
    right, finite = 0.0, True
    for part, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
        final = Euler(problem.depth).solve(problem, control, problem.embed(part)).states[-1]
        right = right + problem.score(final, labels)["accuracy"].sum(1)
        finite = finite & torch.isfinite(problem.logits(final)).flatten(1).all(1)
    return torch.where(finite, right / len(x), math.nan)  # pyright: ignore
