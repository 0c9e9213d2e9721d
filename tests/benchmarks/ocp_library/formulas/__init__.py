"""Each problem's formulas written once for numpy and CasADi alike, apart from ocnet and torch."""

from .base import Bounds as Bounds, Formulas as Formulas, rk4 as rk4
from .mechanics import (
    Beam,
    CartPendulum,
    Chain,
    DielectrophoreticParticle,
    DoubleOscillator,
    Robbins,
    Robot,
    Steering,
    VanDerPol,
)  # fmt: skip
from .own import OWN as OWN
from .processes import Bioreactor, CatalystMixing, Insurance, Jackson
from .vehicles import (
    DuctedFan,
    ElectricalVehicle,
    Glider,
    MoonLander,
    Quadrotor,
    Rocket,
    SpaceShuttle,
    TruckTrailer,
)  # fmt: skip


LIBRARY: tuple[type[Formulas], ...] = (
    Beam, Bioreactor, CartPendulum, Chain, DielectrophoreticParticle, DoubleOscillator, DuctedFan,
    ElectricalVehicle, Glider, Insurance, Jackson, MoonLander, Quadrotor, Robbins, Robot, Rocket,
    SpaceShuttle, Steering, TruckTrailer, VanDerPol,
)  # fmt: skip
"""The twenty problems of OptimalControlProblems.jl."""

FURTHER: tuple[type[Formulas], ...] = (CatalystMixing,)
"""Problems of other collections."""

ALL: tuple[type[Formulas], ...] = (*LIBRARY, *FURTHER, *OWN)
"""All that the benchmark solves."""
