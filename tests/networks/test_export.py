"""Networks that leave ocnet compute the same."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ocnet.networks import (
    collect_statistics,
    CrossEntropy,
    exported,
    load_network,
    Residual,
    ResNet,
    resnet,
    save_network,
    SquaredError,
    to_onnx,
    wrap,
)
from tests.support.networks import margin, settled
from tests.support.wrapped import GPT


def single(**options: object) -> tuple[ResNet, torch.Tensor]:
    """A pruned network in single precision, which is what ONNX runs in."""
    network, sample = settled(**options)
    return network.subresnet(4).float().eval(), sample.x0.float()


def wrapped_resnet18() -> tuple[ResNet, torch.Tensor]:
    """torchvision's network with ocnet's interface, with statistics that are not fresh."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    network = wrap(models.resnet18(num_classes=5), torch.zeros(2, 3, 32, 32)).float()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float32)
    network.train()(images)
    return network.eval(), images


def test_export_runs_without_ocnet_and_agrees() -> None:
    network, images = single()
    module = exported(network).module()
    torch.testing.assert_close(module(images), network(images))
    torch.testing.assert_close(module(images[:3]), network(images[:3]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_onnx_agrees(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    for kind, (network, images) in {"resnet": single(), "wrapped": wrapped_resnet18()}.items():
        path = tmp_path / f"{kind}.onnx"
        to_onnx(network, path)
        session = onnxruntime.InferenceSession(path)
        for some in (images, images[:1]):
            (logits,) = session.run(None, {"images": some.numpy()})
            torch.testing.assert_close(torch.tensor(logits), network(some), rtol=1e-4, atol=1e-4)
        with pytest.raises(FileExistsError, match="nothing was overwritten"):
            to_onnx(network, path)


@pytest.mark.slow
def test_the_forward_pass_compiles_as_one_graph() -> None:
    """In a process of its own: the compiler cannot trace the shape checks of the tests."""
    script = """
import torch
from ocnet.networks import resnet
network, images = resnet(3, (3, 4, 5), size=8).eval(), torch.randn(2, 3, 8, 8)
compiled = torch.compile(network, fullgraph=True, backend="eager")
torch.testing.assert_close(compiled(images), network(images), rtol=0, atol=0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a compiler")
def test_the_compiled_network_agrees_in_both_modes() -> None:
    """Forward and backward through the code that torch.compile generates."""
    # Narrower ones corrupt memory: see `ocnet.learning.devices`.
    script = """
import copy, torch
from ocnet.networks import resnet
network, images = resnet(3, (8, 8, 16), size=8), torch.randn(4, 3, 8, 8)
for training in (True, False):
    network.train(training)
    reference = copy.deepcopy(network)
    logits, expected = torch.compile(network)(images), reference(images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for p, q in zip(network.control.parameters(), reference.control.parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4)
    network.zero_grad()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("heads", ["WS", "full"])
def test_save_and_load(heads: str, tmp_path: Path) -> None:
    network, sample = settled(heads=heads, gamma=0.1, loss=CrossEntropy(0.1))
    pruned = network.keep([0, 1, 3, 5])
    networks = (
        network,
        network.subresnet(4, own_heads=True),
        network.keep([0, 2, 3, 4]),
        pruned,
        pruned.subresnet(3, own_heads=True),
    )
    for net in networks:
        path = tmp_path / f"{net.depth}{len(list(tmp_path.iterdir()))}.safetensors"
        save_network(net, path)
        loaded = load_network(path)
        torch.testing.assert_close(loaded.outputs(sample.x0), net.outputs(sample.x0))
        assert loaded.problem.gamma == net.problem.gamma
        assert loaded.problem.loss == net.problem.loss
        with pytest.raises(FileExistsError, match="nothing was overwritten"):
            save_network(net, path)
    other = tmp_path / "other"
    other.write_bytes(b"no network")
    with pytest.raises(ValueError, match="holds no network"):
        load_network(other)


def test_losses_come_back(tmp_path: Path) -> None:
    network, sample = settled(loss=SquaredError())
    save_network(network, tmp_path / "a")
    assert load_network(tmp_path / "a").problem.loss == SquaredError()
    network.problem.loss = margin
    save_network(network, tmp_path / "b")
    with pytest.raises(ValueError, match=r"with the loss .*margin, which only you know"):
        load_network(tmp_path / "b")
    loaded = load_network(tmp_path / "b", loss=margin)
    assert loaded.problem.loss is margin
    torch.testing.assert_close(loaded(sample.x0), network(sample.x0))


def blocks_of_ones_own(heads: Any, seed: int, width: int = 6, blocks: int = 3) -> ResNet:
    """A wrapped stack that changes the stage in its second block."""
    torch.manual_seed(seed)
    conv = lambda a, b, s=1: nn.Sequential(nn.BatchNorm2d(a), nn.Conv2d(a, b, 3, s, padding=1))
    stack = [
        Residual(conv(8, 8)),
        Residual(conv(8, width, 2), nn.Conv2d(8, width, 1, 2), torch.tanh),
        *(Residual(conv(width, width), activation=torch.tanh) for _ in range(blocks - 2)),
    ]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))
    images = torch.zeros(2, 3, 8, 8)
    return wrap(stack, images, embedding=conv(3, 8), head=head, heads=heads, gamma=0.2)


@pytest.mark.parametrize("heads", ["WS", "full"])
def test_wrapped_networks_load_into_others_of_their_kind(heads: str, tmp_path: Path) -> None:
    network, images = blocks_of_ones_own(heads, 0), torch.randn(4, 3, 8, 8)
    collect_statistics(network, [images])
    network.eval()
    cut, bare = network.subresnet(2, own_heads=True), network.keep([0, 2])
    for i, net in enumerate((network, cut, bare, bare.subresnet(2, own_heads=True))):
        path = tmp_path / str(i)
        save_network(net, path)
        into = blocks_of_ones_own(heads, 1)
        loaded = load_network(path, into)
        assert (loaded is into) == (i == 0)
        torch.testing.assert_close(loaded.outputs(images), net.outputs(images))
        assert loaded.problem.gamma == net.problem.gamma
    other = "WS" if heads == "full" else "full"
    for wrong, message in (
        (blocks_of_ones_own(heads, 1, width=7), "has shape"),
        (blocks_of_ones_own(heads, 1, blocks=4), "has shape"),
        (blocks_of_ones_own(other, 1), f'heads="{heads}" there and "{other}" here'),
    ):
        before = {name: value.clone() for name, value in wrong.state_dict().items()}
        with pytest.raises(ValueError, match=f"of another architecture: .*{message}") as error:
            load_network(tmp_path / "0", wrong)
        assert "\n" not in str(error.value)
        for name, value in wrong.state_dict().items():
            assert value.equal(before[name]), name
    with pytest.raises(ValueError, match="pruned from more than 2 blocks, and here are 2"):
        load_network(tmp_path / "1", blocks_of_ones_own(heads, 1, blocks=2))
    with pytest.raises(ValueError, match="holds a wrapped network: give"):
        load_network(tmp_path / "0")


def test_wrapped_resnet18_loads_and_exports(tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    mine, fresh = (models.resnet18(num_classes=5) for _ in range(2))
    network = wrap(mine, torch.zeros(2, 3, 32, 32))
    images = torch.randn(2, 3, 32, 32)
    collect_statistics(network, [images])
    save_network(network, tmp_path / "a")
    loaded = load_network(tmp_path / "a", wrap(fresh, torch.zeros(2, 3, 32, 32)))
    torch.testing.assert_close(loaded.outputs(images), network.eval().outputs(images))
    # What was wrapped has the weights, too.
    assert fresh.eval()(images).equal(mine.eval()(images))
    module = exported(loaded.subresnet(5)).module()
    torch.testing.assert_close(module(images), loaded.outputs(images)[5])


def test_a_language_model_exports() -> None:
    torch.manual_seed(0)
    ids = torch.randint(20, (3, 7))
    network = wrap(GPT(), ids).eval().subresnet(2)
    module = exported(network).module()
    torch.testing.assert_close(module(ids), network(ids))
    torch.testing.assert_close(module(ids[:1].flip(1)), network(ids[:1].flip(1)))


def test_to_moves_every_part() -> None:
    network = resnet(6, (3, 4), size=8).to(torch.float32)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network(torch.randn(2, 3, 8, 8, dtype=torch.float32)).dtype == torch.float32
