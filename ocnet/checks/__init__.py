"""What can be wrong with the functions that a user writes, each check one function.

`solve`, `compare`, `train` and `ocnet.testing` share them. A check returns findings; it may refute
what the library assumes, never confirm it.
"""

from .finding import (
    Finding as Finding,
    naming as naming,
    ProblemError as ProblemError,
    refuse as refuse,
)
from .members import misspelt as misspelt
from .mixing import (
    mixing_for_solve as mixing_for_solve,
    mixing_in_training as mixing_in_training,
)
