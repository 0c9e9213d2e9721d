"""The constants that the iteration has in Python and in C alike; the C header is written from here.

Each name in capitals below is a macro of the same name in C; a tuple becomes an array.
"""

from enum import Enum


class Code(Enum):
    """How a method ended on one instance; `solve` finds the reason."""

    RUNNING = 0
    CONVERGED = 1
    STALLED = 2
    UNBOUNDED = 3
    DIVERGED = 4
    EXHAUSTED = 5
    INFEASIBLE = 6
    INVALID = 7


FIXED = ("h", "n", "scale", "weight", "share", "hold")
"""The parameters that every instance has: step width, steps, scale, and those of penalties."""

LAST_BARRIER = 0.1
"""The barrier parameter at the end, as a multiple of the tolerance."""

BARRIER_REACHED = 10
"""The barrier is lowered where the residual is below this many times the barrier parameter."""

BARRIER_FACTOR, BARRIER_POWER = 0.2, 1.5
"""The barrier parameter `mu` becomes the smaller of `factor * mu` and `mu**power`."""

TO_THE_BOUNDARY = 0.99
"""The least share of the way to the boundary that a step may go."""

HALVINGS = 24
"""The number of step lengths that are tried, each half the one before."""

SHORT = 1e-3
"""A step that is not longer than this counts as a failure."""

MOST_FAILURES = 10
"""The number of failures in a row after which to give up."""

PATIENCE, LESS = 80, 0.9
"""Gives up after this many iterations in which no residual is below this share of the least."""

MOST_VARIABLE, MOST_MULTIPLIER = 1e10, 1e12
"""Variables larger than this count as unbounded; multipliers larger than this lead nowhere."""

SAFEGUARD = 1e10
"""Multipliers stay within this factor of `mu w / s`."""

USUAL_MULTIPLIER = 100
"""Stationarity is relative to the multipliers' mean size in units of this, where that is larger."""

UNITS_MATTER = 2.0**16
"""Violations are measured in the user's units if the unit of the row is at most this large.

Above that, rounding alone may be more than the tolerance.
"""

GAMMA = 1e-5
"""The share of the violation by which a step must lower the violation or the cost."""

ARMIJO = 1e-4
"""The share of the predicted decrease that a step must achieve."""

MOST_VIOLATION, LITTLE_VIOLATION = 10, 1e-4
"""The violation that the filter allows, and the one below which only the cost counts.

Both are shares of the first violation or, where that is larger, of one.
"""

MOST_GROWTH = 1e3
"""A step may raise the violation to this many times its value, or to the first one, or to one."""

CORRECTIONS, CORRECTED = 4, 0.99
"""How many second-order corrections a step gets, if each leaves at most this share of a violation.

They are tried where the whole step is not good because it raises the violation.
"""

DESCENT_POWER, VIOLATION_POWER = 2.3, 1.1
"""A step serves to lower the cost where `alpha descent^2.3` exceeds `violation^1.1`."""

ROUNDINGS = 10
"""The number of units of rounding by which a cost may rise."""

FIRST_SHIFT, LEAST_SHIFT, MOST_SHIFT = 1e-4, 1e-10, 1e12
"""The multiples of the identity that make a Hessian convex: first tried, least and most."""

SHIFT_RELAXED, SHIFT_RAISED, SHIFT_RAISED_FIRST = 3, 8, 100
"""The divisor of a multiple that sufficed last, and the factors for one that does not suffice.

The last factor holds where none was needed before.
"""

INSIST = 10
"""Where no step was good, the next multiple is this times the last, or times `SHORT`."""

PENALTIES = (1e2, 1e5, 1e8)
"""Weights of the terminal constraint's square, tried in turn.

The step itself does not depend on them, but only where one is large enough is the problem convex
away from the constraint as well. The last one costs digits, so it serves only for the proof.
"""

SOFT = 1e-6
"""How soft the terminal constraint is made where its rows depend on each other."""

SLIGHT = 1e-7
"""The most negative curvature that rounding can explain."""


def c_header() -> str:
    """All of these as C source."""
    shared = {name: value for name, value in globals().items() if name.isupper()}
    lines = [f"enum {{ {', '.join(f'{code.name} = {code.value}' for code in Code)} }};"]
    for name, value in shared.items():
        if name == "FIXED":
            lines += [f"#define SCALE {FIXED.index('scale')}", f"#define UNITS {len(FIXED)}"]
        elif isinstance(value, tuple):
            numbers = ", ".join(map(repr, value))
            lines += [
                f"static const real {name}[] = {{{numbers}}};",
                f"enum {{ N_{name} = {len(value)} }};",
            ]
        else:
            lines.append(f"#define {name} {value!r}")
    return "\n".join(lines)
