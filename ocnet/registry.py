"""The words of the shell and of saved configurations, and the objects that they mean."""

import ast
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import torch
from torch.optim import Optimizer

from . import init
from .control import Control
from .direct import Adam, InteriorPoint, LBFGS, Method, SuccessiveApproximation
from .learning import ConstantSchedule, CosineSchedule, Schedule, StepSchedule
from .networks.loss import LOSSES
from .problem import Problem
from .solver import (
    Adjoint,
    Checkpoint,
    Costate,
    Euler,
    ExplicitRungeKutta,
    Heun,
    Reversible,
    RK4,
    RK38,
    Solver,
    TorchDiffEq,
)
from .solver.ode import ORDER
from .supervised import parameter_groups


__all__ = [
    "as_object",
    "GRADIENTS",
    "INITIALISATIONS",
    "LOSSES",
    "METHODS",
    "named_optimizer",
    "named_solver",
    "OptimizerWord",
    "OPTIMIZERS",
    "SCHEDULES",
    "SOLVERS",
    "STEPS",
]

STEPS: dict[str, Callable[[int], ExplicitRungeKutta]] = {
    "euler": Euler,
    "heun": Heun,
    "rk4": RK4,
    "rk38": RK38,
}
"""ocnet's own methods, which `solve` takes too."""

SOLVERS: dict[str, Callable[..., Solver]] = {
    **STEPS,
    **{word: partial(TorchDiffEq, word) for word in ORDER if word not in STEPS},
    **{f"torchdiffeq:{word}": partial(TorchDiffEq, word) for word in ORDER},
}
"""All methods; torchdiffeq's own Euler is "torchdiffeq:euler"."""

GRADIENTS: dict[str, Callable[[Solver], Solver]] = {
    "backprop": lambda solver: solver,
    "checkpoint": lambda solver: solver.with_gradient(Checkpoint()),
    "costate": lambda solver: solver.with_gradient(Costate()),
    "reversible": Reversible,  # pyright: ignore[reportAssignmentType] says itself what it takes
    "adjoint": lambda solver: solver.with_gradient(Adjoint()),
}
"""What turns a solver into one that finds its gradient in another way."""


class OptimizerWord(NamedTuple):
    """What a word for an optimiser means.

    Attributes:
        lr: The usual learning rate.
        make: `(groups, lr) -> optimiser`, of a problem's parameter groups.
        has_decay: Whether it has weight decay.
    """

    lr: float
    make: Callable[[list[dict[str, Any]], float], Optimizer]
    has_decay: bool = True


def by_one_rate(
    kind: Callable[..., Optimizer], groups: list[dict[str, Any]], lr: float
) -> Optimizer:
    """An optimiser whose step length does not change if the gradient is multiplied by a factor.

    A group's own rate, which makes up for such a factor, would only make its step longer.

    Arguments:
        kind: Its class.
        groups: The groups of parameters.
        lr: The learning rate of all of them.
    """
    return kind([{**group, "lr": lr} for group in groups], lr)


