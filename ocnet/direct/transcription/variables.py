"""The variables of the discretised problem: states, controls, slacks and multipliers."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .inequality import Inequalities


class Sizes(Protocol):
    """What lower modules need of a discretised problem: its sizes, initial states and inequalities.

    Attributes:
        n, nz, nu: The number of steps, and the sizes of the extended state and of the control.
        n_psi: The number of terminal constraints.
        x0: The initial states, shape `(batch, nx)`.
        along, end: The inequalities at each step and at the final state.
    """

    n: int
    nz: int
    nu: int
    n_psi: int
    x0: Tensor
    along: Inequalities
    end: Inequalities


class Iterate(NamedTuple):
    """Primal and dual variables; time first, then the batch, then a vector.

    Attributes:
        z, u: Extended states `(n + 1, batch, nz)` and controls `(n, batch, nu)`.
        costate: The multipliers of the dynamics, `(n + 1, batch, nz)`.
        nu: The multipliers of the terminal constraint, `(1, batch, rows)`.
        s, y: Slacks and multipliers of the inequalities at each step, `(n, batch, rows)`.
        s_end, y_end: Those of the inequalities at the final state, `(1, batch, rows)`.
    """

    z: Tensor
    u: Tensor
    costate: Tensor
    nu: Tensor
    s: Tensor
    y: Tensor
    s_end: Tensor
    y_end: Tensor

    @property
    def end(self) -> Tensor:
        """The final state and the last control, shape `(1, batch, d)`."""
        return torch.cat([self.z[-1:], self.u[-1:]], -1)

    @classmethod
    def without_multipliers(cls, nlp: Sizes, z: Tensor, u: Tensor) -> "Iterate":
        """States and controls; slacks and multipliers are zero."""
        size = len(nlp.x0)
        nu = z.new_zeros(1, size, nlp.n_psi)
        y, y_end = z.new_zeros(nlp.n, size, len(nlp.along)), z.new_zeros(1, size, len(nlp.end))
        return cls(z, u, torch.zeros_like(z), nu, y, y, y_end, y_end)

    def take(self, index: Tensor) -> "Iterate":
        """The variables of some of the instances."""
        return type(self)(*(value[:, index] for value in self))

    def put(self, index: Tensor, part: "Iterate") -> "Iterate":
        """The variables with those of some of the instances replaced."""
        pairs = zip(self, part, strict=True)
        return type(self)(*(value.index_copy(1, index, new) for value, new in pairs))

    def moved(self, step: "Iterate", primal: Tensor, dual: Tensor) -> "Iterate":
        """`self + alpha step`, with an `alpha` for each instance.

        It is `dual` for `y` and `y_end`, and `primal` for all else.
        """
        primal, dual = primal[:, None], dual[:, None]
        lengths = (primal, primal, primal, primal, primal, dual, primal, dual)
        return type(self)(*(a + alpha * b for a, b, alpha in zip(self, step, lengths, strict=True)))

    def weighed(self, ratio: Tensor) -> "Iterate":
        """The variables for a cost that is multiplied by a ratio, one for each instance."""
        ratio = ratio[:, None]
        return self._replace(
            costate=ratio * self.costate, nu=ratio * self.nu, y=ratio * self.y,
            y_end=ratio * self.y_end,
        )  # fmt: skip

    def where(self, mask: Tensor, other: "Iterate") -> "Iterate":
        """The instances of `self` where `mask` holds, and those of `other` elsewhere."""
        mask = mask[:, None]
        return type(self)(*(torch.where(mask, a, b) for a, b in zip(self, other, strict=True)))
