"""Networks trained side by side are trained as each would be alone."""

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from examples.scaling_paper import pictures as plot
from examples.scaling_paper.classification import (
    chosen,
    grid_study,
    GridStudy,
    TrainingSetting,
    WeightStudy,
)
from ocnet import Euler, init, Sample, training
from ocnet.evaluation import evaluate
from ocnet.learning import Engine, Record
from ocnet.scaling.adam import NetworkwiseAdam
from ocnet.scaling.datasets import Images, load_images, split
from ocnet.scaling.sweep import run_study
from ocnet.scaling.training import (
    accuracy,
    bytes_per_network,
    networks_at_once,
    optimizer_of,
    SideBySide,
    train_side_by_side,
    Trained,
)
from tests.support.tape import Tape


KINDS = (init.FractionalNoise(0.3), init.FractionalNoise(0.8), init.SmoothValues())


@pytest.fixture
def data(generator: torch.Generator) -> Images:
    x = torch.randn(120, 6, generator=generator)
    sample = Sample(x, (x[:, 0] > 0).long())
    return split(sample, sample)


def networks(betas: tuple[float, ...], kinds: tuple[init.Kind, ...] = KINDS) -> SideBySide:
    return SideBySide(9, betas, kinds, d=5, n_in=6, n_out=2, seed=3)


def plain_logits(A: Tensor, B: Tensor, u: Tensor, x: Tensor, alpha: float) -> Tensor:
    """One network by loops."""
    h = x @ A.mT
    for k in range(len(u)):
        sigma = torch.where(h > 0, h, 0.8 * h)
        h = h + alpha * (sigma @ u[k, :, :-1].mT + u[k, :, -1])
    return h @ B.mT


def test_each_network_has_its_own_scaling(data: Images) -> None:
    betas = (0.2, 0.5, 1.0)
    problem = networks(betas)
    control = problem.initial_control(9)
    assert control.path.shape == (9, 3, 1, 5, 6) and (control.path[..., -1] == 0).all()
    torch.nn.init.normal_(control.path[..., -1], std=0.1)
    cost, trajectory = evaluate(problem, control, Euler(9), data.test)
    assert data.test.target is not None
    for i, beta in enumerate(betas):
        u = control.path[:, i, 0]
        logits = plain_logits(problem.embedding[i], problem.head[i], u, data.test.x0, 9**-beta)
        torch.testing.assert_close(problem.logits(trajectory.states[-1])[i], logits)
        expected = torch.nn.functional.cross_entropy(logits, data.test.target)
        torch.testing.assert_close(cost[i].mean(), expected)


RATES = torch.tensor([0.05, 0.01, 0.002])


def trained(
    problem: SideBySide, data: Images, rates: Tensor, compiled: bool = False
) -> tuple[Trained, Tensor]:
    """What training for six epochs makes of networks, and their weights after it."""
    control = problem.initial_control(9)
    generator = torch.Generator().manual_seed(1)
    result = train_side_by_side(
        problem, control, data, rates,
        epochs=6, batch_size=20, generator=generator, compiled=compiled,
    )  # fmt: skip
    return result, control.path.detach()


