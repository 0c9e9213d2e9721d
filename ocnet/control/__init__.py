"""Controls: functions `u(t)` or `u(t, x)` with trainable parameters."""

from .base import Control as Control, OpenLoop as OpenLoop
from .feedback import Feedback as Feedback
from .galerkin import Chebyshev as Chebyshev, Fourier as Fourier, Galerkin as Galerkin
from .layers import Layers as Layers
from .piecewise import (
    CubicSpline as CubicSpline,
    PiecewiseConstant as PiecewiseConstant,
    PiecewiseLinear as PiecewiseLinear,
    PiecewisePolynomial as PiecewisePolynomial,
)
