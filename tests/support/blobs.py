"""A small network to train in the tests: batch norm, dropout, data that are augmented."""

import os
import signal
from typing import Any, Literal

import torch
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

from ocnet import Control, ControlEnergy, Layers, Sample, SupervisedProblem, TerminalLoss


class Blobs(SupervisedProblem):
    """Three clouds in the plane, to be told apart by a residual network of width `width`."""

    depth = 3
    t1 = 3.0

    def __init__(
        self,
        n: int = 40,
        width: int = 4,
        dropout: float = 0.2,
        noise: float = 0.1,
        norm: bool = True,
    ):
        super().__init__()
        self.norm = norm
        self.state_shape = (width,)
        self.n = n
        self.dropout = dropout
        self.noise = noise
        self.embedding = nn.Linear(2, width)
        self.head = nn.Linear(width, 3)
        self.terminal_cost = TerminalLoss(self.head, loss)

    def embed(self, x0: Tensor) -> Tensor:
        return self.embedding(x0)

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return u(x)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        target = torch.randint(3, (batch_size,), generator=generator)
        centre = torch.tensor([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]])[target]
        return Sample(centre + 0.3 * torch.randn(batch_size, 2, generator=generator), target)

    def data(self, split: Literal["train", "validation", "test"]) -> Sample:
        seed = {"train": 1, "validation": 2, "test": 3}[split]
        return self.sample(self.n, torch.Generator().manual_seed(seed))

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        x0 = sample.x0
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        return Sample(x0 + self.noise * noise, sample.target)

    def score(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return {"accuracy": (self.head(x).argmax(-1) == target).double()}

    def initial_control(self, n: int, generator: torch.Generator | None = None) -> Control:
        (width,) = self.state_shape
        layers = [
            nn.Sequential(
                nn.Linear(width, width),
                nn.BatchNorm1d(width) if self.norm else nn.Identity(),
                nn.Tanh(),
                nn.Dropout(self.dropout),
            )
            for _ in range(n)
        ]
        return Layers(self.t0, self.t1, layers)


class Pausing(Blobs):
    """Sends its process a Ctrl-C in the step that the environment variable PAUSE numbers."""

    calls = 0

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        self.calls += 1
        if os.environ.get("PAUSE") == str(self.calls):
            os.kill(os.getpid(), signal.SIGINT)
        return super().augment(sample, generator)


class Skipping(Blobs):
    """A state that is left out of some steps: its layer's parameters then have no gradient."""

    calls = 0

    def augment(self, sample: Sample, generator: torch.Generator | None = None) -> Sample:
        self.calls += 1
        return super().augment(sample, generator)

    def dynamics(self, t: Tensor, x: Tensor, u: nn.Module) -> Tensor:
        return torch.zeros_like(x) if float(t) == self.calls % 3 and self.training else u(x)


class Damped(Blobs):
    """The weights of the layers cost something, too."""

    def __init__(self, n: int = 40, dropout: float = 0.2, norm: bool = True):
        super().__init__(n, dropout=dropout, norm=norm)
        self.stage_cost = 0.05 * ControlEnergy()


class Weighty(Blobs):
    """The same by a cost of the user's own, which knows of shards or does not."""

    def __init__(self, knows: bool):
        super().__init__(dropout=0.0, norm=False)
        self.knows = knows

    def stage_cost(self, t: Tensor, x: Tensor, u: nn.Module, target: Tensor | None) -> Tensor:
        energy: Any = sum(p.square().sum() for p in u.parameters())
        if self.knows and hasattr(energy, "full_tensor"):
            energy = energy.full_tensor()
        return 0.05 * energy * torch.ones_like(x[:, 0])


class Dying(Blobs):
    """Kills the process that the environment variable DIE numbers, when the test data are read."""

    def data(self, split: Literal["train", "validation", "test"]) -> Sample:
        if split == "test" and os.environ.get("RANK", "alone") == os.environ.get("DIE"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().data(split)


class Drawn(SupervisedProblem):
    """`x' = u` from random points to zero: a classical problem that draws its samples."""

    state_shape = (2,)
    control_shape = (2,)
    depth = 5

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return x.square().sum(-1) + u.square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(1 + torch.randn(batch_size, 2, generator=generator))


def loss(y: Tensor, target: Tensor | None) -> Tensor:
    """The cross-entropy of each sample."""
    assert target is not None
    return cross_entropy(y, target, reduction="none")
