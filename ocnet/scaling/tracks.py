"""What happens along one network: the sizes of states and costates at every layer."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import nn, Tensor

from ..control import Control, Layers, PiecewisePolynomial
from ..evaluation import objective
from ..init import fill_, Kind
from ..problem import Problem, Sample
from ..solver import Euler
from ..supervised import SupervisedProblem
from ..trajectory import Trajectory
from ..types import ControlValue, State, Time
from .memory import gram
from .propagation import norm


class Track(NamedTuple):
    """One network, in natural logarithms, the first four of shape `(layer, input)`.

    Attributes:
        state, costate: `|h_k|` and `|p_k|`.
        forward: `|h_k - h_0| / |h_0|`.
        backward: `|p_k - p_L| / |p_L|`.
        products: The mean products of the weights of every two layers; None if layers differ.
        entries: How many weights a layer has.
        has_weights: Whether any weight differs from zero.
    """

    state: Float[Tensor, "layer input"]
    costate: Float[Tensor, "layer input"]
    forward: Float[Tensor, "layer input"]
    backward: Float[Tensor, "layer input"]
    products: Float[Tensor, "layer layer"] | None
    entries: int
    has_weights: bool


def track(problem: Problem, control: Control, L: int, sample: Sample) -> Track:
    """The norms along one network; its costates are gradients with respect to its states.

    Where the cost does not depend on the final state the last costate is standard normal. The
    modules are left as they are, with the statistics of their normalisations.

    Arguments:
        problem, control: The network.
        L: Its depth.
        sample: The inputs.
    """
    device = next((p.device for p in control.parameters()), sample.x0.device)
    target = None if sample.target is None else sample.target.to(device)
    with kept(problem, control), torch.enable_grad():
        x0 = problem.embed(sample.x0.to(device)).detach().requires_grad_()
        trajectory = Euler(L).solve(problem, control, x0, target)
        p = costates(problem, trajectory, target)
    stage = longest_stage(trajectory.states)
    h = torch.stack([x.detach().flatten(1) for x in trajectory.states[stage]]).cpu()
    p = torch.stack([p_k.flatten(1) for p_k in p[stage]]).cpu()
    layers = [weights_of(u) for u in trajectory.controls[stage.start : stage.stop - 1]]
    equal = len({u.shape for u in layers}) == 1
    return Track(
        norm(h).log(),
        norm(p).log(),
        norm(h - h[0]).log() - norm(h[0]).log(),
        norm(p - p[-1]).log() - norm(p[-1]).log(),
        gram(torch.stack(layers)) if equal else None,
        layers[0].numel(),
        any(bool((u != 0).any()) for u in layers),
    )


def costates(problem: Problem, trajectory: Trajectory, target: Tensor | None) -> tuple[Tensor, ...]:
    """The gradients of the cost with respect to every state."""
    states = trajectory.states
    cost = objective(problem, trajectory, target)
    if cost.requires_grad:
        p = torch.autograd.grad(cost.sum(), states, retain_graph=True, materialize_grads=True)
        if (p[-1] != 0).any():
            return p
    last = states[-1]
    if not last.requires_grad:
        return tuple(torch.zeros_like(x) for x in states)
    normal = torch.randn(last.shape, generator=torch.Generator().manual_seed(0)).to(last)
    return torch.autograd.grad(last, states, normal, materialize_grads=True)


@contextmanager
def kept(*modules: nn.Module) -> Iterator[None]:
    """Puts the buffers of modules back to what they were, such as running statistics."""
    buffers = [buffer for module in modules for buffer in module.buffers()]
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, saved, strict=True):
            buffer.copy_(value)


def longest_stage(states: Sequence[State]) -> slice:
    """The longest run of states of one shape."""
    runs, start = [], 0
    for _, run in groupby(states, key=lambda x: x.shape):
        length = len(list(run))
        runs.append(slice(start, start + length))
        start += length
    return max(runs, key=lambda run: run.stop - run.start)


def weights_of(control: ControlValue) -> Float[Tensor, " weight"]:
    """The weights of a layer in one vector; for a module, its matrices and filters only, because
    the scales and shifts of a normalisation start equal in every layer."""
    if isinstance(control, Tensor):
        return control.detach().flatten().cpu()
    parameters = list(control.parameters())
    some = [p for p in parameters if p.dim() > 1] or parameters or [torch.zeros(1)]
    return torch.cat([p.detach().flatten().cpu() for p in some])


def initialised(control: Control, kind: Kind, generator: torch.Generator | None = None) -> Control:
    """A control whose weights are drawn anew, from a process over depth; filled in place.

    Raises:
        TypeError: If the control holds no weights layer by layer.
    """
    if isinstance(control, Layers):
        fill_(list(control.layers), kind, generator=generator)
    elif isinstance(control, PiecewisePolynomial):
        fill_(control.path, kind, generator=generator)
    else:
        raise TypeError(
            f"kind needs a control with weights in layers, but got a {type(control).__name__}."
        )
    return control


def at_depth(problem: Problem, n: int, L: int, beta: float, factor: float = 1.0) -> Problem:
    """The problem with its branches multiplied, on a horizon whose `L` steps are ~ `L**-beta` wide.

    Parameters are shared.

    Arguments:
        problem: The problem.
        n: The number of steps that its horizon is meant for.
        L: The number of steps.
        beta: The exponent.
        factor: What the branches are multiplied by.
    """
    if L == n and factor == 1:
        return problem
    deep = copy.copy(problem)
    if L != n:
        if isinstance(deep, SupervisedProblem):
            deep.depth = L
        deep.t1 = problem.t0 + (problem.t1 - problem.t0) * (L / n) ** (1 - beta)
    if factor != 1:
        # This replaces the dynamics of the copy alone.
        vars(deep)["dynamics"] = multiplied(deep.dynamics, factor)
    return deep


def multiplied(
    dynamics: Callable[[Time, State, ControlValue], State], factor: float
) -> Callable[[Time, State, ControlValue], State]:
    """The vector field times a number."""
    return lambda t, x, u: factor * dynamics(t, x, u)
