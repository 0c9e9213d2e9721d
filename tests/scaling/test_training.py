"""Networks trained side by side are trained as each would be alone."""

import copy
import shutil
from collections.abc import Callable, Sequence
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
from ocnet import Euler, init, Sample
from ocnet.control import base, piecewise
from ocnet.control.base import kept_constants
from ocnet.evaluation import evaluate
from ocnet.learning.capture import CudaGraphs, Recorder
from ocnet.scaling.datasets import Images, load_images, split
from ocnet.scaling.steps import captured, NetworkwiseAdam, SideBySideStep
from ocnet.scaling.sweep import run_study
from ocnet.scaling.training import (
    accuracy,
    bytes_per_network,
    networks_at_once,
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


def step_of(problem: SideBySide, data: Sample, device: str = "cpu") -> SideBySideStep:
    """A step of three networks that trains on batches of twenty."""
    problem = problem.to(device)
    control = problem.initial_control(9).to(device)
    groups = [
        {"params": list(control.parameters()), "axis": 1},
        {"params": list(problem.parameters()), "axis": 0},
    ]
    optimizer = NetworkwiseAdam(groups, RATES)
    optimizer.rates, optimizer.count = (v.to(device) for v in (optimizer.rates, optimizer.count))
    assert data.target is not None
    return SideBySideStep(
        problem, control, optimizer, Sample(data.x0.to(device), data.target.to(device)), 20
    )


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


def test_a_step_can_be_captured(data: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(networks((0.3, 0.6, 1.0)), data.train)
    addresses = [tensor.data_ptr() for tensor in step.memory()]
    with Copies() as outside:
        step()
    # On the CPU times are made anew from the host's numbers: the check below can see that.
    assert any("lift" in name for name in outside.found)

    def kept(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
        return kept_constants(tuple(values), dtype, device)

    for module in (base, piecewise):
        monkeypatch.setattr(module, "constants", kept)
    step()  # A capture comes after a few eager steps, which make the constants.
    with Copies() as inside:
        step()
    assert inside.found == []
    assert [tensor.data_ptr() for tensor in step.memory()] == addresses
    # Tensors of this device hold no numbers: whatever asks for one raises an error.
    step_of(networks((0.3, 0.6, 1.0)), data.train, "meta")()


def test_steps_go_through_an_epoch(data: Images) -> None:
    seen = []

    class Watched(SideBySide):
        def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
            seen.append(target)
            return super().terminal_cost(x, target)

    problem = Watched(9, (0.3, 0.6, 1.0), KINDS, d=5, n_in=6, n_out=2)
    numbers = Sample(data.train.x0, torch.arange(len(data.train.x0)) % 2)
    step = step_of(problem, numbers)
    order = torch.randperm(len(numbers.x0))
    step.begin_epoch(order)
    for _ in range(5):
        step()
    torch.testing.assert_close(torch.cat(seen), order % 2)


def tape(step: SideBySideStep) -> Tape:
    """The stand-in for a graph, which keeps its rules."""
    return Tape([p for group in step.optimizer.param_groups for p in group["params"]], step.memory)


NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    "device, recorder",
    [
        ("cpu", tape),
        pytest.param("cuda", lambda step: CudaGraphs(torch.device("cuda")), marks=NEEDS_CUDA),
    ],
)
def test_a_captured_step_is_the_eager_one(
    data: Images, device: str, recorder: Callable[[SideBySideStep], Recorder]
) -> None:
    problem = networks((0.3, 0.6, 1.0))
    eager, graph = (step_of(copy.deepcopy(problem), data.train, device) for _ in range(2))
    replay = captured(graph, recorder(graph))
    for step, advance in ((eager, eager), (graph, replay)):
        step.begin_epoch(torch.arange(len(data.train.x0)))
        for _ in range(5):
            advance()
    for expected, found in zip(eager.memory(), graph.memory(), strict=True):
        torch.testing.assert_close(found, expected)


def test_memory_of_a_step_is_what_it_is_said_to_be(data: Images) -> None:
    step = step_of(networks((0.3, 0.6, 1.0)), data.train)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    weights = sum(p.numel() for group in step.optimizer.param_groups for p in group["params"])
    predicted = 3 * bytes_per_network(9, 5, 6, 2, 20, itemsize=8) - 7 * 8 * weights
    activations = sum(kept.values()) - 8 * weights
    assert predicted == pytest.approx(activations, rel=0.2)


def test_chunks_are_what_memory_holds() -> None:
    per_network = bytes_per_network(1000, 30, 784, 10, 128)
    assert networks_at_once(per_network, torch.device("cpu")) * per_network <= 2**29
    assert networks_at_once(2**40, torch.device("cpu")) == 1
    study = grid_study(False, TrainingSetting("mnist", Path("data")))
    sizes = [len(chunk) for chunk in study.chunks()]
    assert max(sizes) <= study.at_once and max(sizes) - min(sizes) <= 1


def test_a_network_that_diverges_leaves_the_others_alone(data: Images) -> None:
    problem = networks((-300.0, 0.8, 1.0))
    control = problem.initial_control(9)
    result = train_side_by_side(problem, control, data, 0.05, epochs=2, batch_size=20)
    assert result.test.isnan().tolist() == [True, False, False]
    assert torch.isfinite(control.path[:, 1:]).all()


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
        "digits", None, None, (0.2, 0.8), (0.3, 0.9), (1e-2, 1e-1), depth=20, epochs=3, at_once=3
    )
    assert [len(chunk) for chunk in study.chunks()] == [2, 3, 3]
    arrays = chosen(run_study(study, tmp_path, progress=False))
    assert arrays["accuracy"].shape == (2, 2) and arrays["accuracy"].max() > 0.85
    whole = run_study(replace(study, at_once=8), tmp_path, progress=False)
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
    study = GridStudy(hurst=(0.2, 0.8), betas=(0.3, 0.5, 0.9), rates=(0.1, 1.0), at_once=5)
    first, second, third = study.chunks()
    assert first == [(0.1, 0.2, 0.3), (0.1, 0.2, 0.5), (0.1, 0.2, 0.9), (0.1, 0.8, 0.3)]
    assert second[:2] == [(0.1, 0.8, 0.5), (0.1, 0.8, 0.9)] and third[-1] == (1.0, 0.8, 0.9)


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
