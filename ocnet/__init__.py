"""Deep residual networks and classical control as one optimal control problem, in PyTorch."""

# First: what comes after takes seconds to import.
from . import _interrupt as _interrupt, init as init
from .control import (
    Chebyshev as Chebyshev,
    Control as Control,
    CubicSpline as CubicSpline,
    Feedback as Feedback,
    Fourier as Fourier,
    Layers as Layers,
    OpenLoop as OpenLoop,
    PiecewiseConstant as PiecewiseConstant,
    PiecewiseLinear as PiecewiseLinear,
)
from .cost import (
    ControlEnergy as ControlEnergy,
    PredictionLoss as PredictionLoss,
    Quadratic as Quadratic,
    TerminalLoss as TerminalLoss,
    TerminalQuadratic as TerminalQuadratic,
)
from .objective import evaluate as evaluate, objective as objective
from .problem import (
    Batch as Batch,
    Problem as Problem,
    Projection as Projection,
    Sample as Sample,
    SolvedProblem as SolvedProblem,
)
from .resnet import homogeneous as homogeneous, ResNet as ResNet, resnet as resnet, wrap as wrap
from .solve import (
    InteriorPoint as InteriorPoint,
    Solution as Solution,
    solve as solve,
)
from .solver import (
    Euler as Euler,
    ExplicitRungeKutta as ExplicitRungeKutta,
    Heun as Heun,
    RK4 as RK4,
    RK38 as RK38,
    Solver as Solver,
    SolverError as SolverError,
    Tableau as Tableau,
    TorchDiffEq as TorchDiffEq,
)
from .train import (
    History as History,
    NonFiniteCost as NonFiniteCost,
    Record as Record,
    train as train,
    training as training,
)
from .trajectory import Trajectory as Trajectory