def test_training_together_is_training_apart(data: Images) -> None:
    betas = (0.3, 0.6, 1.0)
    result, path = trained(networks(betas), data, RATES)
    for i in range(3):
        found, alone = trained(networks((betas[i],), (KINDS[i],)), data, RATES[i : i + 1])
        torch.testing.assert_close(path[:, i], alone[:, 0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(result.loss[:, i], found.loss[:, 0])
        torch.testing.assert_close(result.test[i], found.test[0])
    assert (result.loss[-1] < result.loss[0]).all() and result.test[0] > 0.8


def test_training_is_that_of_a_plain_loop_with_the_optimizer_of_torch(data: Images) -> None:
    betas = (0.3, 0.6, 1.0)
    result, path = trained(networks(betas), data, RATES)
    x, y = data.train
    assert y is not None
    for i, beta in enumerate(betas):
        problem = networks((beta,), (KINDS[i],))
        u = problem.initial_control(9).path[:, 0, 0].detach().clone().requires_grad_()
        A, B = (v[0].detach().clone().requires_grad_() for v in problem.parameters())
        adam = torch.optim.Adam([u, A, B], lr=RATES[i].item())
        generator = torch.Generator().manual_seed(1)
        for epoch in range(6):
            adam.param_groups[0]["lr"] = RATES[i].item() * (0.1 if epoch >= 5 else 1.0)
            order, losses = torch.randperm(len(x), generator=generator), []
            for index in order.split(20):
                logits = plain_logits(A, B, u, x[index], 9**-beta)
                loss = torch.nn.functional.cross_entropy(logits, y[index])
                adam.zero_grad()
                loss.backward()
                adam.step()
                losses.append(loss.detach())
            torch.testing.assert_close(result.loss[epoch, i], torch.stack(losses).mean())
        torch.testing.assert_close(path[:, i, 0], u.detach(), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::Warning")
def test_compiled_layers_train_as_they_do_uncompiled(data: Images) -> None:
    betas = (0.3, 0.6, 1.0)
    (eager, path), (compiled, compiled_path) = (
        trained(networks(betas), data, RATES, flag) for flag in (False, True)
    )
    torch.testing.assert_close(path, compiled_path, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(eager.loss, compiled.loss)


def steps_of(
    problem: SideBySide, data: Sample, device: str = "cpu", engine: Engine | None = None
) -> tuple[list[Tensor], Iterator[Record]]:
    """Three networks trained on batches of twenty: all that a step changes, and the steps."""
    problem = problem.to(device)
    control = problem.initial_control(9).to(device)
    optimizer = optimizer_of(problem, control, RATES)
    x, y = data
    assert y is not None
    batches = [
        Sample(x[i : i + 20].to(device), y[i : i + 20].to(device)) for i in range(0, 100, 20)
    ]
    steps = training(
        problem, control, Euler(9), optimizer, batches, engine=engine, side_by_side=3
    )  # fmt: skip
    moments = [moment for state in optimizer.state.values() for moment in state.values()]
    return [*control.parameters(), *problem.parameters(), *moments, optimizer.count], steps


class Copies(TorchDispatchMode):
    """Collects the operations that read from the host or write to it."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        if any(word in str(func) for word in ("lift", "local_scalar", "nonzero", "_to_cpu")):
            self.found.append(str(func))
        return func(*args, **kwargs or {})


def test_an_update_of_all_networks_can_be_recorded(data: Images) -> None:
    problem = networks((0.3, 0.6, 1.0))
    control = problem.initial_control(9)
    optimizer = optimizer_of(problem, control, RATES)
    cost, _ = evaluate(problem, control, Euler(9), data.test)
    cost.sum().backward()
    addresses = [z.data_ptr() for state in optimizer.state.values() for z in state.values()]
    with Copies() as outside:
        torch.tensor(1.0)
    with Copies() as inside:
        optimizer.step()
    assert outside.found and not inside.found
    assert addresses == [z.data_ptr() for state in optimizer.state.values() for z in state.values()]


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_recorded_steps_are_those_that_are_not(
    data: Images, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = networks((0.3, 0.6, 1.0))
    expected, plain = steps_of(copy.deepcopy(problem), data.train, device)
    costs = [record.costs for record in plain]
    engine, log = Engine(device, capture=True), list[str]()
    found, recorded = steps_of(copy.deepcopy(problem), data.train, device, engine)
    if device == "cpu":
        # The stand-in for a graph, which keeps its rules.
        parameters = [p for p in found if isinstance(p, torch.nn.Parameter)]
        tape = Tape(parameters, lambda: [p.detach() for p in found])
        log = tape.log
        monkeypatch.setattr(engine, "recorder", lambda *arguments: tape)
    torch.testing.assert_close([record.costs for record in recorded], costs)
    torch.testing.assert_close(found, expected)
    assert device != "cpu" or log.count("replay") == 4


def test_memory_of_a_step_is_what_it_is_said_to_be(data: Images) -> None:
    problem = networks((0.3, 0.6, 1.0))
    control = problem.initial_control(9)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        evaluate(problem, control, Euler(9), Sample(*(v[:20] for v in data.train)))  # pyright: ignore
    weights = sum(p.numel() for p in (*control.parameters(), *problem.parameters()))
    predicted = 3 * bytes_per_network(9, 5, 6, 2, 20, itemsize=8) - 6 * 8 * weights
    activations = sum(kept.values()) - 8 * weights
    assert predicted == pytest.approx(activations, rel=0.2)


def test_networks_side_by_side_are_what_memory_holds() -> None:
    per_network = bytes_per_network(1000, 30, 784, 10, 128)
    assert networks_at_once(per_network, torch.device("cpu")) * per_network <= 2**29
    assert networks_at_once(2**40, torch.device("cpu")) == 1


def test_a_network_that_diverges_leaves_the_others_alone(data: Images) -> None:
    problem = networks((-300.0, 0.8, 1.0))
    control = problem.initial_control(9)
    result = train_side_by_side(problem, control, data, 0.05, epochs=2, batch_size=20)
    assert result.test.isnan().tolist() == [True, False, False]
    assert result.diverged_at == (0, None, None)
    assert torch.isfinite(control.path[:, 1:]).all()


def test_a_network_that_diverges_later_is_named_with_its_step(data: Images) -> None:
    problem = networks((0.3, 0.8, 1.0))
    control = problem.initial_control(9)
    rates = torch.tensor([0.01, 1e200, 0.01])
    result = train_side_by_side(problem, control, data, rates, epochs=2, batch_size=20)
    assert result.diverged_at == (None, 1, None)
    assert result.loss[:, 1].isnan().any() and result.loss[:, [0, 2]].isfinite().all()


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_images_that_are_not_finite_are_named(data: Images, value: str) -> None:
    problem = networks((0.3, 0.8, 1.0))
    x = data.train.x0.clone()
    x[17, 2] = float(value)
    spoiled = Images(Sample(x, data.train.target), data.validation, data.test)
    words = {"nan": "x0 holds NaN", "inf": "x0 holds infinite values"}[value]
    with pytest.raises(ValueError, match=f"{words}, in the batch of step [0-4]"):
        train_side_by_side(problem, problem.initial_control(9), spoiled, 0.1, batch_size=20)


def test_networks_without_a_gradient_are_refused(data: Images) -> None:
    class Constant(SideBySide):
        def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
            return super().terminal_cost(x, target).detach()

    problem = Constant(9, (0.3, 0.6, 1.0), KINDS, d=5, n_in=6, n_out=2)
    with pytest.raises(ValueError, match="that of Constant depends on none"):
        train_side_by_side(problem, problem.initial_control(9), data, 0.1, batch_size=20)


def test_a_cost_of_another_number_of_systems_is_refused(data: Images) -> None:
    problem = networks((0.3, 0.6, 1.0))
    control = problem.initial_control(9)
    steps = training(
        problem, control, Euler(9), optimizer_of(problem, control, RATES), [data.test],
        side_by_side=2,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"side_by_side=2 systems .*\(2, batch\), but got \(3, 120\)"
    ):
        next(steps)


def test_accuracy_counts_what_is_right(data: Images) -> None:
    problem = networks((0.5, 0.5, 0.5))
    control = problem.initial_control(9)
    final = Euler(9).solve(problem, control, problem.embed(data.test.x0)).states[-1]
    right = problem.logits(final).argmax(-1) == data.test.target
    torch.testing.assert_close(accuracy(problem, control, data.test), right.double().mean(1))


def test_the_learning_rate_is_chosen_on_the_validation_part() -> None:
    arrays = {
        "hurst": np.array([0.3]),
        "betas": np.array([0.2, 0.5, 0.8]),
        "rates": np.array([0.1, 1.0]),
        "validation": np.array([0.9, 0.5, np.nan, 0.8, np.nan, np.nan]),
        "test": np.array([0.6, 0.4, np.nan, 0.99, np.nan, np.nan]),
    }
    found = chosen(arrays)
    np.testing.assert_array_equal(found["accuracy"], [[0.6, 0.4, np.nan]])
    np.testing.assert_array_equal(found["rate"], [[0.1, 0.1, np.nan]])


def test_digits_are_split_and_standardised() -> None:
    data = load_images("digits")
    sizes = [len(part.x0) for part in data]
    assert sum(sizes) == 1797 and sizes[0] > 4 * sizes[1]
    assert data.train.x0.mean().abs() < 1e-5 and data.train.x0.std().item() == pytest.approx(1)
    rows = torch.cat([part.x0 for part in data])
    assert len(torch.unique(rows, dim=0)) == 1797
    with pytest.raises(ValueError, match="digits, mnist, cifar10, but got 'cats'"):
        load_images("cats")
    with pytest.raises(ValueError, match="--data DIR"):
        load_images("mnist")


def test_images_are_read_from_an_archive_and_from_torchvision(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(256, size=(60, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(60) % 10
    np.savez(
        tmp_path / "cifar10.npz",
        train_images=colour, train_labels=labels, test_images=colour[:12], test_labels=labels[:12],
    )  # fmt: skip
    data = load_images("cifar10", tmp_path)
    assert [part.x0.shape for part in data] == [(50, 3072), (10, 3072), (12, 3072)]
    few = load_images("cifar10", tmp_path, count=4)
    assert [len(part.x0) for part in few] == [4, 4, 4]
    # Every image keeps its label.
    original = torch.from_numpy(colour.reshape(60, -1)).to(data.test.x0)
    mean, std = original[data_order(60)].mean(), original[data_order(60)].std()
    for part in data:
        assert part.target is not None
        found = torch.cdist(part.x0 * std + mean, original).argmin(1)
        torch.testing.assert_close(part.target, torch.from_numpy(labels)[found])

    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 24), ("t10k", 6)):
        grey = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        sizes = b"".join(size.to_bytes(4, "big") for size in grey.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            bytes([0, 0, 8, 3]) + sizes + grey.tobytes()
        )
        classes = (
            bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(i % 10 for i in range(count))
        )
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(classes)
    data = load_images("mnist", tmp_path)
    assert [part.x0.shape for part in data] == [(20, 784), (4, 784), (6, 784)]
    with pytest.raises(FileNotFoundError, match="MNIST is not in .* holds mnist.npz"):
        load_images("mnist", tmp_path / "empty")
    with pytest.raises(ValueError, match="count >= 1, but got count=0"):
        load_images("digits", count=0)


def data_order(n: int) -> np.ndarray:
    """Which images a split trains on: all but the first sixth of a fixed permutation."""
    return np.random.default_rng(1).permutation(n)[n // 6 :]


@pytest.mark.slow
def test_the_accuracy_map_of_the_digits(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    study = GridStudy(
        "digits",
        None,
        None,
        (0.2, 0.8),
        (0.3, 0.9),
        (1e-2, 1e-1),
        depth=20,
        epochs=3,
        cells_per_chunk=3,
    )
    assert [len(chunk) for chunk in study.chunks()] == [3, 3, 2]
    arrays = chosen(run_study(study, tmp_path, progress=False))
    assert arrays["accuracy"].shape == (2, 2) and arrays["accuracy"].max() > 0.85
    whole = run_study(replace(study, cells_per_chunk=8), tmp_path, progress=False)
    np.testing.assert_allclose(whole["test"], arrays["test"], atol=0.02)
    plot.accuracy_map(arrays, "digits").savefig(tmp_path / "map.png")
    weights = run_study(WeightStudy("digits", depth=20, epochs=2), tmp_path, progress=False)
    assert weights["before"].shape == weights["after"].shape == (3, 20)
    assert (weights["before"] != weights["after"]).any() and (weights["accuracy"] > 0.7).all()
    plot.trained_weights(weights, "digits").savefig(tmp_path / "weights.png")


def test_the_full_grid_is_five_hundred_different_runs() -> None:
    study = grid_study(False, TrainingSetting("mnist", Path("data")))
    cells = [cell for chunk in study.chunks() for cell in chunk]
    assert len(cells) == len(set(cells)) == 500
    # In the order in which the map is read.
    assert [lr for lr, *_ in cells] == sorted(lr for lr, *_ in cells)
    assert [H for _, H, _ in cells[:100]] == sorted(H for _, H, _ in cells[:100])


def test_cells_are_in_the_order_of_the_map() -> None:
    study = GridStudy(hurst=(0.2, 0.8), betas=(0.3, 0.5, 0.9), rates=(0.1, 1.0), cells_per_chunk=5)
    first, second, third = study.chunks()
    assert first[:4] == [(0.1, 0.2, 0.3), (0.1, 0.2, 0.5), (0.1, 0.2, 0.9), (0.1, 0.8, 0.3)]
    assert second[0] == (0.1, 0.8, 0.9) and third == [(1.0, 0.8, 0.5), (1.0, 0.8, 0.9)]


def test_bad_input_is_named(data: Images) -> None:
    with pytest.raises(ValueError, match="as many betas as kinds, but got 1 and 3"):
        networks((0.5,))
    problem = networks((0.3, 0.6, 1.0))
    train = lambda rates, size: train_side_by_side(
        problem, problem.initial_control(9), data, rates, epochs=1, batch_size=size
    )
    with pytest.raises(ValueError, match="batch_size <= 100 training images.*batch_size=128"):
        train(0.1, 128)
    with pytest.raises(ValueError, match="rates must be positive"):
        train(torch.tensor([0.1, 0.1, 0.0]), 20)
    with pytest.raises(ValueError, match="a rate for each network, but got 3 rates"):
        NetworkwiseAdam([{"params": [torch.nn.Parameter(torch.ones(2))], "axis": 0}], RATES)
