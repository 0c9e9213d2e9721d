"""`ocnet train | depth | prune | bounds` on a small network of digits."""

import copy
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ocnet.analysis import pruning
from ocnet.cli import build
from ocnet.cli.networks import TrainedNetwork
from ocnet.learning import training
from ocnet.networks import collect_statistics, load_network, ResNet
from ocnet.run import Config, Job
from problems.images import Digits


depth_command = importlib.import_module("ocnet.cli.depth")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs, with and without stage cost."""
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("runs")
    for name, gamma, heads in (("with", "0.05", "WS"), ("without", "0", "full")):
        train = ["train", "problems.images:Digits", "--depth", "4", "--gamma", gamma]
        small = ["--set", "widths=(4, 4)", "--iterations", "12", "--optimizer", "sgd"]
        small += ["--set", f"heads={heads}"]
        ocnet(*train, *small, "--device", "cpu", "--out", str(folder / name))
    return folder


def ocnet(*arguments: str, code: int = 0) -> str:
    torch.set_default_dtype(torch.float32)
    result = CliRunner().invoke(build(), arguments)
    assert result.exit_code == code, result.output
    return result.output


def assert_collected(network: ResNet) -> None:
    """The statistics of the intermediate outputs are those of the network as it is now."""
    before = copy.deepcopy(network.problem.readouts)
    collect_statistics(network, Digits(4, widths=(4, 4)).data("train").x0.split(500))
    for name in ("mean", "var"):
        mine, fresh = getattr(before, name), getattr(network.problem.readouts, name)
        torch.testing.assert_close(mine, fresh, rtol=1e-4, atol=1e-5)


def test_depth_compares_networks(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = ocnet("depth", str(run / "with"), str(run / "without"), "--out", str(out))
    assert "average depth" in text and text.count("distance ~") == 2
    assert {path.name for path in out.iterdir()} == {
        "with.npz", "without.npz", "outputs.png", "changes.png", "turnpike.png",
    }  # fmt: skip
    with np.load(out / "with.npz") as arrays:
        assert arrays["loss"].shape == (5,) and arrays["change"].shape == (4,)


@pytest.mark.parametrize(("depth", "widths"), [(1, "(4,)"), (2, "(4,)"), (2, "(4, 4)")])
def test_shallow_networks(tmp_path: Path, depth: int, widths: str) -> None:
    run, n = str(tmp_path / "run"), str(depth)
    small = ["--set", f"widths={widths}", "--iterations", "2", "--device", "cpu", "--gamma", "0.1"]
    ocnet("train", "problems.images:Digits", "--depth", n, *small, "--out", run)
    text = ocnet("depth", run)
    assert text.count("distance ~") == (depth > 1)
    assert text.count("No rate is fitted") == (depth == 1)
    assert len(list((tmp_path / "run" / "depth").iterdir())) == 4
    assert f"of {depth + 1} bounds" in ocnet("bounds", run)
    assert "removed" in ocnet("prune", run, "--inside", n)


def test_what_goes_wrong_leaves_no_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_command.plot, "turnpike", lambda profiles: 1 / 0)
    ocnet("depth", str(run / "without"), code=1)
    assert not (run / "without" / "depth").exists()


def test_runs_called_the_same_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "x", tmp_path / "b" / "x"]
    assert depth_command.names(folders) == ["a-x", "b-x"]
    assert depth_command.names(folders[:1]) == ["x"]
    with pytest.raises(ValueError, match="given only once"):
        depth_command.names([folders[0], folders[0]])


def test_heads_that_no_cost_trained_do_not_read_out(run: Path) -> None:
    network = TrainedNetwork(run / "without").network
    problem: Any = network.problem
    bn, k = copy.deepcopy(problem.head.bn), 2
    bn.running_mean, bn.running_var = problem.readouts.mean[k], problem.readouts.var[k]
    images = Digits(4, widths=(4, 4)).data("test").x0
    x = network.trajectory(images).states[k]
    for skip in problem.backbone.after(k):
        x = skip(x)
    expected = problem.head.fc(bn(x).relu().mean((2, 3)))
    torch.testing.assert_close(network.outputs(images)[k], expected)
    assert_collected(network)


def test_a_job_trains_what_its_cost_reads() -> None:
    """Several processes wait for the gradient of all the rest: heads without weight take none."""
    torch.set_default_dtype(torch.float32)
    settings = ["depth=2", "widths=(4, 4)", "heads=full", "gamma=(0.0, 0.1)"]
    job = Job(Config.of("problems.images:Digits", settings, device="cpu", iterations=1))
    problem: Any = job.problem
    run = training(problem, job.control, job.solver, job.optimizer, job.batches)
    next(run)
    every = [*problem.parameters(), *job.control.parameters()]
    assert all((p.grad is not None) == p.requires_grad for p in every)
    frozen = {id(p) for p in every if not p.requires_grad}
    assert frozen == {id(p) for p in problem.readouts.own_parameters(0)}


def test_prune_saves_an_ordinary_network(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--tolerance", "100", "--tune", "1", "--inside", "2", "--out", str(out)]
    text = ocnet("prune", str(run / "without"), *options)
    assert "SubResNet-0 is within 100 points" in text and "fine-tuned" in text
    assert "validation data, --criterion try: 2 of 2 blocks removed" in text
    assert load_network(out / "pruned.safetensors").depth == 0
    left = load_network(out / "pruned-inside.safetensors").control.layers
    assert sum(bool(list(layer.parameters())) for layer in left) == 2
    again = ocnet("prune", str(run / "with"), "--out", str(out), code=2)
    assert "not empty" in again
    tuned = TrainedNetwork(run / "without").network.subresnet(2)
    TrainedNetwork(run / "without").tune(tuned, 1)
    for network in (tuned, load_network(out / "pruned-inside.safetensors")):
        assert_collected(network)


def test_blocks_go_only_within_the_tolerance(run: Path, tmp_path: Path) -> None:
    """Every criterion in one table; what is saved is checked again on the validation data."""
    out = tmp_path / "out"
    options = ["--tolerance", "0", "--inside", "3", "--compare", "--criterion", "last"]
    text = ocnet("prune", str(run / "with"), *options, "--out", str(out))
    (head,) = (line for line in text.splitlines() if line.strip().startswith("removed"))
    assert head.split() == [
        "removed", "try", "costate", "distance", "angle", "readout", "last", "random",
    ]  # fmt: skip
    (verdict,) = (line for line in text.splitlines() if "--criterion last" in line)
    data = Digits(4, widths=(4, 4)).data("validation")
    left = load_network(out / "pruned-inside.safetensors")
    whole = TrainedNetwork(run / "with").network
    found, before = (pruning.accuracy(network, data) for network in (left, whole))
    assert found >= before
    assert f"becomes {100 * found:.2f}%" in verdict
    wrong = ocnet("prune", str(run / "with"), "--criterion", "first", code=2)
    assert "must be one of try, costate" in wrong


def test_choices_are_made_on_the_validation_data(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Depth and temperatures; the test data are for the tables alone."""
    chosen_on = []
    choose = {"depth": "calibrate", "prune": "depth_profile"}
    modules = {"depth": depth_command, "prune": pruning}
    for command, name in choose.items():
        original = getattr(modules[command], name)

        def recorded(network: Any, sample: Any, original: Any = original) -> Any:
            chosen_on.append(sample)
            return original(network, sample)

        monkeypatch.setattr(modules[command], name, recorded)
        ocnet(command, str(run / "with"), "--out", str(tmp_path / command))
    scans = Digits(4, widths=(4, 4))
    assert len(chosen_on) == 2
    for sample in chosen_on:
        assert sample.x0.equal(scans.data("validation").x0)
        assert not sample.x0.equal(scans.data("test").x0)


