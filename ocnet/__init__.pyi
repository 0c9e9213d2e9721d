from . import init as init
from .analysis import (
    compare as compare,
    Comparison as Comparison,
    depth_profile as depth_profile,
    grow as grow,
    loss_bounds as loss_bounds,
    prune as prune,
)
from .certificate import Certificate as Certificate
from .checks import ProblemError as ProblemError
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
from .direct import (
    InteriorPoint as InteriorPoint,
    Solution as Solution,
    solve as solve,
    SuccessiveApproximation as SuccessiveApproximation,
)
from .errors import OcnetError as OcnetError
from .evaluation import evaluate as evaluate, objective as objective
from .learning import (
    GammaSchedule as GammaSchedule,
    History as History,
    NonFiniteCost as NonFiniteCost,
    Penalty as Penalty,
    Record as Record,
    train as train,
    training as training,
)
from .networks import (
    collect_statistics as collect_statistics,
    homogeneous as homogeneous,
    load_network as load_network,
    ResNet as ResNet,
    resnet as resnet,
    save_network as save_network,
    wrap as wrap,
)
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
from .supervised import Split as Split, SupervisedProblem as SupervisedProblem
from .trajectory import Trajectory as Trajectory

__all__ = [
    "Batch",
    "Certificate",
    "Chebyshev",
    "collect_statistics",
    "compare",
    "Comparison",
    "Control",
    "ControlEnergy",
    "CubicSpline",
    "depth_profile",
    "Euler",
    "evaluate",
    "ExplicitRungeKutta",
    "Feedback",
    "Fourier",
    "GammaSchedule",
    "grow",
    "Heun",
    "History",
    "homogeneous",
    "InteriorPoint",
    "Layers",
    "load_network",
    "loss_bounds",
    "NonFiniteCost",
    "objective",
    "OcnetError",
    "OpenLoop",
    "Penalty",
    "PiecewiseConstant",
    "PiecewiseLinear",
    "PredictionLoss",
    "Problem",
    "ProblemError",
    "Projection",
    "prune",
    "Quadratic",
    "Record",
    "ResNet",
    "resnet",
    "RK38",
    "RK4",
    "Sample",
    "save_network",
    "Solution",
    "solve",
    "SolvedProblem",
    "Solver",
    "SolverError",
    "Split",
    "SuccessiveApproximation",
    "SupervisedProblem",
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
