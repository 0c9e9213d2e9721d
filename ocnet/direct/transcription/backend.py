"""What computes a discretised problem's derivatives, torch or machine code: one protocol."""

from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from .variables import Iterate


class Derivatives(NamedTuple):
    """Values and Jacobians of several functions, and the Hessian of their weighted sum.

    Attributes:
        values: The functions' values, each `(*points, rows)`.
        jacobians: Their Jacobians, each `(*points, rows, d)`.
        hessian: The Hessian of `sum_i weights_i . values_i`, shape `(*points, d, d)`.
    """

    values: tuple[Tensor, ...]
    jacobians: tuple[Tensor, ...]
    hessian: Tensor

    def take(self, index: Tensor) -> "Derivatives":
        """The derivatives of some of the instances; the points have the shape `(time, batch)`."""
        values, jacobians = (tuple(v[:, index] for v in part) for part in self[:2])
        return type(self)(values, jacobians, self.hessian[:, index])


class Linearisation(NamedTuple):
    """Values and derivatives at an iterate.

    Attributes:
        along, end: Derivatives of `F, c, g` at each step and of `phi, psi, omega` at the end.
        defect: `F(z_k, u_k) - x_{k+1}`, shape `(n, batch, nx)`.
        rows, rows_end: The inequalities' values as they are imposed.
    """

    along: Derivatives
    end: Derivatives
    defect: Tensor
    rows: Tensor
    rows_end: Tensor

    def take(self, index: Tensor) -> "Linearisation":
        """The linearisation of some of the instances."""
        values = (value[:, index] for value in (self.defect, self.rows, self.rows_end))
        return type(self)(self.along.take(index), self.end.take(index), *values)


class Ended(NamedTuple):
    """Where an iteration of the interior point method ended, for each instance.

    Attributes:
        it: The variables.
        code: The value of a `Code`, shape `(batch,)`.
        iterations: The number of iterations that it took.
        minimum: Whether the second-order condition holds.
    """

    it: Iterate
    code: Tensor
    iterations: Tensor
    minimum: Tensor


Nlp = TypeVar("Nlp", contravariant=True)


class Backend(Protocol[Nlp]):
    """Computes derivatives, and everything that goes through the stages one after the other.

    Attributes:
        by_autograd: Whether derivatives are those that torch makes of the user's own code.
        has_steps: Whether a function may be constant almost everywhere, as rounding is.
    """

    by_autograd: bool
    has_steps: bool

    def of(self, nlp: Nlp) -> "Backend[Nlp]":
        """The backend of a problem made from this backend's, such as the one with penalties."""
        ...

    def derivatives(self, nlp: Nlp, it: Iterate) -> tuple[Derivatives, Derivatives]:
        """The derivatives of `F, c, g` along the path and of `phi, psi, omega` at the end.

        The Hessians are those of `costate F + scale c + y g` and `scale phi + nu psi + y omega`.
        """
        ...

    def rollout(self, nlp: Nlp, z: Tensor, u: Tensor) -> Tensor:
        """The extended states `(n + 1, batch, nz)` that controls lead to from `z`."""
        ...

    def adjoint(self, nlp: Nlp, lin: Linearisation, it: Iterate) -> Tensor:
        """Costates that make the Lagrangian stationary in the states; those of `it` are zero."""
        ...

    def iterate(
        self, nlp: Nlp, start: Iterate, tolerance: float, mu: float, most: Tensor
    ) -> Ended | None:
        """The whole iteration of the interior point method; None if it cannot do that.

        Arguments:
            nlp: The discretised problem.
            start: Where to start.
            tolerance: The tolerance of the residuals.
            mu: The barrier parameter to start with.
            most: How many iterations each instance may take, shape `(batch,)`.
        """
        ...
