"""Batches, schedules, averages, stopping and measures, each against its definition."""

import math
from collections.abc import Callable

import pytest
import torch

from ocnet import Euler, Sample
from ocnet.learning import (
    Average,
    Batches,
    ConstantSchedule,
    CosineSchedule,
    Engine,
    measure,
    Schedule,
    StepSchedule,
    Stopping,
)
from ocnet.networks import resnet
from tests.support.blobs import Blobs, Drawn


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_epoch_goes_through_all_data_once() -> None:
    problem = Blobs(n=23, noise=0.0)
    batches = Batches(problem, 5, generator())
    steps = iter(batches)
    assert batches.per_epoch == 4
    epochs = [torch.cat([next(steps).x0 for _ in range(4)]) for _ in range(3)]
    everything = {tuple(x) for x in problem.data("train").x0.tolist()}
    for epoch in epochs:
        seen = {tuple(x) for x in epoch.tolist()}
        assert len(seen) == 20 and seen < everything
    assert not torch.equal(epochs[0], epochs[1])
    assert batches.epoch == 3


@pytest.mark.parametrize("make", [Blobs, Drawn])
@pytest.mark.parametrize("stop", [1, 5, 7, 10])
def test_batches_go_on_where_they_stopped(make: Callable, stop: int) -> None:
    def some(batches: Batches, n: int) -> list[Sample]:
        steps = iter(batches)
        return [next(steps) for _ in range(n)]

    problem = make()
    unbroken = some(Batches(problem, 8, generator()), 14)
    first, second = Batches(problem, 8, generator()), Batches(problem, 8, generator(99))
    some(first, stop)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(some(second, 14 - stop), unbroken[stop:], rtol=0, atol=0)


def test_a_small_data_set_is_one_batch() -> None:
    batches = Batches(Blobs(n=6), 100, generator())
    assert batches.per_epoch == 1 and len(next(iter(batches)).x0) == 6


def factors(schedule: Schedule, n: int) -> list[float]:
    """The learning rates of the first steps, of an optimiser made with rate 2."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    rates = []
    for step in range(n):
        schedule.apply(optimizer, step)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def torch_factors(make: Callable, n: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = make(optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_a_rate_in_a_tensor_stays_in_its_place() -> None:
    """A recorded step reads it from there."""
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    rate = optimizer.param_groups[0]["lr"]
    CosineSchedule(4, warmup=2).apply(optimizer, 0)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.25)


def test_schedules_are_those_of_torch() -> None:
    from torch.optim import lr_scheduler

    cosine = torch_factors(lambda o: lr_scheduler.CosineAnnealingLR(o, 20), 20)
    steps = torch_factors(lambda o: lr_scheduler.MultiStepLR(o, [5, 12], gamma=0.3), 20)
    torch.testing.assert_close(factors(CosineSchedule(20), 20), cosine)
    torch.testing.assert_close(factors(StepSchedule([5, 12], 0.3), 20), steps)
    assert factors(ConstantSchedule(), 3) == [2, 2, 2]


def test_a_warm_up_grows_linearly() -> None:
    assert factors(ConstantSchedule(warmup=4), 6) == [0.5, 1, 1.5, 2, 2, 2]
    rates = factors(CosineSchedule(14, warmup=4), 14)
    torch.testing.assert_close(rates[4:], [1 + math.cos(math.pi * k / 10) for k in range(10)])


def test_schedules_name_what_is_off() -> None:
    with pytest.raises(ValueError, match="warmup < n_steps, but got warmup=5 and n_steps=5"):
        CosineSchedule(5, warmup=5)
    with pytest.raises(ValueError, match=r"milestones must increase, but got \[3, 2\]"):
        StepSchedule([3, 2])


def test_the_average_is_its_recursion() -> None:
    p = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    count = torch.tensor(3)
    average = Average([p, count], decay=0.5)
    expected = p.detach().clone()
    for k in range(20):
        p.data.add_(k)
        average.update()
        decay = min(0.5, (1 + k) / (10 + k))
        expected = decay * expected + (1 - decay) * p.detach()
    trained = p.detach().clone()
    with average.applied():
        torch.testing.assert_close(p.detach(), expected)
    assert torch.equal(p.detach(), trained)
    with pytest.raises(ValueError, match="0 < decay < 1, but got decay=1"):
        Average([p], 1.0)


def test_stopping_counts_failures_in_a_row() -> None:
    stopping = Stopping(patience=2)
    seen = [
        (stopping.improves(cost), stopping.is_over) for cost in (3.0, 2.0, math.nan, 1.0, 1.0, 4.0)
    ]
    assert seen == [
        (True, False), (True, False), (False, False), (True, False), (False, False), (False, True),
    ]  # fmt: skip
    assert stopping.best == 1
    assert not Stopping().is_over
    hopeless = Stopping(patience=2)
    assert [(hopeless.improves(math.inf), hopeless.is_over) for _ in range(2)] == [
        (False, False), (False, True),
    ]  # fmt: skip


def test_measures_are_means_in_evaluation_mode() -> None:
    problem = Blobs(dropout=0.5)
    control = problem.initial_control(3)
    sample = problem.data("test")
    parts = measure(problem, control, Euler(3), sample, batch_size=7)
    whole = measure(problem, control, Euler(3), sample)
    assert parts == pytest.approx(whole, rel=1e-12)
    assert control.training and problem.training
    control.eval()
    x = problem.embedding(sample.x0)
    for layer in control.layers:  # pyright: ignore
        x = x + layer(x)
    y = problem.head(x)
    assert whole["accuracy"] == (y.argmax(-1) == sample.target).double().mean().item()
    expected = torch.nn.functional.cross_entropy(y, sample.target)  # pyright: ignore
    assert whole["cost"] == pytest.approx(expected.item())


@pytest.mark.parametrize("option", ["channels_last", "compile"])
def test_convolutions_that_corrupt_memory_on_a_cpu_are_refused(option: str) -> None:
    narrow, wide = (resnet(depth=2, widths=widths, size=8) for widths in ((4, 8), (8, 8)))
    engine = Engine("cpu", **{option: True})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=f"{option}.* but got 4: torch corrupts memory"):
        engine.place(narrow.problem, narrow.control)
    engine.place(wide.problem, wide.control)
    Engine("cpu").place(narrow.problem, narrow.control)
