"""The base of the library's own exceptions."""

__all__ = ["OcnetError"]


class OcnetError(Exception):
    """The base of the library's own exceptions: `except OcnetError` catches all of them.

    Each of its subclasses has a built-in exception as a base too, where one fits. Wrong arguments
    raise ValueError and TypeError as everywhere in Python.
    """
