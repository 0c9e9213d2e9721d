"""A training step of many networks on memory that stays where it is: one graph can hold it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..control import PiecewiseConstant
from ..evaluation import evaluate
from ..learning.capture import Recorder, WARM_UP
from ..problem import Problem, Sample
from ..solver import Euler


class NetworkwiseAdam(torch.optim.Optimizer):
    r"""Adam with a learning rate for each of many networks that share their tensors.

        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        theta_i <- theta_i - rate_i (m_i / (1 - b1^k)) / (sqrt(v_i / (1 - b2^k)) + eps)

    at step `k`, for network `i`. The rates and the number of steps are tensors on the device, and
    all memory is there from the beginning. Source: Kingma and Ba, ICLR 2015, Algorithm 1.

    Arguments:
        groups: Parameters under "params", and under "axis" the dimension that tells the networks
            apart.
        rates: The learning rate of each network.
        betas: The decay of the moments, `(b1, b2)`.
        eps: What keeps the denominator from being zero.

    Raises:
        ValueError: If a parameter does not hold as many networks as there are rates, or a rate is
            not positive.
    """

    betas: tuple[float, float]
    eps: float

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        rates: Float[Tensor, " network"],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(groups, {})
        if not (rates > 0).all():
            raise ValueError(f"rates must be positive, but got {rates.tolist()}.")
        self.betas, self.eps = betas, eps
        self.rates: Tensor = rates.double().clone()
        # In double precision: in single, 1 - b2^k has lost four digits at the first steps.
        self.count: Tensor = torch.zeros_like(self.rates[0])
        for group in self.param_groups:
            for p in group["params"]:
                if p.shape[group["axis"]] != len(rates):
                    raise ValueError(
                        f"Must have a rate for each network, but got {len(rates)} rates and "
                        f"parameters of shape {tuple(p.shape)}."
                    )
                self.state[p] = {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}

    def decay(self, factor: float) -> None:
        """Multiplies all rates, in place."""
        self.rates.mul_(factor)

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of all networks, in place."""
        b1, b2 = self.betas
        self.count.add_(1)
        widths = self.rates / (1 - b1**self.count)
        correction = 1 - b2**self.count
        for group in self.param_groups:
            for p in group["params"]:
                m, v = self.state[p]["m"], self.state[p]["v"]
                m.lerp_(p.grad, 1 - b1)
                v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                update = (v / correction).sqrt_().add_(self.eps)
                torch.div(m, update, out=update)
                by_network = [1] * p.dim()
                by_network[group["axis"]] = -1
                p.sub_(update.mul_(widths.to(p.dtype).view(by_network)))


class SideBySideStep:
    """One step of training: the next batch, the gradients, the update of all networks.

    Nothing is read back to the host, and what outlives a step keeps its address: one CUDA graph
    holds the whole step. `captured` makes it, and this same object is the eager step.

    Arguments:
        problem: The networks, with `n_networks`.
        control: Their weights.
        optimizer: Of all their parameters.
        data: The inputs and labels to choose batches from, on the device of the control.
        batch_size: How many a step sees.

    Attributes:
        total: The sum of the losses since the epoch began, shape `(network,)`.
    """

    problem: Problem
    control: PiecewiseConstant
    optimizer: NetworkwiseAdam

    def __init__(
        self,
        problem: Problem,
        control: PiecewiseConstant,
        optimizer: NetworkwiseAdam,
        data: Sample,
        batch_size: int,
    ):
        self.problem, self.control, self.optimizer = problem, control, optimizer
        self.data = data
        self.solver: Euler = Euler(control.n_intervals)
        device = data.x0.device
        self.order: Tensor = torch.arange(len(data.x0), device=device)
        self.batch: Tensor = torch.arange(batch_size, device=device)
        self.start: Tensor = torch.zeros_like(self.batch[0])
        self.total: Tensor = torch.zeros(len(optimizer.rates), dtype=data.x0.dtype, device=device)

    def begin_epoch(self, order: Int[Tensor, " sample"]) -> None:
        """The order in which the batches of an epoch are taken."""
        self.order.copy_(order)
        self.start.zero_()
        self.total.zero_()

    def __call__(self) -> Tensor:
        """One step; the sum of the losses so far."""
        x, y = self.data
        assert y is not None, "images have labels"
        index = self.order.index_select(0, self.start + self.batch)
        batch = Sample(x.index_select(0, index), y.index_select(0, index))
        self.optimizer.zero_grad()
        cost, _ = evaluate(self.problem, self.control, self.solver, batch)
        loss = cost.mean(1)
        loss.sum().backward()
        self.optimizer.step()
        self.total.add_(loss.detach())
        self.start.add_(len(self.batch))
        return self.total

    def memory(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = [moment for p in parameters for moment in self.optimizer.state[p].values()]
        counters = [self.optimizer.count, self.start, self.total]
        return [*(p.data for p in parameters), *moments, *counters]


def captured(step: SideBySideStep, recorder: Recorder) -> Callable[[], object]:
    """The step as one recording, such as a CUDA graph that launches all its kernels at once.

    The networks are left as they were.
    """
    memory = step.memory()
    saved = [tensor.clone() for tensor in memory]
    for _ in range(WARM_UP):
        recorder.warm_up(step)
    for tensor, value in zip(memory, saved, strict=True):
        tensor.copy_(value)
    saved.clear()
    # The gradients of the recording live in memory of its own.
    step.optimizer.zero_grad()
    replay, _ = recorder.record(step)
    return replay
