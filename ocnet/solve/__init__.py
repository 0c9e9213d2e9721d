"""Second-order, constrained, batched optimal control with an optimality certificate."""

from ..certificate import Certificate as Certificate
from .first_order import Adam as Adam, LBFGS as LBFGS
from .interior_point import InteriorPoint as InteriorPoint
from .method import Method as Method
from .solution import Solution as Solution
from .solve import solve as solve
from .successive_approximation import SuccessiveApproximation as SuccessiveApproximation
