"""Networks that leave ocnet: a torch.export program, an ONNX model."""

from pathlib import Path

import torch

from .._arguments import check_kind
from ..modes import mode
from .network import ResNet
from .saving import refuse_unusable


def exported(network: ResNet) -> torch.export.ExportedProgram:
    """The forward pass in evaluation mode as a graph for any batch size, without ocnet."""
    check_kind("network", network, ResNet)
    problem = network.problem
    if problem.image_shape is None:
        raise ValueError("To export a network takes its image_shape.")
    p = next(network.parameters())
    # What a wrapped network takes may be whole numbers, such as tokens.
    kind = problem.image_dtype
    dtype = p.dtype if kind is None or kind.is_floating_point else kind
    images = torch.zeros(2, *problem.image_shape, dtype=dtype, device=p.device)
    batch = torch.export.Dim("batch")
    with mode(False, network):
        return torch.export.export(network, (images,), dynamic_shapes=({0: batch},))


def to_onnx(network: ResNet, path: Path | str) -> None:
    """Writes the forward pass to a new ONNX file: input "images", output "logits".

    Raises:
        TypeError: If it is not a network.
        FileExistsError, FileNotFoundError: If there is a file already, or no such folder.
        ImportError: If onnx and onnxscript are not installed.
    """
    check_kind("network", network, ResNet)
    refuse_unusable(path)
    torch.onnx.export(
        exported(network), (), path, input_names=["images"], output_names=["logits"], dynamo=True
    )
