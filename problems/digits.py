"""Handwritten digits as an optimal control problem."""

import functools
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

from ocnet import (
    ControlEnergy,
    PiecewiseConstant,
    PredictionLoss,
    Sample,
    Split,
    SupervisedProblem,
    TerminalLoss,
)
from ocnet.networks import accuracy

from .learning import affine, check_weights


class Digits(SupervisedProblem):
    """Recognise 8x8 scans of digits: `x' = tanh(W x + b)`, cross-entropy at the end and on the way.

    Control: `u = (W, b)`. Embedding and head are linear maps, trained with it. Cost:
    `CE(head(x(T))) + int gamma CE(head(x)) + decay |u|^2 / 2 dt`. The 1,797 scans ship inside
    scikit-learn (E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, 1998): 60% to
    train, 20% to choose on, 20% to test, the same share of each digit in all three.

    Arguments:
        width: The size of the state.
        gamma: The weight of the stage cost.
        decay: The weight decay.
    """

    depth = 16

    def __init__(self, width: int = 32, gamma: float = 0.1, decay: float = 1e-4):
        super().__init__()
        check_weights(gamma=gamma, decay=decay)
        self.state_shape = (width,)
        self.control_shape = (width, width + 1)
        self.embedding = nn.Linear(64, width)
        self.head = nn.Linear(width, 10)
        self.stage_cost = gamma * PredictionLoss(self.head, self.loss) + decay * ControlEnergy(
            ndim=2
        )
        self.terminal_cost = TerminalLoss(self.head, self.loss)

    @staticmethod
    def loss(prediction: Tensor, target: Tensor | None) -> Tensor:
        """The cross-entropy of each prediction."""
        assert target is not None, "digits have labels"
        return cross_entropy(prediction, target, reduction="none")

    def embed(self, x0: Tensor) -> Tensor:
        return self.embedding(x0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(affine(u, x))

    def data(self, split: Split) -> Sample:
        images, target = scans()[split]
        return Sample(images.to(self.head.weight), target.to(self.head.weight.device))

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        images, target = scans()["train"]
        i = torch.randint(len(target), (batch_size,), generator=generator)
        weight = self.head.weight
        return Sample(images[i].to(weight), target[i].to(weight.device))

    def score(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        right = None if target is None else accuracy(self.head(x), target)
        return {} if right is None else {"accuracy": right}

    def initial_control(
        self, n: int, generator: torch.Generator | None = None
    ) -> PiecewiseConstant:
        (d,) = self.state_shape
        control = PiecewiseConstant(self.t0, self.t1, n, (d, d + 1))
        torch.nn.init.normal_(control.path, std=d**-0.5, generator=generator)
        return control


@functools.cache
def scans() -> dict[Split, tuple[Tensor, Tensor]]:
    """The scans with grey levels in [0, 1], shape `(n, 64)`, and their digits, by split."""
    images, target = map(torch.tensor, load_digits(return_X_y=True))
    images = images / 16

    def split(index: np.ndarray, share: float) -> list[Any]:
        return train_test_split(index, test_size=share, stratify=target[index], random_state=0)

    rest, test = split(np.arange(len(target)), 0.2)
    train, validation = split(rest, 0.25)
    return {
        "train": (images[train], target[train]),
        "validation": (images[validation], target[validation]),
        "test": (images[test], target[test]),
    }
