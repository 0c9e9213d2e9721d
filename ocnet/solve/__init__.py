"""Second-order, constrained, batched optimal control with an optimality certificate."""

from .interior_point import InteriorPoint as InteriorPoint
from .method import Method as Method
from .solution import Solution as Solution
from .solve import solve as solve
