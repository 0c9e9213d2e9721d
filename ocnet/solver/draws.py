"""Random numbers that formulas draw from other sources than torch, so they cannot be repeated."""

import pickle
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn, Tensor

from ..control import Control
from ..control.base import time_dtype
from ..problem import Problem
from .gradient import Gradient
from .recompute import frozen, tracking


REPEATS = 16
"""How often dynamics are evaluated at one point to see whether they are random."""


GENERATORS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
"""The kinds of generators that a problem may hold."""


def state_of(source: Any) -> Callable[[], Any]:
    """The function that returns the state of a generator."""
    if isinstance(source, np.random.Generator):
        return lambda: source.bit_generator.state
    return source.getstate if isinstance(source, random.Random) else source.get_state


def sources(modules: Iterable[nn.Module]) -> list[Callable[[], Any]]:
    """The states of numpy's global generator, and of those that modules or their files hold."""
    found: dict[int, Callable[[], Any]] = {}
    spaces: dict[int, dict[str, Any]] = {}
    for module in modules:
        for part in module.modules():
            spaces[id(part)] = vars(part)
            package = type(part).__module__
            if not package.startswith(("torch.", "ocnet.")):
                file = sys.modules.get(package)
                spaces[id(file)] = {} if file is None else vars(file)
    for space in spaces.values():
        for value in list(space.values()):
            if isinstance(value, GENERATORS):
                found[id(value)] = state_of(value)
    return [np.random.get_state, *found.values()]


@contextmanager
def drawing_nothing(
    problem: Problem, control: Control, x: Tensor, gradient: Gradient
) -> Iterator[None]:
    """Refuses formulas that draw random numbers which a second evaluation would not repeat.

    Torch's own generator is not checked, because each gradient deals with it in its own way.

    Arguments:
        problem, control: Where the formulas are.
        x: A state, at the initial time.
        gradient: The gradient, which evaluates formulas again or records them.

    Raises:
        ValueError: If they drew from a generator.
    """
    states = sources((problem, control))
    before, python = [pickle.dumps(state()) for state in states], random.getstate()
    yield
    drew = any(pickle.dumps(state()) != old for state, old in zip(states, before, strict=True))
    # Type checkers draw from Python's generator too, but that changes no value.
    if drew or (python != random.getstate() and is_random(problem, control, x)):
        raise gradient.refusal()


@torch.no_grad()
def is_random(problem: Problem, control: Control, x: Tensor) -> bool:
    """Whether dynamics give different values at one point although torch draws the same numbers."""
    t = torch.tensor(control.t0, dtype=time_dtype(x.device), device=x.device)
    (law,) = control.laws([control.t0])
    devices = [x.device] if x.device.type == "cuda" else []
    values = []
    for _ in range(REPEATS):
        with torch.random.fork_rng(devices), frozen(tracking(problem, control)):
            values.append(problem.dynamics(t, x, law(x)))
    return not all(torch.equal(value, values[0]) for value in values)
