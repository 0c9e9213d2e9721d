"""Depth scaling: what initialisation and scaling do to deep residual networks."""

from .datasets import DATA, Images, load_images
from .diagnosis import diagnose, Diagnosis
from .laws import compare_laws, LawComparison, sample_network, sample_sde
from .limits import (
    LimitComparison,
    ode_limit,
    ode_limit_of_smooth_weights,
    power_law,
    sde_limit,
    sde_limit_of_random_weights,
)
from .models import (
    Linear,
    MODELS,
    OneMatrix,
    Res1,
    Res2,
    Res3,
    ScaledNetwork,
    TwoMatrices,
)
from .predictions import displacement_limit, log_norm_limit
from .propagation import (
    costates,
    Overflow,
    propagate,
    Propagation,
    states,
)
from .ratios import measure, rms
from .regimes import Regime
from .sweep import Arrays, run_study, save_arrays, Study
from .theory import (
    backward_critical_exponent,
    critical_exponent,
    regime,
    S_h,
    S_p,
    Theory,
)
from .trained import layer_weights, training_effect, TrainingEffect, weight_profile, WeightProfile
from .training import bytes_per_network, networks_at_once, SideBySide, train_side_by_side, Trained


__all__ = [
    "Arrays",
    "backward_critical_exponent",
    "bytes_per_network",
    "compare_laws",
    "costates",
    "critical_exponent",
    "DATA",
    "diagnose",
    "Diagnosis",
    "displacement_limit",
    "Images",
    "load_images",
    "LawComparison",
    "layer_weights",
    "LimitComparison",
    "Linear",
    "log_norm_limit",
    "measure",
    "MODELS",
    "networks_at_once",
    "OneMatrix",
    "ode_limit",
    "ode_limit_of_smooth_weights",
    "Overflow",
    "power_law",
    "propagate",
    "Propagation",
    "Regime",
    "regime",
    "Res1",
    "Res2",
    "Res3",
    "rms",
    "run_study",
    "S_h",
    "S_p",
    "sample_network",
    "sample_sde",
    "save_arrays",
    "ScaledNetwork",
    "sde_limit",
    "sde_limit_of_random_weights",
    "SideBySide",
    "states",
    "Study",
    "Theory",
    "train_side_by_side",
    "Trained",
    "training_effect",
    "TrainingEffect",
    "TwoMatrices",
    "weight_profile",
    "WeightProfile",
]
