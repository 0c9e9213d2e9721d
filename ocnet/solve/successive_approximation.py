"""The extended method of successive approximations, from Pontryagin's principle."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .iterate import Iterate
from .method import Code, Method, Outcome
from .single_shooting import check_fixed, outcome, rollout
from .transcription import Transcription


@dataclass(frozen=True)
class SuccessiveApproximation(Method):
    r"""E-MSA: states forward, costates backward, then the least Hamiltonian at every step alone.

    For a discretised problem the Hamiltonian of a step is `c(x, u) + p . F(x, u)`. Minimising it
    alone diverges; extended by what the conditions of state and costate change it converges:

    $$ u_k \leftarrow \arg\min_v \; c(x, v) + p \cdot F(x, v)
       + \frac{\rho}{2h} \big| F(x, v) - F(x, u_k) \big|^2
       + \frac{\rho}{2h} \big| \nabla_x (c + p \cdot F)(x, v) - \nabla_x (c + p \cdot F)(x, u_k)
       \big|^2. $$

    `rho` doubles whenever the cost rises. For problems without terminal, path and time freedom;
    bounds are kept by projection.

    Arguments:
        n_steps: How many sweeps.
        rho: The weight of the extension to start with.
        inner: L-BFGS iterations of each minimisation, which is over all steps at once.
        tolerance: Of the slope of the Hamiltonian.

    References:
        Q. Li, L. Chen, C. Tai, W. E, Maximum Principle Based Algorithms for Deep Learning,
        Journal of Machine Learning Research 18(165), 2018.
    """

    n_steps: int = 500
    rho: float = 0.1
    inner: int = 20
    tolerance: float = 1e-3

    @property
    def accuracy(self) -> float | None:
        return self.tolerance

    def run(self, nlp: Transcription, start: Iterate, mu: float) -> Outcome:
        check_fixed(nlp, "SuccessiveApproximation")
        if nlp.n_psi + nlp.along.rows + nlp.end.rows:
            raise ValueError("SuccessiveApproximation knows bounds, but no other constraints.")
        nlp.scale = torch.ones_like(nlp.scale)
        none, no_rows = nlp.x0.new_zeros(1, len(nlp.x0), 0), nlp.x0.new_zeros(nlp.n, 1, 0)
        no_rows = no_rows.expand(-1, len(nlp.x0), -1)
        u, rho = start.u.detach(), torch.full_like(nlp.scale, self.rho)
        with torch.no_grad():
            x, cost = rollout(nlp, u)
            now = outcome(nlp, u, none, no_rows, 0, self.tolerance)
        for sweep in range(1, self.n_steps + 1):
            if bool((now.code == Code.CONVERGED.value).all()):
                break
            trial = self.minimised(nlp, x[:-1], now.it.costate[1:], u, rho)
            with torch.no_grad():
                x_new, cost_new = rollout(nlp, trial)
                better = cost_new <= cost
                rho = torch.where(better, rho / 1.2, 2 * rho)
                u = torch.where(better[:, None], trial, u)
                x = torch.where(better[:, None], x_new, x)
                cost = torch.where(better, cost_new, cost)
                now = outcome(nlp, u, none, no_rows, sweep, self.tolerance)
        return now

    def minimised(self, nlp: Transcription, x: Tensor, p: Tensor, u: Tensor, rho: Tensor) -> Tensor:
        """The controls that minimise the extended Hamiltonian of every step."""
        with torch.enable_grad():
            here = self.terms(nlp, x, p, u)
        F, _, slope = (value.detach() for value in here)
        v = u.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [v], max_iter=self.inner, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
        )
        weight = rho[:, None] / (2 * nlp.points.h)

        def closure() -> Tensor:
            optimizer.zero_grad()
            F_v, hamiltonian, slope_v = self.terms(nlp, x, p, v)
            extension = weight * ((F_v - F) ** 2).sum(-1, keepdim=True)
            extension = extension + weight * ((slope_v - slope) ** 2).sum(-1, keepdim=True)
            total = (hamiltonian + extension).sum()
            (v.grad,) = torch.autograd.grad(total, v)
            return total.detach()

        with torch.enable_grad():
            optimizer.step(closure)
        low, high = nlp.u_bounds
        return torch.minimum(torch.maximum(v.detach(), low), high)

    @staticmethod
    def terms(nlp: Transcription, x: Tensor, p: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`F`, the Hamiltonian `c + p . F` and its slope in `x` at every step."""
        x = x.detach().requires_grad_()
        F, c, _ = nlp.stages(x, u)
        hamiltonian = c + (p * F).sum(-1, keepdim=True)
        (slope,) = torch.autograd.grad(
            hamiltonian.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return F, hamiltonian, slope
