"""Derivatives by torch: the backend that every problem has."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .backend import Backend, Derivatives, Ended, Linearisation
from .iterate import apply, stationarity
from .transcription import Transcription
from .variables import Iterate


CHUNK = 100_000
"""The most points differentiated at once: more do not fit into a processor's cache."""


class Autograd:
    """The backend that differentiates the user's own code by torch, at all points at once."""

    by_autograd: bool = True
    has_steps: bool = True

    def of(self, nlp: Transcription) -> Backend[Transcription]:
        return self

    def derivatives(self, nlp: Transcription, it: Iterate) -> tuple[Derivatives, Derivatives]:
        ones, y = nlp.scale[:, None], it.y[..., nlp.along.bounded :]
        y = y if nlp.free is None else y * nlp.free[:, None]
        along = stage_derivatives(
            nlp, it.z[:-1], it.u, [it.costate[1:, :, : nlp.nx], ones.expand(nlp.n, -1, 1), y]
        )
        y_end = it.y_end[..., nlp.end.bounded :]
        ends = lambda w: nlp.ends(w[..., : nlp.nz], w[..., nlp.nz :])
        return along, differentiate(ends, it.end, [ones[None], it.nu, y_end])

    def rollout(self, nlp: Transcription, z: Tensor, u: Tensor) -> Tensor:
        path = [z]
        for k in range(nlp.n):
            x, _, _ = nlp.stages(z[None], u[k : k + 1], nlp.s[k : k + 1])
            z = torch.cat([x[0], z[:, nlp.nx :]], -1)
            path.append(z)
        return torch.stack(path)

    def adjoint(self, nlp: Transcription, lin: Linearisation, it: Iterate) -> Tensor:
        L_z, _, L_end = stationarity(nlp, it, lin)
        F_z = lin.along.jacobians[0][..., : nlp.nz]
        p = L_end[0]
        path = [p]
        for c, A in zip(L_z.flip(0).unbind(), F_z.flip(0).unbind(), strict=True):
            held = torch.cat([torch.zeros_like(p[:, : nlp.nx]), p[:, nlp.nx :]], -1)
            p = c + apply(A.mT, p[:, : nlp.nx]) + held
            path.append(p)
        return torch.stack(path[::-1])

    def iterate(
        self, nlp: Transcription, start: Iterate, tolerance: float, mu: float, most: Tensor
    ) -> Ended | None:
        return None


def differentiate(
    function: Callable[[Tensor], tuple[Tensor, ...]], w: Tensor, weights: Sequence[Tensor]
) -> Derivatives:
    """Values, Jacobians and the Hessian of the weighted sum, at points `w` `(*points, d)`.

    The Lagrangian `L = sum_i weights_i . f_i` is differentiated twice by reverse mode, one
    copy of the points for each direction `e_j`. As its gradient `G` is linear in the weights,
    the same sweep gives the Jacobians: `d(G . e_j) / d weights_i = (f_i)_w e_j`.
    """
    d = w.shape[-1]
    with torch.enable_grad():
        copies = w.detach().expand(d, *w.shape).contiguous().requires_grad_()
        by_row = [v.detach().expand(d, *v.shape).contiguous().requires_grad_() for v in weights]
        values = function(copies)
        total = torch.stack([(a * b).sum() for a, b in zip(by_row, values, strict=True)]).sum()
        inputs = (copies, *by_row)
        (gradient,) = torch.autograd.grad(
            total, copies, create_graph=True, allow_unused=True, materialize_grads=True
        )
        # Where nothing depends on the point there is no graph to differentiate again.
        gradient = gradient + 0 * copies.sum() if not gradient.requires_grad else gradient
        directions = torch.eye(d, dtype=w.dtype, device=w.device)
        directions = directions.reshape(d, *[1] * (w.dim() - 1), d).expand_as(copies)
        hessian, *jacobians = torch.autograd.grad(
            gradient, inputs, directions, allow_unused=True, materialize_grads=True
        )
    return Derivatives(
        tuple(value[0].detach() for value in values),
        tuple(jacobian.movedim(0, -1) for jacobian in jacobians),
        hessian.movedim(0, -1),
    )


def stage_derivatives(
    nlp: Transcription, z: Tensor, u: Tensor, weights: Sequence[Tensor]
) -> Derivatives:
    """The derivatives of `F`, `c` and `g` in `w = (z, u)` at all steps.

    Arguments:
        nlp: The discretised problem.
        z, u: Extended states and controls, each `(n, batch, .)`.
        weights: What the Hessians of the three are weighted with.
    """
    w = torch.cat([z, u], -1)
    per_chunk = max(1, CHUNK // (w.shape[1] * w.shape[2]))
    parts = [
        differentiate(
            lambda w, s=s: nlp.stages(w[..., : nlp.nz], w[..., nlp.nz :], s), part, of_part
        )
        for part, s, *of_part in zip(
            w.split(per_chunk),
            nlp.s[:-1].split(per_chunk),
            *(v.split(per_chunk) for v in weights),
            strict=True,
        )
    ]
    if len(parts) == 1:
        return parts[0]
    values, jacobians, hessians = zip(*parts, strict=True)
    return Derivatives(
        tuple(map(torch.cat, zip(*values, strict=True))),
        tuple(map(torch.cat, zip(*jacobians, strict=True))),
        torch.cat(hessians),
    )
