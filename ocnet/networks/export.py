"""Networks that leave ocnet: a torch.export program, an ONNX model."""

from pathlib import Path

import torch

from ..modes import mode
from .network import ResNet
from .saving import refuse_existing


def exported(network: ResNet) -> torch.export.ExportedProgram:
    """The forward pass in evaluation mode as a graph for any batch size, without ocnet."""
    problem = network.problem
    if problem.image_shape is None:
        raise ValueError("To export a network takes its image_shape.")
    p = next(network.parameters())
    images = torch.zeros(2, *problem.image_shape, dtype=p.dtype, device=p.device)
    batch = torch.export.Dim("batch")
    with mode(False, network):
        return torch.export.export(network, (images,), dynamic_shapes=({0: batch},))


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
