"""Depth scaling: what initialisation and scaling do to deep residual networks."""

from .diagnosis import diagnose, Diagnosis
from .limits import (
    LimitComparison,
    ode_limit,
    ode_limit_of_smooth_weights,
    power_law,
    sde_limit,
    sde_limit_of_random_weights,
)
from .measure import measure, rms
from .models import (
    Linear,
    MODELS,
    Res1,
    Res2,
    Res3,
    ScaledNetwork,
)
from .predictions import predict, Prediction, S_h, S_p
from .propagation import (
    costates,
    Overflow,
    propagate,
    Propagation,
    states,
)
from .regimes import (
    backward_critical_exponent,
    critical_exponent,
    Regime,
    regime,
)


__all__ = [
    "backward_critical_exponent",
    "costates",
    "critical_exponent",
    "diagnose",
    "Diagnosis",
    "LimitComparison",
    "Linear",
    "measure",
    "MODELS",
    "ode_limit",
    "ode_limit_of_smooth_weights",
    "Overflow",
    "power_law",
    "predict",
    "Prediction",
    "propagate",
    "Propagation",
    "regime",
    "Regime",
    "Res1",
    "Res2",
    "Res3",
    "rms",
    "S_h",
    "S_p",
    "ScaledNetwork",
    "sde_limit",
    "sde_limit_of_random_weights",
    "states",
]
