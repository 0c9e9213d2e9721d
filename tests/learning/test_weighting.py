"""The weight of the stage cost as a function of the step: costs, own heads, exact resume."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ocnet import evaluate, training
from ocnet.learning import (
    ConstantSchedule,
    CosineSchedule,
    GammaSchedule,
    Record,
    Schedule,
    StepSchedule,
)
from ocnet.networks import ResNet
from ocnet.run import Config, execute, RunFolder
from ocnet.run.loop import Log
from tests.support.networks import batch, small


N = 8
SCHEDULES = [CosineSchedule(N), StepSchedule([3, 5]), ConstantSchedule(warmup=4)]
GAMMA = (0.5, 0.0, 0.25)

RUN = Config.of(
    "problems.images:Digits",
    ["depth=2", "widths=(4,)", "heads=full", "gamma=0.5"],
    iterations=N,
    batch_size=16,
    gamma_schedule="cosine",
    gamma_warmup=3,
    evaluate_every=2,
    checkpoint_every=0.0,
    device="cpu",
)


def trained(schedule: Schedule, make: Any, only_heads: bool) -> tuple[ResNet, list[float]]:
    """A network after `N` steps, and the cost of each."""
    network = small(heads="full", depth=3, widths=(4,), gamma=GAMMA)
    groups = network.parameter_groups(0.05)
    if only_heads:
        network.requires_grad_(False)
        for p in network.problem.readouts.parameters():
            p.requires_grad_()
        groups = [groups[2], groups[4]]
    optimizer = make(groups)
    rates = [group["lr"] for group in optimizer.param_groups]
    weights = GammaSchedule(network.problem, schedule)
    batches = (batch(network, seed=seed) for seed in range(N))
    steps = training(network.problem, network.control, network.solver, optimizer, batches)
    costs = []
    for step in range(N):
        with weights.applied(optimizer, step):
            costs.append(next(steps).cost)
        assert network.problem.gamma == GAMMA
        assert [group["lr"] for group in optimizer.param_groups] == rates
    return network, costs


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_own_heads_learn_as_if_gamma_never_changed(schedule: Schedule) -> None:
    """With momentum, and with what Adam keeps."""
    for make in (
        lambda groups: torch.optim.SGD(groups, momentum=0.9),
        lambda groups: torch.optim.Adam([{**g, "lr": 0.01} for g in groups], eps=0.0),
    ):
        mine, whole = (trained(s, make, only_heads=True)[0] for s in (schedule, ConstantSchedule()))
        start = small(heads="full", depth=3, widths=(4,), gamma=GAMMA).problem.readouts
        for p, q, p0 in zip(
            mine.problem.readouts.parameters(), whole.problem.readouts.parameters(),
            start.parameters(), strict=True,
        ):  # fmt: skip
            torch.testing.assert_close(p - p0, q - p0, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_step_minimises_the_cost_of_its_weight(schedule: Schedule) -> None:
    frozen: Any = lambda groups: torch.optim.SGD([{**group, "lr": 0.0} for group in groups])
    _, costs = trained(schedule, frozen, only_heads=False)
    network = small(heads="full", depth=3, widths=(4,), gamma=GAMMA)
    for step, cost in enumerate(costs):
        network.problem.gamma = [schedule(step) * weight for weight in GAMMA]
        sample = batch(network, seed=step)
        expected, _ = evaluate(network.problem, network.control, network.solver, sample)
        assert cost == pytest.approx(expected.mean().item())
    assert schedule(0) != schedule(N - 1)


class Killed(BaseException):
    """What no code of the run answers."""


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_resumes_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    torch.set_default_dtype(torch.float32)
    config = RUN.changed(optimizer=optimizer)
    whole, broken, other = (RunFolder(tmp_path / name) for name in ("whole", "broken", "other"))
    execute(whole, config, progress=False)

    def killed(self: Log, record: Record, genuine: Any = Log.record) -> None:
        genuine(self, record)
        if record.step == 5:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Log, "record", killed)
        execute(broken, config, progress=False)
    assert broken.saved()[-1].stem == "000000005"
    assert broken.config() == config
    execute(broken, progress=False)
    for name in ("metrics.csv", "validation.csv", "best.safetensors", "result.json"):
        assert (broken.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert broken.saved()[-1].read_bytes() == whole.saved()[-1].read_bytes()
    execute(other, config.changed(gamma_schedule="step"), progress=False)
    assert other.metrics.read_bytes() != whole.metrics.read_bytes()
