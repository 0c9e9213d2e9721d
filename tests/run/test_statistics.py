"""The statistics of batch norm are followed once a batch, however its gradient is found."""

import pytest
import torch

from ocnet import (
    Adjoint,
    Backprop,
    Checkpoint,
    Euler,
    evaluate,
    Solver,
    TorchDiffEq,
)
from ocnet.networks import resnet
from ocnet.solver import Gradient
from tests.support.blobs import Blobs


def buffers_after(solver: Solver) -> dict[str, torch.Tensor]:
    """All buffers of a network after one forward and backward pass in training mode."""
    torch.manual_seed(0)
    problem = Blobs(dropout=0.0)
    control = problem.initial_control(5)
    sample = problem.data("train")
    costs, _ = evaluate(problem, control, solver, sample)
    costs.mean().backward()
    return dict(control.named_buffers())


def test_a_checkpointed_layer_follows_a_batch_once() -> None:
    once = buffers_after(Euler(5))
    found = buffers_after(Euler(5, gradient=Checkpoint()))
    torch.testing.assert_close(found, once, rtol=0, atol=0)
    assert all(value == 1 for name, value in once.items() if "num_batches" in name)


def test_the_adjoint_meets_the_batch_again_but_does_not_follow_it() -> None:
    once, found = (buffers_after(TorchDiffEq("euler", 5, gradient=g)) for g in WAYS)
    torch.testing.assert_close(found, once, rtol=0, atol=0)
    assert all(value == 1 for name, value in found.items() if "num_batches" in name)


WAYS = (Backprop(), Adjoint())


@pytest.mark.parametrize("heads", ["WS", "full"])
def test_so_do_the_read_outs_of_a_stage_cost(heads: str) -> None:
    def after(gradient: Gradient) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        network = resnet(4, (4, 8), size=8, gamma=0.1, heads=heads)  # pyright: ignore
        images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        network.solver = Euler(4, gradient=gradient)
        norms = [m for m in network.modules() if hasattr(m, "momentum")]
        follows = [m.track_running_stats for m in norms]
        labels = torch.arange(6)
        trajectory = network.trajectory(images, labels)
        cost = trajectory.running_cost + network.problem.terminal_cost(
            trajectory.states[-1], labels
        )
        cost.mean().backward()
        assert [m.track_running_stats for m in norms] == follows
        return dict(network.named_buffers())

    torch.testing.assert_close(after(Checkpoint()), after(Backprop()), rtol=0, atol=0)
