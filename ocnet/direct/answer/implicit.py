"""Derivatives of the answer in initial states and parameters, by the implicit function theorem."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...problem import Batch
from ..interior_point.newton import stages
from ..interior_point.riccati import riccati, Stages
from ..transcription.backend import Linearisation
from ..transcription.iterate import over
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from .undefined import Failed, FailedGradient, Undefined


class LinearSolve(torch.autograd.Function):
    """The solution of a linear-quadratic problem as a function of its linear terms.

    The matrix of its optimality conditions is symmetric, so the backward pass is the same solve
    with the cotangents as linear terms.
    """

    @staticmethod
    def forward(
        ctx: Any, problem: Stages, q: Tensor, c: Tensor, q_end: Tensor, psi: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.problem = problem
        ctx.nx = problem.defect.shape[-1]
        step = riccati(problem._replace(gradient=q, defect=c, end_gradient=q_end, end_defect=psi))
        return step.z, step.u, step.costate[1:, :, : ctx.nx], step.nu

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        z, u, costate, nu = cotangents
        problem: Stages = ctx.problem
        step = riccati(
            problem._replace(
                gradient=torch.cat([z[:-1], u], -1),
                defect=costate,
                end_gradient=z[-1],
                end_defect=nu,
            )
        )
        q = torch.cat([step.z[:-1], step.u], -1)
        return None, q, step.costate[1:, :, : ctx.nx], step.z[-1], step.nu


def needs_derivatives(nlp: Transcription) -> bool:
    """Whether initial states or parameters require derivatives."""
    shared, own, _ = nlp.given
    tensors = [nlp.x0, *shared.values(), *own.values(), *nlp.problem.parameters()]
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


def with_derivatives(
    nlp: Transcription, batch: Batch, it: Iterate, cost: Tensor, lin: Linearisation, mu: float,
    words: Sequence[tuple[str, str]], gradient: FailedGradient,
) -> tuple[Iterate, Tensor]:  # fmt: skip
    """Answers and their costs as functions of what they depend on: `attach` where they converged.

    Arguments:
        nlp: The discretised problem.
        batch: The problem as it was given.
        it: The answers.
        cost: Their costs, shape `(batch,)`.
        lin: The linearisation there.
        mu: The barrier parameter at the end.
        words: Status and reason of each instance.
        gradient: How to treat a gradient through an instance that did not converge.
    """
    good = [i for i, (status, _) in enumerate(words) if status == "converged"]
    bad = [i for i, (status, _) in enumerate(words) if status != "converged"]
    if not bad:
        return attach(nlp, it, lin, torch.full_like(nlp.scale, mu))
    at = torch.tensor(bad, device=cost.device)
    values = (it.z[:, at], it.u[:, at], it.costate[:, at], it.nu[:, at], cost[at])
    own = [batch.x0, *(batch.parameters[name] for name in nlp.given.own)]
    own = [v.reshape(len(cost), -1)[at] for v in own]
    shared = [*(batch.parameters[name] for name in nlp.given.shared), *nlp.problem.parameters()]
    failed = Failed(bad, [words[i] for i in bad], gradient)
    parts = Undefined.apply(failed, (1, 1, 1, 1, 0), len(own), *values, *own, *shared)
    if good:
        some = torch.tensor(good, device=cost.device)
        scale = torch.full_like(nlp.scale[some], mu)
        moved, lower = attach(nlp.take(some), it.take(some), lin.take(some), scale)
        both = zip((moved.z, moved.u, moved.costate, moved.nu, lower), parts, strict=True)
        back = torch.cat([some, at]).argsort()
        parts = [torch.cat(pair, d)[(slice(None),) * d + (back,)]
                 for pair, d in zip(both, (1, 1, 1, 1, 0), strict=True)]  # fmt: skip
    z, u, costate, nu, cost = parts  # pyright: ignore
    return it._replace(z=z, u=u, costate=costate, nu=nu), cost


def attach(
    nlp: Transcription, it: Iterate, lin: Linearisation, mu: Tensor
) -> tuple[Iterate, Tensor]:
    """The optimum and its cost as differentiable functions of initial states and parameters.

    One Newton step from the optimum changes nothing, but its result depends on what the optimum
    depends on. The cost takes the derivative of the Lagrangian (envelope theorem).
    """
    with torch.no_grad():
        problem = stages(nlp, it, lin, mu)
    z_0 = torch.cat([nlp.x0, it.z[0, :, nlp.nx :]], -1)[None]
    nz = nlp.nz
    w = torch.cat([torch.cat([z_0, it.z[1:-1]]), it.u], -1).requires_grad_()
    w_end = it.end.clone().requires_grad_()
    F, c, g = nlp.stages(w[..., :nz], w[..., nz:])
    phi, psi, omega = nlp.ends(w_end[..., :nz], w_end[..., nz:])
    rows = nlp.along.values(w, nlp.imposed(g)) + it.s
    rows_end = nlp.end.values(w_end, omega - nlp.rooms()[1]) + it.s_end
    scale = nlp.scale[:, None]
    defect = F - it.z[1:, :, : nlp.nx]
    lagrangian = over(
        lambda v: v,
        scale * c, scale * phi, it.costate[1:, :, : nlp.nx] * defect, it.nu * psi,
        it.y * rows, it.y_end * rows_end,
    )  # fmt: skip
    L_w, L_end = torch.autograd.grad(
        lagrangian.sum(), (w, w_end), create_graph=True, allow_unused=True, materialize_grads=True
    )
    # Slacks are eliminated as in the Newton step: only what changes counts here.
    L_w = L_w + pulled(nlp.along, lin.along.jacobians[2], rows, it.y / it.s)
    L_end = L_end + pulled(nlp.end, lin.end.jacobians[2], rows_end, it.y_end / it.s_end)
    of_u = torch.cat([torch.zeros_like(L_end[..., :nz]), L_end[..., nz:]], -1)
    L_w = torch.cat([L_w[:-1], L_w[-1:] + of_u])
    z, u, costate, nu = LinearSolve.apply(
        problem, *(change(v) for v in (L_w, defect, L_end[0, :, :nz], psi[0]))
    )  # pyright: ignore
    moved = it._replace(
        z=torch.cat([z_0, it.z[1:]]) + z,
        u=it.u + u,
        costate=torch.cat(
            [
                it.costate[:1],
                torch.cat([it.costate[1:, :, : nlp.nx] + costate, it.costate[1:, :, nlp.nx :]], -1),
            ]
        ),
        nu=it.nu + nu,
    )
    cost = over(lambda v: v, c, phi).detach()
    return moved, cost + change(lagrangian) / nlp.scale


def pulled(rows: Any, jacobian: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """What a change of the rows' values adds to the gradient once the slacks are eliminated."""
    return rows.pull_back(jacobian, weight * change(values))


def change(value: Tensor) -> Tensor:
    """Zero, with the derivatives of `value`."""
    return value - value.detach()