def by_line_search(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """L-BFGS with a strong Wolfe line search, of all parameters together."""
    parameters = [p for group in groups for p in group["params"]]
    # Torch's own tolerances stop before an optimum is known to more than a few digits.
    return torch.optim.LBFGS(
        parameters,
        lr,
        history_size=30,
        tolerance_grad=1e-11,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )


OPTIMIZERS: dict[str, OptimizerWord] = {
    "sgd": OptimizerWord(0.1, lambda groups, lr: torch.optim.SGD(groups, lr, momentum=0.9)),
    "adam": OptimizerWord(0.01, partial(by_one_rate, torch.optim.Adam)),
    "adamw": OptimizerWord(0.001, partial(by_one_rate, torch.optim.AdamW)),
    "lbfgs": OptimizerWord(1.0, by_line_search, has_decay=False),
}


def by_steps(iterations: int, warmup: int = 0) -> Schedule:
    """A rate divided by ten after 1/2 and 3/4 of a run."""
    milestones = sorted({max(iterations // 2, 1), max(3 * iterations // 4, 1)})
    return StepSchedule(milestones, warmup=warmup)


SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {
    "constant": lambda iterations, warmup: ConstantSchedule(warmup),
    "cosine": CosineSchedule,
    "step": by_steps,
}
"""From the iterations of a run and of its warm-up to a schedule."""

METHODS: dict[str, Callable[[], Method]] = {
    "interior-point": InteriorPoint,
    "lbfgs": LBFGS,
    "adam": Adam,
    "msa": SuccessiveApproximation,
}
"""The methods of `solve`."""

INITIALISATIONS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        init.Iid,
        init.Repeated,
        init.SmoothValues,
        init.SmoothIncrements,
        init.FractionalNoise,
        init.Spline,
        init.RBF,
        init.Matern,
        init.OrnsteinUhlenbeck,
    )
}
"""The processes over depth that weights are drawn from, and their kernels."""


def named_solver(word: str, n: int, gradient: str = "backprop", **options: Any) -> Solver:
    """The solver of a word, with `n` steps and the gradient of another word.

    Arguments:
        word: One of `SOLVERS`.
        n: Its steps; of an adaptive method, the intervals of its output.
        gradient: One of `GRADIENTS`.
        options: Further arguments of `TorchDiffEq`.

    Raises:
        ValueError: If a word is not known.
        TypeError: If the solver does not take the gradient.
    """
    for name, value, words in (("solver", word, SOLVERS), ("gradient", gradient, GRADIENTS)):
        if value not in words:
            raise ValueError(f"{name} must be one of {', '.join(words)}, but got {value!r}.")
    return GRADIENTS[gradient](SOLVERS[word](n, **options))


def named_optimizer(
    word: str,
    problem: Problem,
    control: Control,
    lr: float | None = None,
    weight_decay: float = 0.0,
) -> Optimizer:
    """The optimiser of a word, of all parameters of a problem and a control that take a gradient.

    Arguments:
        word: One of `OPTIMIZERS`.
        problem, control: What is trained, in the problem's own groups.
        lr: The learning rate; the usual one of the optimiser if None.
        weight_decay: That of the problem's parameter groups.

    Raises:
        ValueError: If the word is not known, or the optimiser has no weight decay.
    """
    if word not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, but got {word!r}.")
    kind = OPTIMIZERS[word]
    if weight_decay and not kind.has_decay:
        raise ValueError(f"L-BFGS has no weight decay, but got weight_decay={weight_decay}.")
    lr = kind.lr if lr is None else lr
    groups = parameter_groups(problem, control, lr, weight_decay)
    some = [{**g, "params": [p for p in g["params"] if p.requires_grad]} for g in groups]
    return kind.make([group for group in some if group["params"]], lr)


def as_object(text: str) -> Any:
    """What a text means as the value of an argument.

    A Python literal means its value. A call such as `FractionalNoise(0.8)` means the object that it
    makes, if its name is in `INITIALISATIONS` or `LOSSES`. Anything else means the text itself.

    Raises:
        TypeError, ValueError: If the object does not take its arguments.
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (ValueError, SyntaxError):
        return text
    known = {**INITIALISATIONS, **LOSSES}
    return built(node, known) if is_call(node, known) else text


def is_call(node: ast.expr, known: Mapping[str, Any]) -> TypeGuard[ast.Call]:
    """Whether an expression is a call of a known name."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known


def built(node: ast.expr, known: Mapping[str, Callable[..., Any]]) -> Any:
    """What an expression of literals and of calls of known names means.

    Raises:
        TypeError, ValueError: If there is anything else in it, or a call fails.
    """
    if is_call(node, known) and all(k.arg is not None for k in node.keywords):
        name = ast.unparse(node.func)
        positional = [built(argument, known) for argument in node.args]
        named = {str(k.arg): built(k.value, known) for k in node.keywords}
        try:
            return known[name](*positional, **named)
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from error
    try:
        return ast.literal_eval(node)
    except (ValueError, SyntaxError):
        raise ValueError(
            f"{ast.unparse(node)!r} must be a number, a text or one of {', '.join(known)}."
        ) from None
