"""Training and evaluation mode of modules, changed for a while and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


__all__ = ["mode"]


@contextmanager
def mode(training: bool, *modules: nn.Module) -> Iterator[None]:
    """Puts modules into training or evaluation mode while the context lasts.

    Afterwards, also after an exception, every submodule has the mode that it had before: a part
    that the user keeps in evaluation mode stays there.

    Arguments:
        training: Whether to train.
        modules: Those whose mode is set, with all their parts.
    """
    before = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.train(training)
        yield
    finally:
        for part, was_training in before:
            part.training = was_training
