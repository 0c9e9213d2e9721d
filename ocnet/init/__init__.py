"""Initialisations of stacked weights over depth: equal marginals, any correlation."""

from .fill import (
    fbm_ as fbm_,
    fill_ as fill_,
    iid_ as iid_,
    repeated_ as repeated_,
    smooth_ as smooth_,
    spline_ as spline_,
)
from .kernels import (
    Covariance as Covariance,
    CovarianceKernel as CovarianceKernel,
    Matern as Matern,
    OrnsteinUhlenbeck as OrnsteinUhlenbeck,
    RBF as RBF,
)
from .kinds import (
    FractionalNoise as FractionalNoise,
    Iid as Iid,
    Kind as Kind,
    Repeated as Repeated,
    SmoothIncrements as SmoothIncrements,
    SmoothValues as SmoothValues,
    Spline as Spline,
    Stationary as Stationary,
)
