"""The depth certificate: whether the steps of a solver behave like the ODE that they discretise."""

from .certify import certify as certify, Measured as Measured
from .reference import doubled as doubled
from .verdict import (
    Advice as Advice,
    Certificate as Certificate,
    CLOSE as CLOSE,
    Optima as Optima,
    Spread as Spread,
)
