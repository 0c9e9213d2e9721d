"""Solvers: from a problem, a control and an initial state to a trajectory."""

from .base import Solver, SolverError
from .gradient import Adjoint, Backprop, Checkpoint, Costate, Gradient
from .ode import TorchDiffEq
from .reversible import Reversible
from .runge_kutta import (
    Euler,
    ExplicitRungeKutta,
    Heun,
    RK4,
    RK38,
    Tableau,
)


__all__ = [
    "Adjoint",
    "Backprop",
    "Checkpoint",
    "Costate",
    "Euler",
    "ExplicitRungeKutta",
    "Gradient",
    "Heun",
    "Reversible",
    "RK38",
    "RK4",
    "Solver",
    "SolverError",
    "Tableau",
    "TorchDiffEq",
]
