"""Residual networks for images: networks, stage cost, read-outs along the depth, wrapping."""

from .architecture import Architecture, stages
from .export import exported, to_onnx
from .loss import (
    accuracy,
    CrossEntropy,
    SquaredError,
)
from .network import Heads, homogeneous, layers, parts, ResNet, resnet
from .probes import attach_probes
from .problem import Classifier, Gamma, ResidualProblem
from .residual import Residual
from .saving import load_network, save_network
from .statistics import borrow_statistics, collect_statistics
from .template import original
from .wrapping import wrap


__all__ = [
    "accuracy",
    "Architecture",
    "attach_probes",
    "borrow_statistics",
    "Classifier",
    "collect_statistics",
    "CrossEntropy",
    "exported",
    "Gamma",
    "Heads",
    "homogeneous",
    "layers",
    "load_network",
    "original",
    "parts",
    "Residual",
    "ResidualProblem",
    "ResNet",
    "resnet",
    "save_network",
    "SquaredError",
    "stages",
    "to_onnx",
    "wrap",
]
