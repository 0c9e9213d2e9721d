"""The loop against a loop that is written out, and what happens when a cost is not finite."""

import copy
import functools
from collections.abc import Iterator

import pytest
import torch
from torch import nn, Tensor

from ocnet import (
    Euler,
    Layers,
    NonFiniteCost,
    Sample,
    Solver,
    SolverError,
    train,
    training,
)
from ocnet.learning import Batches, Engine, measure
from ocnet.learning.failure import LastGood
from ocnet.modes import mode
from ocnet.networks import resnet
from ocnet.registry import named_solver
from tests.support.blobs import Blobs, Drawn


def network(norm: bool = True) -> tuple[Blobs, Layers, list[nn.Parameter]]:
    """A network without dropout, whose steps are then the same however they are carried out."""
    torch.manual_seed(0)
    problem = Blobs(dropout=0.0, norm=norm)
    control = problem.initial_control(3)
    assert isinstance(control, Layers)
    return problem, control, [*control.parameters(), *problem.parameters()]


def written_out(clip: float | None, steps: int) -> tuple[list[Tensor], list[tuple[float, float]]]:
    """A network trained by a loop of its own, which knows neither solver nor objective."""
    problem, control, parameters = network()
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    batches = iter(Batches(problem, 8, torch.Generator().manual_seed(3)))
    measured = []
    for _ in range(steps):
        x0, target = next(batches)
        x = problem.embedding(x0)
        for layer in control.layers:
            x = x + layer(x)
        cost = nn.functional.cross_entropy(problem.head(x), target)  # pyright: ignore
        optimizer.zero_grad()
        cost.backward()
        norm = nn.utils.clip_grad_norm_(parameters, float("inf") if clip is None else clip)
        optimizer.step()
        measured.append((cost.item(), norm.item()))
    return [p.detach() for p in parameters], measured


@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_loop_is_the_one_written_out(clip: float | None) -> None:
    problem, control, parameters = network()
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    batches = Batches(problem, 8, torch.Generator().manual_seed(3))
    steps = training(problem, control, Euler(3), optimizer, batches, clip=clip)
    records = [next(steps) for _ in range(10)]
    expected, measured = written_out(clip, 10)
    torch.testing.assert_close([record[1:3] for record in records], measured)
    torch.testing.assert_close([p.detach() for p in parameters], expected)
    assert [record.step for record in records] == list(range(10))


def test_a_batch_is_taken_when_its_step_comes() -> None:
    problem, control, parameters = network()
    given = []

    def batches() -> Iterator[Sample]:
        for batch in Batches(problem, 8, torch.Generator().manual_seed(3)):
            given.append(batch)
            yield batch

    steps = training(problem, control, Euler(3), torch.optim.SGD(parameters), batches())
    for n in (1, 2, 3):
        next(steps)
        assert len(given) == n


def trained(engine: Engine, dtype: torch.dtype, norm: bool = False) -> tuple[list, list[float]]:
    """Parameters and costs of ten steps; without batch norm the parts of a batch add up exactly."""
    torch.set_default_dtype(dtype)
    problem, control, parameters = network(norm)
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    batches = Batches(problem, 9, torch.Generator().manual_seed(3))
    steps = training(problem, control, Euler(3), optimizer, batches, engine=engine)
    costs = [next(steps).cost for _ in range(10)]
    return [p.detach() for p in parameters], costs


@pytest.mark.parametrize("accumulate", [2, 4, 9])
def test_accumulation_changes_nothing_but_memory(accumulate: int) -> None:
    whole = trained(Engine("cpu"), torch.float64)
    parts = trained(Engine("cpu", accumulate=accumulate), torch.float64)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("precision, tolerance", [("bf16", 0.02), ("16", 0.003)])
def test_half_precision_is_near(precision: str, tolerance: float) -> None:
    _, full = trained(Engine("cpu"), torch.float32, norm=True)
    engine = Engine("cpu", precision=precision)
    # The scale that it starts with is for larger networks: here the first step would overflow.
    engine.load_state_dict({**engine.state_dict(), "scale": 256.0} if precision == "16" else {})
    _, half = trained(engine, torch.float32, norm=True)
    assert half != full
    assert max(abs(a - b) for a, b in zip(half, full, strict=True)) < tolerance


