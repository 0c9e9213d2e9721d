"""Depth scaling: what initialisation and scaling do to deep residual networks."""

from .diagnosis import diagnose as diagnose, Diagnosis as Diagnosis
from .limits import (
    LimitComparison as LimitComparison,
    ode_limit as ode_limit,
    ode_limit_of_smooth_weights as ode_limit_of_smooth_weights,
    power_law as power_law,
    sde_limit as sde_limit,
    sde_limit_of_random_weights as sde_limit_of_random_weights,
)
from .measure import measure as measure, rms as rms
from .models import (
    Linear as Linear,
    MODELS as MODELS,
    Res1 as Res1,
    Res2 as Res2,
    Res3 as Res3,
    ScaledNetwork as ScaledNetwork,
)
from .predictions import predict as predict, Prediction as Prediction, S_h as S_h, S_p as S_p
from .propagation import (
    costates as costates,
    Overflow as Overflow,
    propagate as propagate,
    Propagation as Propagation,
    states as states,
)
from .regimes import (
    backward_critical_exponent as backward_critical_exponent,
    critical_exponent as critical_exponent,
    Regime as Regime,
    regime as regime,
)
