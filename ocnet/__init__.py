"""Deep residual networks and classical control as one optimal control problem, in PyTorch.

`__init__.pyi` lists the public names. Each is imported when it is first used, so `import ocnet`
costs little more than `import torch`.
"""

from importlib.metadata import version

import lazy_loader

# This comes first, because the imports after it take seconds.
from . import _interrupt as _interrupt


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
# `from ocnet import *` is to leave `torch.nn.init` alone. (Checkers read the stub's list.)
__all__.remove("init")  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = version("ocnet")
