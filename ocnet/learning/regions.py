"""Compiled regions: what every step of a solver calls, compiled while a training lasts."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, ExitStack
from typing import Any

import torch
from torch import nn

from ..control import Control, Layers
from ..problem import Problem


RECOMPILES = 16
"""How many versions of one kind of layer are compiled; further ones run uncompiled."""


@contextmanager
def compiled_regions(problem: Problem, control: Control) -> Iterator[None]:
    """Compiles what every step of a solver calls, once for all of them.

    Afterwards, even after an exception, the problem, the layers and the compiler's settings are
    what they were before.

    Arguments:
        problem: Its dynamics and its stage cost are compiled, unless the control is made of layers.
        control: Its layers are compiled, if it has any.
    """
    with ExitStack() as stack:
        if isinstance(control, Layers):
            stack.enter_context(more_versions(control.layers))
            for layer in dict.fromkeys(control.layers):
                stack.enter_context(replaced(layer, "_compiled_call_impl"))
                layer.compile()
        else:
            stack.enter_context(replaced(problem, "dynamics"))
            problem.dynamics = torch.compile(problem.dynamics)
            if problem.has_stage_cost and not isinstance(problem.stage_cost, nn.Module):
                stack.enter_context(replaced(problem, "stage_cost"))
                problem.stage_cost = torch.compile(problem.stage_cost)
        yield


@contextmanager
def replaced(module: nn.Module, name: str) -> Iterator[None]:
    """Lets an attribute be replaced while the context lasts.

    Arguments:
        module: The module that has it, itself or through its class.
        name: The attribute.
    """
    own: dict[str, Any] = vars(module)
    had, before = name in own, own.get(name)
    try:
        yield
    finally:
        if had:
            own[name] = before
        else:
            own.pop(name, None)


def more_versions(layers: Sequence[nn.Module] | nn.ModuleList) -> AbstractContextManager[None]:
    """The context in which PyTorch compiles enough versions of some layers.

    Layers share their code, and PyTorch counts its versions together: each kind of layer has one
    for training, one for evaluation, and one for another batch size.
    """
    # Not at the top of the file: it imports the compiler, which takes a second.
    from torch._dynamo import config

    kinds = {tuple(p.shape for p in layer.parameters()) for layer in layers}
    # PyTorch 2.6 has the older name.
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    limit = max(getattr(config, name), RECOMPILES * len(kinds))
    return config.patch(**{name: limit})  # pyright: ignore[reportAttributeAccessIssue]
