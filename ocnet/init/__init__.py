"""Initialisations of stacked weights over depth: equal marginals, any correlation."""

from .fill import (
    fbm_,
    fill_,
    iid_,
    repeated_,
    smooth_,
    spline_,
)
from .kernels import (
    Covariance,
    CovarianceKernel,
    Matern,
    OrnsteinUhlenbeck,
    RBF,
)
from .kinds import (
    FractionalNoise,
    Iid,
    Kind,
    Repeated,
    SmoothIncrements,
    SmoothValues,
    Spline,
    Stationary,
)
from .words import parse_kind


__all__ = [
    "Covariance",
    "CovarianceKernel",
    "fbm_",
    "fill_",
    "FractionalNoise",
    "Iid",
    "iid_",
    "Kind",
    "Matern",
    "OrnsteinUhlenbeck",
    "parse_kind",
    "RBF",
    "Repeated",
    "repeated_",
    "smooth_",
    "SmoothIncrements",
    "SmoothValues",
    "Spline",
    "spline_",
    "Stationary",
]
