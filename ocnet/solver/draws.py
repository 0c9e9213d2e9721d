"""Random numbers that formulas draw elsewhere than from torch: nothing repeats them."""

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
"""What a problem may hold to draw from."""


def state_of(source: Any) -> Callable[[], Any]:
    """What tells the state of a generator."""
    if isinstance(source, np.random.Generator):
        return lambda: source.bit_generator.state
    return source.getstate if isinstance(source, random.Random) else source.get_state


def sources(modules: Iterable[nn.Module]) -> list[Callable[[], Any]]:
    """The global generator of numpy, and those that modules or their files name."""
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
    """Refuses formulas that draw what computing them again would not repeat.

    Torch's own generator is not looked at: what a gradient does about it is its own affair.

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
    # Type checkers draw from Python's generator too, which changes no value.
    if drew or (python != random.getstate() and is_random(problem, control, x)):
        raise gradient.refusal()


@torch.no_grad()
def is_random(problem: Problem, control: Control, x: Tensor) -> bool:
    """Whether dynamics give several values at one point, with the same numbers from torch."""
    t = torch.tensor(control.t0, dtype=time_dtype(x.device), device=x.device)
    (law,) = control.laws([control.t0])
    devices = [x.device] if x.device.type == "cuda" else []
    values = []
    for _ in range(REPEATS):
        with torch.random.fork_rng(devices), frozen(tracking(problem, control)):
            values.append(problem.dynamics(t, x, law(x)))
    return not all(torch.equal(value, values[0]) for value in values)
