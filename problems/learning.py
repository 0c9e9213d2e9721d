"""Learning problems: the weights of a residual network are the control."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, softplus

from ocnet import (
    ControlEnergy,
    PiecewiseConstant,
    PredictionLoss,
    Sample,
    SupervisedProblem,
    TerminalLoss,
)


class _Layered(SupervisedProblem):
    """`x' = tanh(W x + b)` with control `u = (W, b)`; inputs are padded with zeros to the width.

    The prediction is the last coordinate of the state. Cost: the loss of the prediction at the
    end, `gamma` times its loss on the way, and `decay |u|^2 / 2`.
    """

    t1 = 5.0
    depth = 20

    def __init__(self, width: int, gamma: float, decay: float):
        super().__init__()
        check_weights(gamma=gamma, decay=decay)
        self.state_shape = (width,)
        self.control_shape = (width, width + 1)
        self.stage_cost = gamma * PredictionLoss(last, self.loss) + decay * ControlEnergy(ndim=2)
        self.terminal_cost = TerminalLoss(last, self.loss)

    @staticmethod
    def loss(prediction: Tensor, target: Tensor | None) -> Tensor:
        """The logistic loss of a prediction, for labels -1 and 1."""
        assert target is not None, "a learning problem has targets"
        return softplus(-target * prediction)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return torch.tanh(affine(u, x))

    def lifted(self, z: Float[Tensor, "batch input"], target: Tensor) -> Sample:
        """Inputs as states: padded with zeros."""
        return Sample(pad(z, (0, self.state_shape[0] - z.shape[-1])), target)

    def initial_control(
        self, n: int, generator: torch.Generator | None = None
    ) -> PiecewiseConstant:
        (d,) = self.state_shape
        control = PiecewiseConstant(self.t0, self.t1, n, (d, d + 1))
        torch.nn.init.normal_(control.path, std=0.3, generator=generator)
        return control


class Rings(_Layered):
    """Tell an inner disc from the ring around it: `x' = tanh(W x + b)`, logistic loss."""

    def __init__(self, width: int = 4, gamma: float = 0.02, decay: float = 1e-3):
        super().__init__(width, gamma, decay)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        target = labels(batch_size, generator)
        radius = 1 + target / 2 + 0.1 * torch.randn(batch_size, generator=generator)
        angle = 2 * math.pi * torch.rand(batch_size, generator=generator)
        return self.lifted(polar(radius, angle), target)

    def score(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return accuracy(x, target)


class Spirals(_Layered):
    """Tell two intertwined spirals apart: `x' = tanh(W x + b)`, logistic loss.

    After K. J. Lang and M. J. Witbrock, Learning to Tell Two Spirals Apart, 1988.
    """

    def __init__(self, width: int = 8, gamma: float = 0.02, decay: float = 1e-4):
        super().__init__(width, gamma, decay)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        target = labels(batch_size, generator)
        angle = 3 * math.pi * torch.rand(batch_size, generator=generator).sqrt()
        noise = 0.02 * torch.randn(batch_size, 2, generator=generator)
        radius = target * (0.2 + angle / (3 * math.pi))
        return self.lifted(polar(radius, angle) + noise, target)

    def score(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return accuracy(x, target)


class Regression(_Layered):
    """Fit `y = sin(pi z) / 2` on [-1, 1]: `x' = tanh(W x + b)`, squared loss."""

    def __init__(self, width: int = 4, gamma: float = 0.02, decay: float = 1e-4):
        super().__init__(width, gamma, decay)

    @staticmethod
    def loss(prediction: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None, "a learning problem has targets"
        return (prediction - target) ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        z = 2 * torch.rand(batch_size, 1, generator=generator) - 1
        return self.lifted(z, torch.sin(math.pi * z[:, 0]) / 2)


def check_weights(**weights: float) -> None:
    """Raises a ValueError unless all weights of a cost are at least zero."""
    for name, value in weights.items():
        if value < 0:
            raise ValueError(f"Must have {name} >= 0, but got {name}={value}.")


def affine(u: Tensor, x: Tensor) -> Tensor:
    """`W x + b` with `u = (W, b)`; batches of `u` and of `x` broadcast."""
    return (x[..., None, :] @ u[..., :-1].mT)[..., 0, :] + u[..., -1]


def last(x: Tensor) -> Tensor:
    """The last coordinate of a state."""
    return x[..., -1]


def labels(batch_size: int, generator: torch.Generator | None) -> Tensor:
    """Labels -1 and 1 with equal probability."""
    return (
        2 * torch.randint(2, (batch_size,), generator=generator).to(torch.get_default_dtype()) - 1
    )


def polar(radius: Tensor, angle: Tensor) -> Tensor:
    """Points of the plane."""
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def accuracy(x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
    """Whether the prediction has the sign of the label."""
    assert target is not None, "a learning problem has targets"
    return {"accuracy": (last(x) * target > 0).to(x.dtype)}
