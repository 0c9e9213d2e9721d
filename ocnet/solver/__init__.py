"""Solvers: from a problem, a control and an initial state to a trajectory."""

from .base import Solver, SolverError
from .ode import TorchDiffEq
from .runge_kutta import (
    Euler,
    ExplicitRungeKutta,
    Heun,
    RK4,
    RK38,
    Tableau,
)


__all__ = [
    "Euler",
    "ExplicitRungeKutta",
    "Heun",
    "RK38",
    "RK4",
    "Solver",
    "SolverError",
    "Tableau",
    "TorchDiffEq",
]
