"""Inequalities of one stage: bounds on its variables, and rows that are functions of them."""

import copy

import torch
from torch import Tensor


class Inequalities:
    """`lower - w`, `w - upper` where the bounds are finite, and `g(w)`: one list of rows `<= 0`.

    A bound's row of the Jacobian is a unit vector, which is never written out.

    Arguments:
        lower, upper: The bounds of the variables `w`, shape `(d,)`, infinite where there is none.
        rows: How many rows `g` has.
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, lower: Tensor, upper: Tensor, rows: int):
        self.at_lower: Tensor = lower.isfinite().nonzero()[:, 0]
        self.at_upper: Tensor = upper.isfinite().nonzero()[:, 0]
        self.lower, self.upper = lower[self.at_lower], upper[self.at_upper]
        self.rows = rows
        self.units: tuple[Tensor, Tensor] | None = None
        self.bounded: int = len(self.lower) + len(self.upper)

    def __len__(self) -> int:
        return self.bounded + self.rows

    def values(self, w: Tensor, g: Tensor) -> Tensor:
        """The rows' values, shape `(..., len)`, of variables in the current units."""
        low, high = self.lower, self.upper
        if self.units is not None:
            low, high = low / self.units[0], high / self.units[1]
        return torch.cat([low - w[..., self.at_lower], w[..., self.at_upper] - high, g], -1)

    def in_units(self, units: Tensor) -> "Inequalities":
        """The same for variables in other units, `(batch, d)`, whose rows have these units too."""
        part = copy.copy(self)
        part.units = units[:, self.at_lower], units[:, self.at_upper]
        return part

    def take(self, index: Tensor) -> "Inequalities":
        """The inequalities of some of the instances."""
        if self.units is None:
            return self
        part = copy.copy(self)
        part.units = self.units[0][index], self.units[1][index]
        return part

    def along(self, jacobian: Tensor, dw: Tensor) -> Tensor:
        """The rows' change in the direction `dw`, `D dw`; `jacobian` is that of `g`."""
        g = (jacobian @ dw.unsqueeze(-1)).squeeze(-1)
        return torch.cat([-dw[..., self.at_lower], dw[..., self.at_upper], g], -1)

    def pull_back(self, jacobian: Tensor, v: Tensor) -> Tensor:
        """`D' v`, shape `(..., d)`."""
        n = len(self.lower)
        out = (jacobian.mT @ v[..., self.bounded :].unsqueeze(-1)).squeeze(-1)
        out.index_add_(-1, self.at_lower, -v[..., :n])
        return out.index_add_(-1, self.at_upper, v[..., n : self.bounded])

    def gram(self, jacobian: Tensor, weight: Tensor) -> Tensor:
        """`D' diag(weight) D`, shape `(..., d, d)`."""
        n = len(self.lower)
        out = jacobian.mT @ (weight[..., self.bounded :].unsqueeze(-1) * jacobian)
        diagonal = out.diagonal(dim1=-2, dim2=-1)
        diagonal.index_add_(-1, self.at_lower, weight[..., :n])
        diagonal.index_add_(-1, self.at_upper, weight[..., n : self.bounded])
        return out
