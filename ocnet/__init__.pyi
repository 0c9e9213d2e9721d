from . import init as init
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
from .direct import InteriorPoint as InteriorPoint, Solution as Solution, solve as solve
from .learning import (
    History as History,
    NonFiniteCost as NonFiniteCost,
    Record as Record,
    train as train,
    training as training,
)
from .networks import homogeneous as homogeneous, ResNet as ResNet, resnet as resnet, wrap as wrap
from .objective import evaluate as evaluate, objective as objective
from .problem import (
    Batch as Batch,
    Problem as Problem,
    Projection as Projection,
    Sample as Sample,
    SolvedProblem as SolvedProblem,
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
from .trajectory import Trajectory as Trajectory

__all__ = [
    "Batch",
    "Chebyshev",
    "Control",
    "ControlEnergy",
    "CubicSpline",
    "Euler",
    "evaluate",
    "ExplicitRungeKutta",
    "Feedback",
    "Fourier",
    "Heun",
    "History",
    "homogeneous",
    "init",
    "InteriorPoint",
    "Layers",
    "NonFiniteCost",
    "objective",
    "OpenLoop",
    "PiecewiseConstant",
    "PiecewiseLinear",
    "PredictionLoss",
    "Problem",
    "Projection",
    "Quadratic",
    "Record",
    "ResNet",
    "resnet",
    "RK38",
    "RK4",
    "Sample",
    "Solution",
    "solve",
    "SolvedProblem",
    "Solver",
    "SolverError",
    "Tableau",
    "TerminalLoss",
    "TerminalQuadratic",
    "TorchDiffEq",
    "train",
    "training",
    "Trajectory",
    "wrap",
    "__version__",
]

__version__: str
