"""Residual networks for images: networks, stage cost, read-outs along the depth, wrapping."""

from .architecture import Architecture as Architecture
from .export import exported as exported, to_onnx as to_onnx
from .loss import (
    accuracy as accuracy,
    CrossEntropy as CrossEntropy,
    SquaredError as SquaredError,
)
from .network import (
    homogeneous as homogeneous,
    layers as layers,
    parts as parts,
    ResNet as ResNet,
    resnet as resnet,
)
from .problem import Classifier as Classifier, ResidualProblem as ResidualProblem
from .saving import load_network as load_network, save_network as save_network
from .statistics import collect_statistics as collect_statistics
from .wrap import Residual as Residual, wrap as wrap
