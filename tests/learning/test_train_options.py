"""`train` with a scheduler, clipping, validation, early stopping and a callback."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import lr_scheduler

from ocnet import Euler, evaluate, PiecewiseConstant, Problem, Sample, SupervisedProblem, train
from ocnet.learning import CosineSchedule, Penalty, Record, StepSchedule


class Steer(Problem):
    """`x' = u` from `x0` to the target, with `l = u^2 / 2`."""

    state_shape, control_shape = (1,), (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u.expand_as(x)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u.square().sum(-1) / 2

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        return (x - target).square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        x0 = torch.randn(batch_size, 1, generator=generator)
        return Sample(x0, torch.ones(batch_size, 1))


def data(n: int = 4, size: int = 6, seed: int = 0) -> list[Sample]:
    generator = torch.Generator().manual_seed(seed)
    return [Steer().sample(size, generator) for _ in range(n)]


def start() -> tuple[PiecewiseConstant, torch.optim.Optimizer]:
    control = PiecewiseConstant(0.0, 1.0, 5, (1,))
    with torch.no_grad():
        control.path.copy_(torch.linspace(3, -1, 5)[:, None])
    return control, torch.optim.SGD(control.parameters(), 0.5, momentum=0.5)


def by_hand(
    n_steps: int,
    make: Callable[[torch.optim.Optimizer], Any] | None = None,
    clip: float | None = None,
) -> tuple[Tensor, list[float]]:
    """The control and the costs of a loop that is written out."""
    control, optimizer = start()
    scheduler = None if make is None else make(optimizer)
    batches, costs = data(), []
    for k in range(n_steps):
        optimizer.zero_grad()
        cost = evaluate(Steer(), control, Euler(5), batches[k % 4])[0].mean()
        cost.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(control.parameters(), clip)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        costs.append(cost.item())
    return control.path.detach(), costs


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.ExponentialLR(o, 0.7),
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=9),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, 1.0, 3), lr_scheduler.StepLR(o, 2)], [3]
        ),
        lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ExponentialLR(o, 0.9)]),
    ],
)
def test_a_scheduler_of_torch_goes_on_after_each_step(make: Callable[..., Any]) -> None:
    expected, costs = by_hand(8, make, clip=0.4)
    control, optimizer = start()
    scheduler = make(optimizer)
    history = train(
        Steer(), control, Euler(5), optimizer, n_steps=8, data=data(), progress=False,
        scheduler=scheduler, clip=0.4,
    )  # fmt: skip
    torch.testing.assert_close(control.path.detach(), expected)
    torch.testing.assert_close(history.cost, costs)
    plain, _ = by_hand(8)
    assert not torch.allclose(plain, expected, rtol=1e-2)


@pytest.mark.parametrize("schedule", [CosineSchedule(8), StepSchedule([2, 5], warmup=3)])
def test_a_schedule_gives_the_rate_of_each_step(schedule: Any) -> None:
    expected, _ = by_hand(8, lambda o: lr_scheduler.LambdaLR(o, schedule))
    control, optimizer = start()
    rates = []
    train(
        Steer(), control, Euler(5), optimizer, n_steps=8, data=data(), progress=False,
        scheduler=schedule, after_step=lambda record: rates.append(optimizer.param_groups[0]["lr"]),
    )  # fmt: skip
    torch.testing.assert_close(control.path.detach(), expected)
    assert rates == [0.5 * schedule(k) for k in range(8)]


def validated(n_steps: int, **options: Any) -> tuple[Any, PiecewiseConstant, list[Tensor]]:
    """A training that gets worse in the end, with the controls after each step."""
    control, optimizer = start()
    seen = [control.path.detach().clone()]

    def after_step(record: Record) -> None:
        seen.append(control.path.detach().clone())
        if record.step == 5:
            optimizer.param_groups[0]["lr"] = -0.2

    history = train(
        Steer(), control, Euler(5), optimizer, n_steps=n_steps, data=data(), progress=False,
        validation=data(1, 30, seed=9)[0], after_step=after_step, **options,
    )  # fmt: skip
    return history, control, seen


def test_the_best_model_is_in_place_at_the_end() -> None:
    history, control, seen = validated(12, evaluate_every=2)
    assert [v.step for v in history.validations] == [0, 2, 4, 6, 8, 10, 12]
    sample = data(1, 30, seed=9)[0]
    for step, measures in history.validations:
        control.path.data.copy_(control.path.data)
        at = PiecewiseConstant(0.0, 1.0, 5, (1,))
        at.path.data.copy_(seen[step])
        cost = evaluate(Steer(), at, Euler(5), sample)[0].mean().item()
        assert measures["cost"] == pytest.approx(cost)
    costs = {step: measures["cost"] for step, measures in history.validations}
    assert history.best_step == min(costs, key=costs.__getitem__) not in (0, 12)
    torch.testing.assert_close(control.path.detach(), seen[history.best_step], rtol=0, atol=0)
    assert len(history.records) == 12


def test_training_ends_when_the_patience_does() -> None:
    history, control, seen = validated(60, evaluate_every=1, patience=3)
    best = history.best_step
    assert [v.step for v in history.validations][-1] == best + 3 == len(history.records)
    torch.testing.assert_close(control.path.detach(), seen[best], rtol=0, atol=0)


def test_the_last_step_is_validated_and_the_rest_by_default_now_and_then() -> None:
    history, _, _ = validated(45, evaluate_every=30)
    assert [v.step for v in history.validations] == [0, 30, 45]
    history, _, _ = validated(45)
    assert [v.step for v in history.validations] == [*range(0, 45, 2), 45]


class Learned(Steer, SupervisedProblem):
    """With a data set of 12 samples, and a score."""

    def data(self, split: str) -> Sample | None:
        return data(1, {"train": 12, "validation": 8}.get(split, 4))[0]

    def score(self, x: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        return {"size": x.abs().sum(-1)}


def test_a_data_set_is_validated_each_epoch_with_its_scores() -> None:
    problem, (control, optimizer) = Learned(), start()
    history = train(
        problem, control, Euler(5), optimizer, n_steps=7, batch_size=4, progress=False,
        validation=problem.data("validation"),
    )  # fmt: skip
    assert [v.step for v in history.validations] == [0, 3, 6, 7]
    assert all(set(v.measures) == {"cost", "size"} for v in history.validations)


def test_a_plateau_lowers_the_rate_by_the_cost_of_validations() -> None:
    control, optimizer = start()
    options: dict[str, Any] = {"factor": 0.1, "patience": 0, "threshold": 0.5}
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    history = train(
        Steer(), control, Euler(5), optimizer, n_steps=6, data=data(), progress=False,
        validation=data(1)[0], evaluate_every=2, scheduler=scheduler,
    )  # fmt: skip
    _, other = start()
    expected = lr_scheduler.ReduceLROnPlateau(other, **options)
    for _, measures in history.validations[1:]:
        expected.step(measures["cost"])
    rate = optimizer.param_groups[0]["lr"]
    assert rate == other.param_groups[0]["lr"] and rate < 0.5


def test_a_callback_sees_each_step_and_ends_training() -> None:
    control, optimizer = start()
    seen: list[Record] = []

    def after_step(record: Record) -> bool:
        seen.append(record)
        return record.step == 4

    history = train(
        Steer(), control, Euler(5), optimizer, n_steps=50, data=data(), progress=False,
        after_step=after_step, validation=data(2, 3),
    )  # fmt: skip
    assert seen == history.records and len(seen) == 5
    assert [v.step for v in history.validations] == [0, 2, 4, 5]


def test_validation_has_the_cost_that_is_trained() -> None:
    class Bounded(Steer):
        control_bounds = (-0.1, 0.1)

    control, optimizer = start()
    sample = data(1, 5)[0]
    history = train(
        Bounded(), control, Euler(5), optimizer, n_steps=1, data=data(), progress=False,
        validation=sample, constraints=Penalty(10.0),
    )  # fmt: skip
    fresh, _ = start()
    excess = (fresh.path.detach().abs() - 0.1).clamp(min=0).square().mean()
    plain = evaluate(Steer(), fresh, Euler(5), sample)[0].mean() + 10 * excess
    assert history.validations[0].measures["cost"] == pytest.approx(plain.item())


def scheduler_of_another() -> Any:
    return lr_scheduler.StepLR(torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]), 3)


@pytest.mark.parametrize(
    "options, error, line",
    [
        (lambda o: {"scheduler": scheduler_of_another()}, ValueError,
         "scheduler must be one of the optimizer that trains, but this StepLR is of another Adam"),
        (lambda o: {"scheduler": lr_scheduler.ReduceLROnPlateau(o)}, ValueError,
         "ReduceLROnPlateau needs validation="),
        (lambda o: {"scheduler": 0.1}, TypeError, "scheduler must be .* but got 0.1"),
        (lambda o: {"clip": 0.0}, ValueError, "0 < clip .* clip=0.0"),
        (lambda o: {"clip": float("nan")}, ValueError, "clip=nan"),
        (lambda o: {"patience": 3}, ValueError, "need validation="),
        (lambda o: {"evaluate_every": 3}, ValueError, "need validation="),
        (lambda o: {"validation": data(1)[0], "patience": 0}, ValueError, "patience >= 1"),
        (lambda o: {"validation": data(1)[0], "evaluate_every": 0}, ValueError,
         "evaluate_every >= 1"),
        (lambda o: {"validation": 3}, TypeError, "validation must be a sample or batches"),
        (lambda o: {"validation": []}, ValueError, "validation holds no batches"),
        (lambda o: {"validation": [Sample(torch.ones(2, 1)), 3]}, TypeError,
         "validation, batch 1: .* it is int"),
        (lambda o: {"validation": Sample(torch.tensor([[torch.nan]]), torch.ones(1, 1))},
         ValueError, "validation must be finite, but its x0"),
        (lambda o: {"validation": Sample(torch.ones(1, 1), torch.tensor([[torch.inf]]))},
         ValueError, "validation must be finite, but its target"),
        (lambda o: {"validation": Sample(torch.ones(0, 1), torch.ones(0, 1))}, ValueError,
         "sample"),
        (lambda o: {"after_step": 3}, TypeError, "after_step must be a function"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_line(
    options: Callable[..., dict[str, Any]], error: type[Exception], line: str
) -> None:
    control, optimizer = start()
    before = control.path.detach().clone()
    with pytest.raises(error, match=line) as caught:
        train(
            Steer(), control, Euler(5), optimizer, n_steps=2, data=data(), progress=False,
            **options(optimizer),
        )  # fmt: skip
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(control.path.detach(), before, rtol=0, atol=0)
