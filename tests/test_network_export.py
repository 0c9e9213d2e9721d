"""Networks that leave ocnet compute the same."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ocnet.resnet import exported, load_network, ResNet, resnet, save_network, to_onnx

from .test_depth_analysis import settled


def single(**options: object) -> tuple[ResNet, torch.Tensor]:
    """A pruned network in single precision, which is what ONNX runs in."""
    network, sample = settled(**options)
    return network.subresnet(4).float().eval(), sample.x0.float()


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
    network, images = single()
    to_onnx(network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (logits,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.tensor(logits), network(images), rtol=1e-4, atol=1e-4)
    with pytest.raises(FileExistsError, match="nothing was overwritten"):
        to_onnx(network, tmp_path / "network.onnx")


def test_the_forward_pass_compiles_as_one_graph() -> None:
    """In a process of its own: the compiler cannot trace the shape checks of the tests."""
    script = """
import torch
from ocnet.resnet import resnet
network, images = resnet(3, (3, 4, 5), size=8).eval(), torch.randn(2, 3, 8, 8)
compiled = torch.compile(network, fullgraph=True, backend="eager")
torch.testing.assert_close(compiled(images), network(images), rtol=0, atol=0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("heads", ["WS", "full"])
def test_save_and_load(heads: str, tmp_path: Path) -> None:
    network, sample = settled(heads=heads, gamma=0.1)
    for net in (network, network.subresnet(4), network.keep([0, 2, 3, 4])):
        path = tmp_path / f"{net.depth}{len(list(tmp_path.iterdir()))}.safetensors"
        save_network(net, path)
        loaded = load_network(path)
        torch.testing.assert_close(loaded.outputs(sample.x0), net.outputs(sample.x0))
        assert loaded.problem.gamma == net.problem.gamma
        with pytest.raises(FileExistsError, match="nothing was overwritten"):
            save_network(net, path)
    other = tmp_path / "other"
    other.write_bytes(b"no network")
    with pytest.raises(ValueError, match="holds no network"):
        load_network(other)


def test_to_moves_every_part() -> None:
    network = resnet(6, (3, 4), size=8).to(torch.float32)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network(torch.randn(2, 3, 8, 8, dtype=torch.float32)).dtype == torch.float32
