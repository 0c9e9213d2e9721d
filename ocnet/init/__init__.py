"""Initialisations of stacked weights over depth: equal marginals, any correlation."""

from .fill import (
    constant_ as constant_,
    fbm_ as fbm_,
    fill_ as fill_,
    iid_ as iid_,
    smooth_ as smooth_,
    spline_ as spline_,
)
from .kernels import (
    Covariance as Covariance,
    Kernel as Kernel,
    Matern as Matern,
    OrnsteinUhlenbeck as OrnsteinUhlenbeck,
    RBF as RBF,
)
from .kinds import (
    Constant as Constant,
    FractionalNoise as FractionalNoise,
    Iid as Iid,
    Kind as Kind,
    SmoothIncrements as SmoothIncrements,
    SmoothValues as SmoothValues,
    Spline as Spline,
    Stationary as Stationary,
)