def test_bounds_have_a_row_for_every_depth(run: Path, tmp_path: Path) -> None:
    text = ocnet("bounds", str(run / "with"), "--out", str(tmp_path / "a"))
    assert "only evaluated" in text and "gamma = 0.05" in text
    rows = [line for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert [int(row.split()[0]) for row in rows] == [0, 1, 2, 3, 4]
    assert (tmp_path / "a" / "bounds.png").is_file()
    shallow = [str(run / "with"), str(run / "without"), "--out", str(tmp_path / "b")]
    assert "of 1 bounds" in ocnet("bounds", *shallow)


def test_bad_input_gets_one_clear_line(run: Path, tmp_path: Path) -> None:
    for command in ("depth", "prune", "bounds"):
        assert "is not a run: it has no config.json" in ocnet(command, str(tmp_path), code=2)
    assert "--split" in ocnet("depth", str(run / "with"), "--split", "all", code=2)
    text = ocnet("prune", str(run / "with"), "--tolerance", "-1", code=2)
    assert "--tolerance" in text and "-1" in text
    text = ocnet("train", "problems.images:Digits", "--gamma", "-1", "--depth", "4", code=2)
    assert "must be >= 0 and finite, but got -1.0" in text
    other = str(tmp_path / "other")
    ocnet("train", "problems.learning:Rings", "--iterations", "2", "--out", other)
    assert "not a residual network" in ocnet("depth", other, code=1)
