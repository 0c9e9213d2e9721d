"""Solvers: from a problem, a control and an initial state to a trajectory."""

from .base import Solver as Solver, SolverError as SolverError
from .ode import TorchDiffEq as TorchDiffEq
from .runge_kutta import (
    Euler as Euler,
    ExplicitRungeKutta as ExplicitRungeKutta,
    Heun as Heun,
    RK4 as RK4,
    RK38 as RK38,
    Tableau as Tableau,
)
