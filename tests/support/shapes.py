"""The run-time check of shapes: of every annotation, the parts that name a tensor's shape.

Other types are left to the static checker and to the library's own, clearer errors. jaxtyping's
import hook wraps every function, which costs up to half of a test's time; `install` lets it wrap
only those whose annotations name a shape.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook


jaxtyped = jaxtyping.jaxtyped


def install(packages: Sequence[str]) -> None:
    """Checks shapes in the packages, which must not have been imported yet."""
    # What the hook inserts into their sources is `@jaxtyping.jaxtyped(typechecker=...)`.
    jaxtyping.jaxtyped = where_shapes_are_named
    install_import_hook(packages, f"{__name__}.checked")


def where_shapes_are_named(*, typechecker: Any) -> Callable[[Any], Any]:
    """The decorator that checks what has shapes in its annotations, and leaves the rest alone."""

    decorator: Any = jaxtyped(typechecker=typechecker)

    def decorate(what: Any) -> Any:
        function = what.fget if isinstance(what, property) else getattr(what, "__func__", what)
        if any(map(names_shape, hints(function).values())):
            return decorator(what)
        return what

    return decorate


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, checking the shapes of its arguments and results."""
    function.__annotations__ = {
        name: hint for name, hint in hints(function).items() if names_shape(hint)
    }
    return beartype(function)


def hints(what: Any) -> dict[str, Any]:
    """The annotations of a function, or of a class with its bases' fields."""
    if not inspect.isclass(what):
        return getattr(what, "__annotations__", {})
    return {n: h for base in what.__mro__ for n, h in vars(base).get("__annotations__", {}).items()}


def names_shape(hint: Any) -> bool:
    """Whether an annotation says what shape a tensor has; "..." alone allows every shape."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return hint.dim_str != "..."
    return any(names_shape(part) for part in get_args(hint))
