"""Every generator of random numbers that a run draws from, and its state as plain values."""

import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn, Tensor

from ..learning.processes import gather, rank
from ..origin import namespaces


Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
"""The kinds of generators that a problem may hold."""


def seed_everything(seed: int) -> None:
    """Seeds the global generators of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class Randomness:
    """The global generators of torch, numpy and Python, and those that a problem holds.

    A problem holds those that its modules and containers have as attributes, and those that are
    global names of the user's own code.

    Arguments:
        modules: The problem and its control.
        device: Where they compute.
    """

    def __init__(self, *modules: nn.Module, device: torch.device):
        self.device = device
        own = {n: s for module in modules for n, s in namespaces(type(module)).items()}
        roots: list[Any] = [*modules, *(own[name] for name in sorted(own))]
        self.held: list[Generator] = list(generators(roots, frozenset(own), set()))

    def of_process(self) -> dict[str, Tensor]:
        """The states of this process's global generators."""
        _, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
        _, words, python_gauss = random.getstate()
        states = {
            "torch": torch.get_rng_state(),
            "numpy": torch.tensor([*map(int, key), position, has_gauss, bits(float(gauss))]),
            "python": torch.tensor(
                [*words, python_gauss is not None, bits(python_gauss or 0.0)], dtype=torch.int64
            ),
        }
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def set_process(self, states: dict[str, Tensor]) -> None:
        """Puts the states of this process's global generators back."""
        torch.set_rng_state(states["torch"])
        *key, position, has_gauss, gauss = states["numpy"].tolist()
        key = np.array(key, dtype=np.uint32)
        np.random.set_state(("MT19937", key, position, has_gauss, number(gauss)))
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)
        *words, has_gauss, gauss = states["python"].tolist()
        python_gauss = number(gauss) if has_gauss else None
        # This comes last, because the type checker that runs in the tests draws from it.
        random.setstate((3, tuple(words), python_gauss))

    def own_state(self) -> tuple[dict[str, Tensor], list[Any]]:
        """All states as this process has them."""
        return self.of_process(), [state_of(g) for g in self.held]

    def set_own_state(self, state: tuple[dict[str, Tensor], list[Any]]) -> None:
        """Puts all states of this process back."""
        of_process, held = state
        for generator, saved in zip(self.held, held, strict=True):
            set_state(generator, saved)
        self.set_process(of_process)

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes, and those that the problem holds; every process calls it."""
        of_process = self.of_process()
        gathered = {
            name: [z.cpu() for z in gather(state.to(self.device))]
            for name, state in of_process.items()
        }
        return {"processes": gathered, "held": [state_of(g) for g in self.held]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores saved states."""
        for generator, saved in zip(self.held, state["held"], strict=False):
            set_state(generator, saved)
        of_processes = state["processes"]
        # Processes beyond the earlier number keep the seed that they started with.
        if rank() < len(of_processes["torch"]):
            self.set_process({name: states[rank()] for name, states in of_processes.items()})


def generators(values: Any, own: frozenset[str], seen: set[int]) -> Iterator[Generator]:
    """The generators in nested containers, modules and objects of the user's own classes.

    Arguments:
        values: Where to look.
        own: The names of the user's own modules.
        seen: The objects visited so far, to which new ones are added.
    """
    for value in values:
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Generator):
            yield value
        elif isinstance(value, dict):
            yield from generators(value.values(), own, seen)
        elif isinstance(value, (list, tuple)):
            yield from generators(value, own, seen)
        elif isinstance(value, nn.Module) or type(value).__module__ in own:
            yield from generators(getattr(value, "__dict__", {}).values(), own, seen)


def state_of(generator: Generator) -> Any:
    """The state of a generator as tensors, numbers and text."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        version, words, gauss = generator.getstate()
        return [version, list(words), gauss]
    return plain(raw(generator))


def set_state(generator: Generator, state: Any) -> None:
    """Restores a state that `state_of` returned."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        version, words, gauss = state
        generator.setstate((version, tuple(words), gauss))
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(alike(state, raw(generator)))
    else:
        generator.bit_generator.state = alike(state, raw(generator))


def raw(generator: np.random.Generator | np.random.RandomState) -> Any:
    """The state of one of numpy's generators, as numpy has it."""
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.bit_generator.state


def plain(tree: Any) -> Any:
    """Nested dictionaries with lists in place of arrays, and Python's numbers."""
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items()}
    return tree.tolist() if isinstance(tree, (np.ndarray, np.generic)) else tree


def alike(tree: Any, template: Any) -> Any:
    """What `plain` took apart, with arrays where the template has some."""
    if isinstance(template, dict):
        return {name: alike(tree[name], value) for name, value in template.items()}
    return np.array(tree, template.dtype) if isinstance(template, np.ndarray) else tree


def bits(value: float) -> int:
    """The bits of a double as an integer."""
    return struct.unpack("q", struct.pack("d", value))[0]


def number(bits: int) -> float:
    """The double that has these bits."""
    return struct.unpack("d", struct.pack("q", bits))[0]
