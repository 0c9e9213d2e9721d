"""Residual networks for images: networks, stage cost, read-outs along the depth, wrapping."""

from .architecture import Architecture
from .export import exported, to_onnx
from .loss import (
    accuracy,
    CrossEntropy,
    SquaredError,
)
from .network import (
    homogeneous,
    layers,
    parts,
    ResNet,
    resnet,
)
from .problem import Classifier, ResidualProblem
from .saving import load_network, save_network
from .statistics import collect_statistics
from .wrap import Residual, wrap


__all__ = [
    "accuracy",
    "Architecture",
    "Classifier",
    "collect_statistics",
    "CrossEntropy",
    "exported",
    "homogeneous",
    "layers",
    "load_network",
    "parts",
    "Residual",
    "ResidualProblem",
    "resnet",
    "ResNet",
    "save_network",
    "SquaredError",
    "to_onnx",
    "wrap",
]
