"""Controls: functions `u(t)` or `u(t, x)` with trainable parameters."""

from .base import Control, OpenLoop
from .feedback import Feedback
from .galerkin import Chebyshev, Fourier, Galerkin
from .layers import Layers
from .piecewise import (
    CubicSpline,
    PiecewiseConstant,
    PiecewiseLinear,
    PiecewisePolynomial,
)


__all__ = [
    "Chebyshev",
    "Control",
    "CubicSpline",
    "Feedback",
    "Fourier",
    "Galerkin",
    "Layers",
    "OpenLoop",
    "PiecewiseConstant",
    "PiecewiseLinear",
    "PiecewisePolynomial",
]
