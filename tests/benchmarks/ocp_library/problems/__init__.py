"""The same problems as a user of ocnet writes them."""

from collections.abc import Callable

from ocnet import Problem
from problems import constrained, double_integrator, free_time, linear_quadratic, nonlinear

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


PROBLEMS: dict[str, Callable[[], Problem]] = {
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
    "tanh": nonlinear.Tanh,
    "tanh_to": constrained.TanhTo,
    "bilinear_penalty": nonlinear.BilinearPenalty,
    "bilinear": constrained.Bilinear,
    "deep_linear": nonlinear.DeepLinear,
    "linear_resnet": constrained.LinearResNet,
    "turnpike_lq": constrained.TurnpikeLQ,
    "hypersensitive": constrained.Hypersensitive,
    "van_der_pol": nonlinear.VanDerPol,
    "bounded_van_der_pol": constrained.BoundedVanDerPol,
    "pendulum": constrained.PendulumSwingUp,
    "pendulum_straight": lambda: constrained.PendulumSwingUp(straight=True),
    "min_energy": double_integrator.MinEnergy,
    "bryson_denham": double_integrator.BrysonDenham,
    "min_time": free_time.MinTime,
    "landing": free_time.MoonLander,
    "brachistochrone": free_time.Brachistochrone,
    "goddard": free_time.Goddard,
    "orbit_raising": free_time.OrbitRaising,
    "scalar_lqr": linear_quadratic.ScalarLQR,
    "double_integrator_lqr": linear_quadratic.DoubleIntegratorLQR,
    "terminal_lqr": linear_quadratic.TerminalLQR,
    "oscillator_lqr": linear_quadratic.OscillatorLQR,
}
"""Each problem by its name."""
