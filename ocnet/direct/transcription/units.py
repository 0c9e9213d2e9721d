"""Units of a discretised problem's variables and rows, other than the user's."""

from typing import NamedTuple

import torch
from torch import Tensor

from .variables import Sizes


NEAR_ONE = 32.0
"""Sizes between `1 / NEAR_ONE` and `NEAR_ONE` count as one."""


class Units(NamedTuple):
    """The unit of each variable and row: powers of two, which divide without rounding.

    A row of the dynamics has the unit of its state.

    Attributes:
        w: The units of the extended state and the control, shape `(batch, nz + nu)`.
        g, psi, omega: The units of the rows of the constraints, each `(batch, rows)`.
    """

    w: Tensor
    g: Tensor
    psi: Tensor
    omega: Tensor

    @classmethod
    def ones(cls, nlp: Sizes) -> "Units":
        """The user's own units."""
        rows = nlp.nz + nlp.nu, nlp.along.rows, nlp.n_psi, nlp.end.rows
        return cls(*(nlp.x0.new_ones(len(nlp.x0), size) for size in rows))

    def are_ones(self) -> bool:
        """Whether they are the user's own for all instances."""
        return all(bool((value == 1).all()) for value in self)

    def take(self, index: Tensor) -> "Units":
        """The units of some of the instances."""
        return type(self)(*(value[index] for value in self))

    def own(self, z: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """States and controls in the user's units."""
        nz = z.shape[-1]
        return z * self.w[..., :nz], u * self.w[..., nz:]

    def of_rows(self, nlp: Sizes) -> tuple[Tensor, Tensor]:
        """The units of all inequalities along the path and at the end, bounds first."""
        along, end = nlp.along, nlp.end
        return (
            torch.cat([self.w[:, along.at_lower], self.w[:, along.at_upper], self.g], -1),
            torch.cat([self.w[:, end.at_lower], self.w[:, end.at_upper], self.omega], -1),
        )
