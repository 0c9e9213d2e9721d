"""Machine code for one problem: its functions as scalar formulas, differentiated and compiled.

`expression` holds formulas and their derivatives, `symbol` writes down what torch is asked to
compute by the rules in `formulas`, `trace` calls the problem's functions with symbols, `reads`
tells which variables occur in them, `emit` turns the formulas into C, `build` compiles them, and
`kernel` calls the result.

Problems are not compiled if they branch on values, draw random numbers, use operations without a
scalar formula, or are too large to be written out (`Unsupported` says which). Nor are problems
that are not on a CPU.
"""

from .cache import UnsafeCache
from .formulas import Unsupported
from .kernel import Kernel, kernel_of
from .reads import reads_of
from .trace import Formulas, traced


__all__ = [
    "Formulas",
    "kernel_of",
    "Kernel",
    "reads_of",
    "traced",
    "UnsafeCache",
    "Unsupported",
]
