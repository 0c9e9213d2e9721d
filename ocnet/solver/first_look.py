"""A first look at a user's formulas: do they drop a gradient that is asked for?

The first steps that a solver takes are watched, operation by operation. This can prove that a
gradient is lost, but not that none is lost.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..problem import Problem
from .gradient import Gradient


STEPS_IN_TIME = frozenset(
    "lt le gt ge eq ne less less_equal greater greater_equal equal not_equal sign sgn heaviside "
    "floor ceil round trunc bucketize searchsorted floor_divide".split()
)
"""Functions whose derivative is zero wherever it exists."""

NUMBERS = frozenset("item float int tolist numpy".split())
"""Functions that take a number out of a tensor, and leave the gradient behind."""

LOOKED: "WeakSet[Problem]" = WeakSet()
"""The problems whose formulas were watched."""


class Origin(NamedTuple):
    """What a tensor was computed from.

    Attributes:
        time: Whether it was computed from the time.
        variable: Whether it was computed from a tensor that requires a gradient.
    """

    time: bool
    variable: bool


def first_look(
    problem: Problem,
    times: Iterable[Tensor],
    states: Iterable[Tensor],
    gradient: Gradient,
    known: Sequence[Tensor] | None = None,
) -> AbstractContextManager[Any]:
    """The context of a problem's first steps, in which its formulas are watched.

    Layers do not see the time, and compiled dynamics are not looked into.

    Arguments:
        problem: The problem whose formulas are watched.
        times: The times that its formulas will be called with.
        states: The states that they start from.
        gradient: How the gradient is found.
        known: The tensors whose gradients are followed; None if all are.
    """
    opaque = problem.control_shape is None or "dynamics" in problem.__dict__
    if opaque or torch.compiler.is_compiling() or problem in LOOKED:
        return nullcontext()
    return Look(problem, times, states, gradient, known)


class Look(TorchFunctionMode):
    """Watches every operation, and raises a ValueError where a gradient is dropped.

    Arguments: those of `first_look`.
    """

    def __init__(
        self,
        problem: Problem,
        times: Iterable[Tensor],
        states: Iterable[Tensor],
        gradient: Gradient,
        known: Sequence[Tensor] | None,
    ):
        super().__init__()
        self.problem = problem
        self.gradient = gradient
        self.known: set[int] | None = None if known is None else {id(z) for z in known}
        # An identity belongs to one tensor only as long as that tensor lives.
        self.outside: int = own_functions()
        times, states = list(times), list(states)
        self.alive: list[Tensor] = [*times, *states]
        self.origins: dict[int, Origin | None] = {id(t): Origin(True, False) for t in times}
        self.origins.update((id(x), None) for x in states)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is None:
            LOOKED.add(self.problem)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        drops = func is torch.autograd.grad and not kwargs.get("create_graph", False)
        if drops and own_functions() == self.outside:
            raise ValueError(
                "The formula takes a gradient by torch.autograd.grad, which drops its own gradient:"
                " torch.func.grad keeps it."
            )
        if self.gradient.repeats and kwargs.get("generator") is not None:
            raise self.gradient.refusal()
        origins = [self.origin(z) for z in tensors((args, kwargs))]
        found = [origin for origin in origins if origin is not None]
        pure = len(found) == len(origins)
        origin = Origin(any(o.time for o in found), any(o.variable for o in found))
        if pure and origin.variable:
            self.check(name, origin)
        result = func(*args, **kwargs)
        for z in tensors(result):
            self.origins[id(z)] = origin if pure else None
            self.alive.append(z)
        return result

    def check(self, name: str, origin: Origin) -> None:
        """Raises a ValueError if a function drops the gradient of what it is given."""
        if origin.time and name in STEPS_IN_TIME:
            raise ValueError(
                f"The formula compares the time with a tensor that requires a gradient ({name}), "
                "which that gradient does not pass: write a smooth step, such as "
                "torch.sigmoid((t - s) / width), or let the tensor require none."
            )
        if name in NUMBERS:
            raise ValueError(
                f"The formula takes a number ({name}) out of a tensor that requires a gradient, "
                "which is lost there: compute with the tensor, or detach it."
            )

    def origin(self, z: Tensor) -> Origin | None:
        """What a tensor was computed from; None if that includes the state or the control."""
        if id(z) in self.origins:
            return self.origins[id(z)]
        if not z.requires_grad:
            return Origin(False, False)
        self.follow(z)
        return Origin(False, True) if z.is_leaf else None

    def follow(self, z: Tensor) -> None:
        """Raises a ValueError if the gradient does not follow a tensor's gradient."""
        if self.known is None:
            return
        lost = [leaf for leaf in leaves(z) if id(leaf) not in self.known]
        if lost:
            raise ValueError(
                f"{self.gradient} follows the parameters of the problem and the control, but the "
                f"formula uses another tensor of shape {tuple(lost[0].shape)} that requires a "
                "gradient: make it a torch.nn.Parameter of the problem."
            )


def own_functions() -> int:
    """The number of calls of a `torch.autograd.Function` that are now running.

    Each has its own backward pass. A solver may be one of them; calls that a formula makes are
    counted in addition.
    """
    frame, found = sys._getframe(), 0
    while frame is not None:
        names = frame.f_code.co_varnames
        first = frame.f_locals.get(names[0]) if names and frame.f_code.co_argcount else None
        found += isinstance(first, torch.autograd.function.FunctionCtx)
        frame = frame.f_back
    return found


def tensors(tree: Any) -> Iterable[Tensor]:
    """The tensors among arguments or results."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from tensors(item)
    elif isinstance(tree, dict):
        yield from tensors(tuple(tree.values()))


def leaves(z: Tensor) -> list[Tensor]:
    """The leaves that a tensor was computed from and that require a gradient."""
    if z.grad_fn is None:
        return [z]
    found, seen, nodes = [], set(), [z.grad_fn]
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.append(variable)
        nodes += [child for child, _ in node.next_functions if child is not None]
    return found
