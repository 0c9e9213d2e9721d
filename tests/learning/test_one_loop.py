"""Whatever takes gradient steps goes through one loop and has its guards."""

import copy
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn, Tensor

import ocnet
from ocnet import NonFiniteCost, Sample
from ocnet.analysis import calibrate
from ocnet.analysis.growth import monotone, penalised
from ocnet.cli.networks import TrainedNetwork
from ocnet.direct import Adam, LBFGS
from ocnet.networks import ResNet
from ocnet.run import Config, execute, RunFolder
from tests.support.networks import settled


def network(loss: Callable[..., Tensor] | None = None) -> tuple[ResNet, Sample]:
    """A small network with statistics everywhere, and images."""
    return settled(depth=2, widths=(3, 4), loss=loss)


def test_nothing_else_makes_steps_of_an_optimizer() -> None:
    steps = re.compile(r"\b(?:optimizer|optimiser|opt|adam|sgd|lbfgs)\.step\(")
    root = Path(ocnet.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if steps.search(path.read_text("utf-8"))
    }
    assert found == {"learning/descent.py", "learning/engine.py"}


def by_hand(net: ResNet, sample: Sample, decay: float, rate: float, steps: int) -> list[float]:
    """The objectives of gradient descent with a line search, written out."""
    net.eval()
    found = []
    branches = list(net.control.parameters())
    own = {id(p) for p in branches}
    every = [*branches, *(p for p in net.parameters() if id(p) not in own)]

    def J() -> Tensor:
        loss = nn.functional.cross_entropy(net(sample.x0), sample.target)  # pyright: ignore
        return loss + decay / 2 * sum(p.square().sum() for p in branches)

    for _ in range(steps):
        now = J()
        found.append(now.item())
        g = torch.autograd.grad(now, every, allow_unused=True)
        g = [torch.zeros_like(p) if v is None else v for p, v in zip(every, g, strict=True)]
        slope = sum(float(v.square().sum()) for v in g)
        start = [p.detach().clone() for p in every]
        with torch.no_grad():
            while True:
                for p, s, v in zip(every, start, g, strict=True):
                    p.copy_(s - rate * v)
                if J() <= now - 1e-4 * rate * slope:
                    break
                rate /= 2
        rate *= 1.5
    return found


@pytest.mark.parametrize("rate", [0.1, 50.0])
def test_monotone_descent_is_the_one_written_out(rate: float) -> None:
    net, sample = network()
    expected = by_hand(copy.deepcopy(net), sample, 1e-2, rate, 6)
    values = monotone(net, sample, 1e-2, rate)
    for J in expected:
        found = next(values)
        torch.testing.assert_close(found, J, rtol=1e-12, atol=0)
        # It is that of the network as it is.
        with torch.no_grad():
            torch.testing.assert_close(penalised(net, sample, 1e-2).item(), J)
    assert expected[-1] < expected[0]


def test_monotone_descent_refuses_steps_that_overflow() -> None:
    net, sample = network(lambda y, target: y.square().sum(-1).exp())
    objectives = list(itertools.islice(monotone(net, sample, rate=1e6), 4))
    assert all(b <= a for a, b in itertools.pairwise(objectives))
    assert objectives[-1] < objectives[0] < float("inf")


def test_monotone_descent_names_an_objective_that_is_not_finite() -> None:
    net, sample = network(lambda y, target: (y.sum(-1) - 1e9).log())
    values = monotone(net, sample)
    with pytest.raises(NonFiniteCost, match="cost nan at step 0, though every state is finite"):
        list(itertools.islice(values, 2))
    net, sample = network()
    sample.x0[3, 0, 1, 1] = torch.nan
    with pytest.raises(ValueError, match="x0 holds NaN, in the batch of step 0"):
        list(itertools.islice(monotone(net, sample), 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run with stage cost."""
    torch.set_default_dtype(torch.float32)
    settings = ["depth=2", "widths=(4, 4)", "gamma=0.1"]
    config = Config.of(
        "problems.images:Digits", settings, device="cpu", iterations=1, weight_decay=1e-3
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    execute(RunFolder(folder), config, progress=False)
    return folder


def test_fine_tuning_in_the_shell_is_the_loop_written_out(run: Path) -> None:
    torch.set_default_dtype(torch.float32)
    trained = TrainedNetwork(run)
    net, gamma = trained.network, trained.network.problem.gamma
    trained.job.batches.per_epoch = 3
    plain, batches = copy.deepcopy(net).train(), copy.deepcopy(trained.job.batches)
    trained.tune(net, 2)
    optimizer = torch.optim.SGD(plain.parameter_groups(0.01, 1e-3), momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    for _, (images, labels) in zip(range(6), batches, strict=False):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(images), labels).backward()  # pyright: ignore
        optimizer.step()
        schedule.step()
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert any(gamma) and net.problem.gamma == gamma and not net.training


def test_fine_tuning_that_diverges_is_named(run: Path) -> None:
    torch.set_default_dtype(torch.float32)
    trained = TrainedNetwork(run)
    problem, gamma = trained.network.problem, trained.network.problem.gamma
    problem.loss = lambda y, target: y.sum(-1) * torch.inf
    with pytest.raises(NonFiniteCost, match="at step 0"):
        trained.tune(trained.network, 1)
    assert problem.gamma == gamma and not trained.network.training


def test_temperatures_of_outputs_that_are_not_finite_are_refused() -> None:
    net, sample = network()
    calibrate(net, sample)
    with torch.no_grad():
        net.problem.head.fc.weight[0, 0] = torch.nan  # pyright: ignore
    with pytest.raises(ValueError, match="x0 holds NaN"):
        calibrate(net, sample)


class Blow(ocnet.Problem):
    """`x' = x^2 + u` from 0.5: it blows up where the control is large."""

    state_shape, control_shape, t1 = (1,), (1,), 1.0

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x**2 + u

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 0]

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.full((batch_size, 1), 0.5))


@pytest.mark.parametrize("method", [LBFGS(), Adam(lr=100.0, max_iterations=200)])
def test_first_order_solve_ends_where_the_cost_is_finite(method: LBFGS | Adam) -> None:
    found = ocnet.solve(Blow(), method=method, solver=ocnet.Euler(10), compile=False)
    assert found.status in ("stalled", "diverged", "unbounded", "exhausted")
    assert torch.isfinite(found.cost).all() and torch.isfinite(found.u).all()
