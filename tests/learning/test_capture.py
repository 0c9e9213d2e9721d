"""Recorded steps, with a stand-in for the graph that keeps its rules: fixed places in memory."""

import copy

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Chebyshev,
    Checkpoint,
    Euler,
    Heun,
    NonFiniteCost,
    Sample,
    Solver,
    TorchDiffEq,
    training,
)
from ocnet.control.base import constants
from ocnet.learning import Batches, ConstantSchedule, Engine
from ocnet.learning.capture import Captured, obstacle, on_host
from ocnet.run import Config, Job
from tests.support.blobs import Blobs
from tests.support.tape import Tape


def trained(
    monkeypatch: pytest.MonkeyPatch | None, samples: list[Sample], optimizer: str = "adam"
) -> tuple[list[Tensor], list[tuple[float, float]], list[str]]:
    """Parameters, costs and gradient norms, recorded if there is something to patch it in with."""
    torch.manual_seed(0)
    problem = Blobs(dropout=0.0)
    control = problem.initial_control(3)
    parameters = [*control.parameters(), *problem.parameters()]
    made = Config.of("", optimizer=optimizer, lr=0.1).descent.make(problem, control)
    engine = Engine("cpu", capture=monkeypatch is not None, accumulate=2)

    def live() -> list[Tensor]:
        states = [z for state in made.state.values() for z in state.values()]
        return [*control.buffers(), *(z for z in states if isinstance(z, Tensor))]

    tape = Tape(parameters, live)
    if monkeypatch is not None:
        made.param_groups[0]["lr"] = torch.tensor(0.1)
        monkeypatch.setattr(engine, "recorder", lambda *arguments: tape)
    steps = training(problem, control, Euler(3), made, samples, engine=engine, clip=0.5)
    schedule, records = ConstantSchedule(warmup=6), []
    for step in range(len(samples)):
        schedule.apply(made, step)
        records.append(next(steps)[1:3])
    return [p.detach() for p in parameters], records, tape.log


def batches(sizes: list[int]) -> list[Sample]:
    problem, generator = Blobs(), torch.Generator().manual_seed(5)
    return [problem.sample(n, generator) for n in sizes]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_recorded_steps_compute_what_others_do(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    samples = batches([8] * 10)
    found, costs, log = trained(monkeypatch, samples, optimizer)
    expected, plain, _ = trained(None, samples, optimizer)
    torch.testing.assert_close(costs, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    # Gradient and update take turns.
    assert log == ["warm up"] * 6 + ["record", "replay"] * 2 + ["replay"] * 12


def test_another_shape_is_recorded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = batches([8] * 5 + [6] * 5 + [8] * 5)
    found, costs, log = trained(monkeypatch, samples)
    expected, plain, _ = trained(None, samples)
    torch.testing.assert_close(costs, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert log.count("record") == 6 and log.count("warm up") == 18


def test_a_cost_that_is_not_finite_is_found_in_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [*batches([8] * 6), Sample(torch.full((8, 2), 1e308), torch.zeros(8).long())]
    with pytest.raises(NonFiniteCost, match="at step 6") as caught:
        trained(monkeypatch, samples)
    assert all(torch.isfinite(p).all() for p in caught.value.parameters)


def test_arguments_are_copied_to_where_the_recording_reads_them() -> None:
    tape = Tape([], list)
    double = Captured(lambda x, y: 2 * x, tape, warm_up=1)
    seen = [double(torch.full((2,), float(k)), None).clone() for k in range(5)]
    assert [z[0].item() for z in seen] == [0, 2, 4, 6, 8]
    assert tape.log == ["warm up", "record", "replay", "replay", "replay", "replay"]


CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    "device, precision, processes, solver, optimizer, reason",
    [
        (torch.device("cpu"), "32", 1, Euler(2), "sgd", "only steps on a GPU .* device is cpu"),
        (CUDA, "32", 2, Euler(2), "sgd", "that 2 processes exchange"),
        (CUDA, "16", 1, Euler(2), "sgd", 'gradient scale of precision "16"'),
        (CUDA, "32", 1, Euler(2), "lbfgs", "LBFGS decides on the host"),
        (CUDA, "32", 1, TorchDiffEq(), "sgd", "dopri5.* decides on the host"),
        (CUDA, "32", 1, Heun(2, gradient=Checkpoint()), "sgd", r"with gradient=Backprop\(\)"),
        (CUDA, "bf16", 1, Heun(2), "adamw", None),
    ],
)
def test_what_forbids_it_is_said(
    device: torch.device,
    precision: str,
    processes: int,
    solver: Solver,
    optimizer: str,
    reason: str | None,
) -> None:
    problem = Blobs()
    control = problem.initial_control(2)
    made = Config.of("", optimizer=optimizer).descent.make(problem, control)
    found = obstacle(device, precision, processes, control, solver, made)
    assert (found is None) == (reason is None)
    if reason is not None:
        with pytest.raises(ValueError, match=reason):
            raise ValueError(found)


def test_a_control_that_the_host_looks_up_is_refused() -> None:
    made = torch.optim.SGD([nn.Parameter(torch.ones(1))])
    control = Chebyshev(0, 1, 2, 3)
    assert "Chebyshev is looked up" in str(obstacle(CUDA, "32", 1, control, Euler(2), made))


def test_numbers_are_copied_to_a_device_once() -> None:
    """The device "meta" stands for one that is not the CPU."""
    meta, cpu = torch.device("meta"), torch.device("cpu")
    once = constants([0.1, 0.2], torch.float32, meta)
    assert constants([0.1, 0.2], torch.float32, meta) is once
    assert constants([0.1, 0.3], torch.float32, meta) is not once
    assert constants([0.1, 0.2], torch.float64, meta).dtype == torch.float64
    assert constants([1.0], torch.float32, cpu) is not constants([1.0], torch.float32, cpu)


def test_without_a_gpu_training_goes_on_and_says_so() -> None:
    problem = Blobs(dropout=0.0)
    control = problem.initial_control(3)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    engine = Engine("cpu", capture=True)
    steps = training(problem, control, Euler(3), optimizer, Batches(problem, 8), engine=engine)
    with pytest.warns(UserWarning, match="capture is left out: only steps on a GPU"):
        next(steps)


def test_a_checkpoint_knows_nothing_of_it() -> None:
    """A recorded run's rate lies on the device; its checkpoint goes on anywhere."""
    job = Job(Config.of("", iterations=1, device="cpu", lr=0.5, capture=True), Blobs())
    assert job.obstacle is not None and not job.engine.capture
    plain = copy.deepcopy(job.optimizer.state_dict())
    job.optimizer.param_groups[0].update(lr=torch.tensor(0.5), capturable=True)
    assert on_host(job.optimizer.state_dict()) == plain
