"""Shape vocabulary shared by every module; the names are the documentation."""

from typing import TypeAlias

from jaxtyping import Float
from torch import nn, Tensor


__all__ = ["ControlValue", "Cost", "State", "Time"]


Time: TypeAlias = Float[Tensor, ""]
"""A depth, or time, `t`: a scalar tensor in double precision, whatever the state's dtype is.

If `t` multiplies a tensor with dimensions, the product has that tensor's dtype. `t.to(x)` has the
state's dtype.
"""

State: TypeAlias = Float[Tensor, "..."]
"""A state `x` of shape `(*batch, *state_shape)`."""

ControlValue: TypeAlias = Tensor | nn.Module
"""A control value `u`: a tensor `(*#batch, *control_shape)`, or a layer that acts on the state."""

Cost: TypeAlias = Float[Tensor, "..."]
"""A cost of shape `(*batch,)`, or one that broadcasts to it."""
