"""Residual networks for images: networks, stage cost, read-outs along the depth, wrapping."""

from .architecture import Architecture as Architecture
from .loss import CrossEntropy as CrossEntropy, SquaredError as SquaredError
from .network import (
    homogeneous as homogeneous,
    layers as layers,
    parts as parts,
    ResNet as ResNet,
    resnet as resnet,
)
from .problem import Classifier as Classifier, ResidualProblem as ResidualProblem
from .statistics import collect_statistics as collect_statistics
