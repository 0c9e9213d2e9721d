"""The run-time check of shapes: of every annotation, the parts that name a tensor's shape.

Other types are left to the static checker and to the library's own, clearer errors.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, checking the shapes of its arguments and results."""
    hints = getattr(function, "__annotations__", {})
    function.__annotations__ = {name: hint for name, hint in hints.items() if names_shape(hint)}
    return beartype(function)


def names_shape(hint: Any) -> bool:
    """Whether an annotation says what shape a tensor has."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(names_shape(part) for part in get_args(hint))
