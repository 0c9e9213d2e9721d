"""The base of the library's own exceptions."""

__all__ = ["OcnetError"]


class OcnetError(Exception):
    """What goes wrong in this library by a name of its own: `except OcnetError` catches it all.

    Each of its subclasses has a built-in exception as a base too, where one fits. Wrong arguments
    raise ValueError and TypeError as everywhere in Python.
    """