def test_the_gradient_scale_adapts_and_is_saved() -> None:
    engine = Engine("cpu", precision="16")
    trained(engine, torch.float32)
    state = engine.state_dict()
    again = Engine("cpu", precision="16")
    again.load_state_dict(state)
    assert again.state_dict() == state and state["_growth_tracker"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiled_layers_compute_the_same() -> None:
    eager = trained(Engine("cpu"), torch.float64)
    compiled = trained(Engine("cpu", compile=True), torch.float64)
    torch.testing.assert_close(compiled, eager, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_layers_of_every_kind_are_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In training and evaluation and for batches of several sizes, with no version left out."""
    # All but the generation of machine code, which takes a minute.
    quick = functools.partialmethod(nn.Module.compile, backend="eager")
    monkeypatch.setattr(nn.Module, "compile", quick)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    network = resnet(6, widths=(2, 3, 4), channels=1, size=8)
    batches = [Sample(torch.randn(n, 1, 8, 8), torch.arange(n)) for n in (6, 4)]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    engine = Engine("cpu", compile=True)
    solver = network.solver
    steps = training(network.problem, network.control, solver, optimizer, batches, engine=engine)
    for _ in steps:
        with torch.no_grad(), mode(False, network):
            network(batches[0].x0)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 8
    assert "limit" not in "".join(record.getMessage() for record in caplog.records)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiled_dynamics_compute_the_same() -> None:
    def costs(engine: Engine) -> list[float]:
        problem = Drawn()
        control = problem.initial_control(5)
        optimizer = torch.optim.Adam(control.parameters(), lr=0.1)
        batches = Batches(problem, 4, torch.Generator().manual_seed(0))
        steps = training(problem, control, Euler(5), optimizer, batches, engine=engine)
        return [next(steps).cost for _ in range(5)]

    compiled = costs(Engine("cpu", compile=True))
    torch.testing.assert_close(compiled, costs(Engine("cpu")), rtol=1e-12, atol=0)


def test_channels_last_is_a_layout_and_changes_no_result() -> None:
    def after(channels_last: bool) -> tuple[float, Tensor, Tensor]:
        network = resnet(2, (8, 8), size=8, generator=torch.Generator().manual_seed(0))
        problem, control = network.problem, network.control
        engine = Engine("cpu", channels_last=channels_last)
        engine.place(problem, control)
        images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        sample = engine.to_device(Sample(images, torch.arange(4)))
        optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
        steps = training(problem, control, network.solver, optimizer, [sample] * 2, engine=engine)
        next(steps)
        return next(steps).cost, control.layers[0].conv1.weight, sample.x0  # pyright: ignore

    first, last = after(False), after(True)
    assert last[0] == pytest.approx(first[0], rel=1e-12)
    for tensors, layout in ((first, torch.contiguous_format), (last, torch.channels_last)):
        assert all(z.is_contiguous(memory_format=layout) for z in tensors[1:])


def test_lbfgs_finds_the_optimum() -> None:
    """The least cost of `x' = u`, `int x^2 + u^2` by five Euler steps is quadratic in `u`."""
    problem = Drawn()
    control = problem.initial_control(5)
    optimizer = torch.optim.LBFGS(control.parameters(), line_search_fn="strong_wolfe")
    x0 = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    history = train(
        problem, control, Euler(5), optimizer, n_steps=20, data=[(x0, None)], progress=False
    )
    # Backward Riccati recursion P <- h + P - (h P)^2 / (h + h^2 P) of the mean state, plus what
    # the open-loop control cannot reach: the spread around the mean.
    h, P = 0.2, torch.zeros(())
    for _ in range(5):
        P = h + P - (h * P) ** 2 / (h + h**2 * P)
    mean = x0.mean(0)
    spread = (x0 - mean).square().sum(-1).mean()
    torch.testing.assert_close(history.cost[-1], (P * mean.square().sum() + spread).item())


class Explosive(Drawn):
    """`x' = u`, but infinite from `t = 0.4` on once a control has grown."""

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        broken = (u.detach().abs().max() > 0.2) & (t > 0.3)
        return torch.where(broken, torch.inf, u).expand_as(x)


WAYS = [
    *(named_solver("euler", 5, way) for way in ("backprop", "checkpoint", "costate", "reversible")),
    *(named_solver("torchdiffeq:euler", 5, way) for way in ("backprop", "adjoint")),
]


@pytest.mark.parametrize("solver", WAYS, ids=repr)
def test_a_cost_that_is_not_finite_names_its_place(solver: Solver) -> None:
    """The layer and its time, whatever states the trajectory keeps."""
    problem = Explosive()
    control = problem.initial_control(5)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.5)
    good = []
    with pytest.raises(NonFiniteCost, match=r"at step \d+, .*at layer 3, time t=0.6") as caught:
        for _ in training(problem, control, solver, optimizer, [Sample(torch.ones(1, 2))] * 50):
            good.append(control.path.detach().clone())  # pyright: ignore
    error = caught.value
    assert error.layer == 3 and error.time == pytest.approx(0.6) and error.step == len(good) > 1
    # The parameters in place gave a finite cost; those kept in the error did not.
    torch.testing.assert_close(control.path.detach(), good[-2])  # pyright: ignore
    torch.testing.assert_close(error.parameters, [good[-1]])
    assert torch.isfinite(torch.tensor(measure(problem, control, Euler(5), error.sample)["cost"]))


def test_running_statistics_come_back_too() -> None:
    problem, control, parameters = network()
    problem.embedding.weight.data.fill_(10)
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    good, bad = problem.sample(8), Sample(torch.full((8, 2), 1e308), torch.zeros(8).long())
    steps = training(problem, control, Euler(3), optimizer, [good, bad])
    next(steps)
    before = copy.deepcopy(control.state_dict())
    with pytest.raises(NonFiniteCost):
        next(steps)
    after = {k: v for k, v in control.state_dict().items() if "running" in k}
    torch.testing.assert_close(after, {k: before[k] for k in after})


def test_the_last_good_values_of_any_layout_come_back() -> None:
    """Transposed, with channels last, part of a larger tensor, of another type, and a number."""
    wide = torch.arange(24.0).view(4, 6)
    image = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    gaps = [wide[:, 1:3], wide[::2, 4]]
    tensors = [torch.rand(3, 2).T, image, *gaps, torch.rand(3, dtype=torch.float32), torch.rand(())]
    before = [z.clone() for z in tensors]
    good = LastGood([*map(nn.Parameter, tensors)], nn.Module())
    good.keep()
    for z in tensors:
        z.mul_(2).add_(1)
    rest = wide[:, 0].clone()
    good.restore()
    torch.testing.assert_close(tensors, before, rtol=0, atol=0)
    torch.testing.assert_close(wide[:, 0], rest)


def test_data_that_are_not_finite_are_named() -> None:
    problem = Drawn()
    control = problem.initial_control(5)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    steps = training(problem, control, Euler(5), optimizer, [Sample(torch.full((1, 2), torch.nan))])
    with pytest.raises(ValueError, match="x0 holds NaN, in the batch of step 0"):
        next(steps)


class Breaking(Euler):
    """A solver that breaks down in its third solution."""

    calls = 0

    def solve(self, *arguments: object) -> object:  # pyright: ignore
        self.calls += 1
        trajectory = super().solve(*arguments)  # pyright: ignore
        if self.calls == 3:
            raise SolverError("broke down", 0.0, trajectory)
        return trajectory


def test_a_solver_that_breaks_down_leaves_good_parameters() -> None:
    problem = Drawn()
    control = problem.initial_control(5)
    optimizer = torch.optim.SGD(control.parameters(), lr=0.1)
    solver: Solver = Breaking(5)
    steps = training(problem, control, solver, optimizer, repeated(Sample(torch.ones(1, 2))))
    next(steps)
    good = control.path.detach().clone()  # pyright: ignore
    next(steps)
    with pytest.raises(SolverError):
        next(steps)
    torch.testing.assert_close(control.path.detach(), good)  # pyright: ignore


def repeated(sample: Sample) -> Iterator[Sample]:
    while True:
        yield sample


def test_lbfgs_and_a_gradient_scale_do_not_go_together() -> None:
    problem = Drawn()
    control = problem.initial_control(5)
    optimizer = torch.optim.LBFGS(control.parameters())
    engine = Engine("cpu", precision="16")
    steps = training(problem, control, Euler(5), optimizer, Batches(problem, 4), engine=engine)
    with pytest.raises(ValueError, match='L-BFGS needs precision "32" or "bf16", but got "16"'):
        next(steps)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match='precision must be "32", "bf16" or "16", but got .8.'):
        Engine("cpu", precision="8")
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or mps, but got 'tpu'"):
        Engine("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no cuda device"):
            Engine("cuda")
