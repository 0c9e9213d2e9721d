"""The same problems as a user of ocnet writes them."""

from .base import Library as Library
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


PROBLEMS: dict[str, type[Library]] = {
    "beam": Beam,
    "bioreactor": Bioreactor,
    "cart_pendulum": CartPendulum,
    "catalyst_mixing": CatalystMixing,
    "chain": Chain,
    "dielectrophoretic_particle": DielectrophoreticParticle,
    "double_oscillator": DoubleOscillator,
    "ducted_fan": DuctedFan,
    "electrical_vehicle": ElectricalVehicle,
    "glider": Glider,
    "insurance": Insurance,
    "jackson": Jackson,
    "moonlander": MoonLander,
    "quadrotor": Quadrotor,
    "robbins": Robbins,
    "robot": Robot,
    "rocket": Rocket,
    "space_shuttle": SpaceShuttle,
    "steering": Steering,
    "truck_trailer": TruckTrailer,
    "vanderpol": VanDerPol,
}
