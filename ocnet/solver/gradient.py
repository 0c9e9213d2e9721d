"""How a solver finds gradients: each way is an object to pass as `gradient=`."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .._arguments import shown


@dataclass(frozen=True, repr=False)
class Gradient:
    """A way to find the gradient of what a solver computes.

    Attributes:
        repeats: Whether it evaluates the formulas a second time on the way back.
        follows_time: Whether it follows the gradient of a horizon that requires one.
    """

    repeats: ClassVar[bool] = False
    follows_time: ClassVar[bool] = True

    def __repr__(self) -> str:
        given = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        shown = ", ".join(f"{name}={value!r}" for name, value, usual in given if value != usual)
        return f"{type(self).__name__}({shown})"

    def __str__(self) -> str:
        return f"gradient={self!r}"

    def refusal(self) -> ValueError:
        """The error for dynamics that would not give the same values when computed again."""
        return ValueError(
            f"{self} computes every step again, so the dynamics must draw no random numbers: set "
            "dropout to 0, or take another gradient."
        )


@dataclass(frozen=True, repr=False)
class Backprop(Gradient):
    """Backpropagation through all operations of the solver, which are kept for the way back."""


@dataclass(frozen=True, repr=False)
class Checkpoint(Gradient):
    """Keeps every `sqrt(n)`-th state, and computes the steps between again on the way back.

    Memory grows like `sqrt(n)`. The trajectory holds the states that were kept.
    """

    repeats = True


@dataclass(frozen=True, repr=False)
class Costate(Gradient):
    """The costate recursion by itself, and the gradient of the control for all steps at once.

    It keeps every step. It takes open-loop controls, and dynamics that use the same tensor
    operations at every step; for these it is the fastest.

    Attributes:
        compile: Whether the recursions are compiled, a fixed number of steps at a time, however
            deep the network is. That needs a C++ compiler and takes some seconds at the first
            solve.

    Raises:
        TypeError: If `compile` is not a bool.
    """

    follows_time = False

    compile: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.compile, bool):
            raise TypeError(f"compile must be True or False, but got {shown(self.compile)}.")

    def refusal(self) -> ValueError:
        return ValueError(
            f"{self} needs dynamics without random numbers, but a generator of numpy or Python was "
            "drawn from."
        )


@dataclass(frozen=True, repr=False)
class Adjoint(Gradient):
    """Solves the adjoint equation backwards in time, with the solver's method and tolerances.

    Memory does not grow with the number of steps.
    """

    repeats = True


def check_gradient(gradient: Any, kinds: tuple[type[Gradient], ...]) -> None:
    """Raises a TypeError unless a gradient is one of those that a solver takes."""
    if not isinstance(gradient, kinds):
        *some, last = [f"{kind.__name__}()" for kind in kinds]
        wanted = f"{', '.join(some)} or {last}" if some else last
        raise TypeError(f"gradient must be {wanted}, but got {shown(gradient)}.")
