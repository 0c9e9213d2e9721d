"""The depth certificate: whether the steps of a solver behave like the ODE that they discretise."""

from .certify import (
    certify as certify,
    depth_certificate as depth_certificate,
    Measured as Measured,
)
from .path import Path as Path
from .reference import FINE_STEPS as FINE_STEPS
from .verdict import (
    Advice as Advice,
    Certificate as Certificate,
    CLOSE as CLOSE,
    Optima as Optima,
    Order as Order,
    Spread as Spread,
)
