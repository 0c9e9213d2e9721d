"""The depth certificate: whether the steps of a solver behave like the ODE that they discretise."""

from .certify import certify as certify, depth_certificate as depth_certificate
from .measured import Measured as Measured
from .path import Path as Path
from .reference import FINE_STEPS as FINE_STEPS
from .terms import (
    Advice as Advice,
    CLOSE as CLOSE,
    Optima as Optima,
    Order as Order,
    Spread as Spread,
)
from .verdict import Certificate as Certificate
