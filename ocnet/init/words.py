"""Initialisations in words, as they are typed in a shell: `fbm:0.8`, `smooth:rbf:0.1`."""

from collections.abc import Callable

from .._arguments import check_kind
from .kernels import CovarianceKernel, Matern, OrnsteinUhlenbeck, RBF
from .kinds import FractionalNoise, Iid, Kind, Repeated, SmoothIncrements, SmoothValues, Spline


KERNELS: dict[str, Callable[..., CovarianceKernel]] = {
    "rbf": RBF,
    "matern": Matern,
    "ou": OrnsteinUhlenbeck,
}
KINDS: dict[str, tuple[str, Callable[..., Kind]]] = {
    "iid": ("iid[:uniform|gaussian]", Iid),
    "fbm": ("fbm:H", lambda H: FractionalNoise(float(H))),
    "smooth": ("smooth[:KERNEL[:LENGTH]]", lambda *words: SmoothValues(kernel(*words))),
    "increments": ("increments[:KERNEL[:LENGTH]]", lambda *words: SmoothIncrements(kernel(*words))),
    "repeated": ("repeated", Repeated),
    "spline": ("spline[:KNOTS]", lambda count="8": Spline(int(count))),
}


def kernel(name: str = "rbf", *numbers: str) -> CovarianceKernel:
    """A kernel from its name, its length scale and, for `matern`, its smoothness."""
    return KERNELS[name](*map(float, numbers))


def parse_kind(text: str) -> Kind:
    """The initialisation that a text names, its arguments after colons.

    `iid`, `iid:gaussian`, `fbm:0.8`, `smooth`, `smooth:matern:0.1:1.5`, `increments:rbf:0.1`,
    `repeated`, `spline:8`. Kernels are `rbf`, `matern` and `ou`; lengths are shares of the depth.

    Raises:
        TypeError, ValueError: If the text names none; the message lists those that there are.
    """
    check_kind("text", text, str)
    name, *words = text.split(":")
    try:
        return KINDS[name][1](*words)
    except (KeyError, TypeError, ValueError) as error:
        known = ", ".join(usage for usage, _ in KINDS.values())
        why = f" ({error})" if isinstance(error, ValueError) else ""
        raise ValueError(
            f"An initialisation must be one of {known}, with the kernels "
            f"{', '.join(KERNELS)}, but got {text!r}{why}."
        ) from None
