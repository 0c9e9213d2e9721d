"""The depth certificate: whether the steps of a solver behave like the ODE that they discretise."""

from .certification import certificate_of, depth_certificate
from .measured import Measured
from .path import Path
from .reference import FINE_STEPS
from .terms import (
    Advice,
    CLOSE,
    Optima,
    Order,
    Spread,
)
from .verdict import Certificate


__all__ = [
    "Advice",
    "Certificate",
    "certificate_of",
    "CLOSE",
    "depth_certificate",
    "FINE_STEPS",
    "Measured",
    "Optima",
    "Order",
    "Path",
    "Spread",
]
