"""Finds out whether a function draws random numbers: that, too, makes its values differ."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


REPETITIONS = 8
"""How often a function is evaluated to see whether its value changes."""


class Draws(TorchDispatchMode):
    """Watches torch's operations; `seen` says whether one of them drew random numbers.

    Every operation that takes a generator has a tag that says so, whether the generator is torch's
    or one of the user's, on any device.
    """

    seen: bool = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Runs one operation."""
        self.seen = self.seen or torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def draws(function: Callable[[], Tensor]) -> bool:
    """Whether a function of no argument draws random numbers: torch's, numpy's or Python's.

    Generators are watched, not values: two draws may agree by chance. Values are compared only
    because of generators that nobody can watch, such as one of numpy's that the user keeps.

    Arguments:
        function: What is to be evaluated; its value is a tensor.
    """
    before = elsewhere()
    with Draws() as watched:
        first = function()
    if watched.seen or elsewhere() != before:
        return True
    return any(not same(function(), first) for _ in range(REPETITIONS))


def elsewhere() -> tuple[object, ...]:
    """The states of Python's and numpy's own generators."""
    _, key, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), np.asarray(key).tobytes(), *rest


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two values of a function are the same, entry by entry."""
    return torch.equal(a.detach().expand(b.shape).nan_to_num(), b.detach().nan_to_num())
