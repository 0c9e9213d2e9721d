"""What the benchmark says about one problem."""

from dataclasses import dataclass


@dataclass
class Part:
    """How one solver fared; times are in seconds.

    Attributes:
        status, reason: What it says itself; "error" if it raised.
        solved: Whether it says that it converged, and rightly so.
        minimum: Which local minimum it found, or what is wrong with its answer.
        iterations: How many it took.
        cost, violation, where, drift: Of its answer, as judged (`Verdict`).
        first: The time until the first answer, with what has to be built and compiled.
        second: The median time of the calls after that.
    """

    status: str
    reason: str
    solved: bool = False
    minimum: str = ""
    iterations: int = 0
    cost: float = float("nan")
    violation: float = float("nan")
    where: str = ""
    drift: float = float("nan")
    first: float = float("nan")
    second: float = float("nan")


@dataclass
class Row:
    """What the table says about one problem.

    Attributes:
        name: The problem.
        reference: The least cost that IPOPT found, or the known one if it found none.
        ours, ipopt: How both solvers fared.
        ratio: The median of the ratios of the times of later calls, round by round.
    """

    name: str
    reference: float
    ours: Part
    ipopt: Part
    ratio: float
