"""Networks that leave ocnet: one safetensors file, a torch.export program, an ONNX model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file

from .architecture import Architecture
from .network import layers, parts, ResNet
from .problem import Classifier
from .readouts import OwnReadOuts


def save_network(network: ResNet, path: Path | str) -> None:
    """Writes a network with its architecture to a new safetensors file.

    Raises:
        FileExistsError: If there is a file already.
        TypeError: If the network is a wrapped one; save what was wrapped, or export it.
    """
    readouts = network.problem.readouts
    architecture = getattr(readouts, "architecture", None)
    if architecture is None:
        raise TypeError("A wrapped network is saved as the network that was wrapped.")
    refuse_existing(path)
    heads = "full" if isinstance(readouts, OwnReadOuts) else "WS"
    about = {"architecture": asdict(architecture), "heads": heads, "gamma": network.problem.gamma}
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, metadata={"ocnet.resnet": json.dumps(about)})


def load_network(path: Path | str) -> ResNet:
    """The network that `save_network` wrote, in evaluation mode.

    Raises:
        ValueError: If the file holds no network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["ocnet.resnet"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (KeyError, SafetensorError):
        raise ValueError(f"{path} holds no network saved by ocnet.resnet.save_network.") from None
    values = about["architecture"].items()
    shape: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values}
    architecture = Architecture(**shape)
    problem = Classifier(
        parts(architecture, about["heads"]),
        state_shape=architecture.state_shape,
        image_shape=(architecture.channels, *architecture.size),
        gamma=about["gamma"],
    )
    network = ResNet(problem, layers(architecture)).to(state["problem.head.bn.weight"])
    network.load_state_dict(state)
    return network.eval()


def exported(network: ResNet) -> torch.export.ExportedProgram:
    """The forward pass in evaluation mode as a graph for any batch size, without ocnet."""
    problem = network.problem
    if problem.image_shape is None:
        raise ValueError("To export a network takes its image_shape.")
    p = next(network.parameters())
    images = torch.zeros(2, *problem.image_shape, dtype=p.dtype, device=p.device)
    was_training = network.training
    batch = torch.export.Dim("batch")
    program = torch.export.export(network.eval(), (images,), dynamic_shapes=({0: batch},))
    network.train(was_training)
    return program


def to_onnx(network: ResNet, path: Path | str) -> None:
    """Writes the forward pass to a new ONNX file: input "images", output "logits".

    Raises:
        FileExistsError: If there is a file already.
        ImportError: If onnx and onnxscript are not installed.
    """
    refuse_existing(path)
    torch.onnx.export(
        exported(network), (), path, input_names=["images"], output_names=["logits"], dynamo=True
    )


def refuse_existing(path: Path | str) -> None:
    """Raises a FileExistsError if there is something at the path."""
    if Path(path).exists():
        raise FileExistsError(f"{path} is there already; nothing was overwritten.")
