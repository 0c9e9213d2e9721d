"""Tests a least violation: other controls, near and far, may violate less."""

import math

import torch
from torch import Tensor

from ..transcription.bounds import inside
from ..transcription.start import rolled_out
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from .restoration import norm_of


PROBES, WAVES = 16, 4
"""The number of other controls that are tried, and of cosines that each of them adds."""

SHARES = 1.0, 0.5, 0.25, 0.125
"""The distances of these controls, as shares of the room between bounds; tried in turn."""

MARGIN = 1e-6
"""The share by which a violation must be less to count as less."""


@torch.no_grad()
def refuted(nlp: Transcription, it: Iterate) -> tuple[Iterate, Tensor]:
    """Points that violate the constraints less than a supposed minimum of the violation, if any.

    A stationary point with a positive semidefinite Hessian may still be no minimum: where the
    control enters by its fourth power, the derivatives say nothing. Other controls and constants
    can refute it, but not confirm it. Each instance gets the same ones, whatever it is solved with.

    Arguments:
        nlp: The discretised problem.
        it: The points of least violation.

    Returns:
        For each instance the best of the other points, and whether it violates less.
    """
    size, best = len(nlp.x0), norm_of(nlp, it.z, it.u)
    each = torch.arange(size, device=nlp.x0.device).repeat(PROBES)
    many = nlp.take(each)
    z, u = it.z.repeat(1, PROBES, 1), it.u.repeat(1, PROBES, 1)
    share = torch.tensor(SHARES).to(u).repeat(-(-PROBES // len(SHARES)))[:PROBES]
    share = share.repeat_interleave(size)[:, None]
    u, theta = moved(many, z[0, :, nlp.nx :], u, share)
    z = torch.cat([many.x0, theta], -1).expand(nlp.n + 1, -1, -1)
    z = rolled_out(many, z, u)
    norms = norm_of(many, z, u).nan_to_num(torch.inf).reshape(PROBES, size)
    least, which = norms.min(0)
    at = which * size + torch.arange(size, device=which.device)
    return Iterate.without_multipliers(nlp, z[:, at], u[:, at]), least < (1 - MARGIN) * best


def moved(nlp: Transcription, theta: Tensor, u: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Controls and constants, each moved by a share of its room; probe after probe.

    Arguments:
        nlp: The discretised problem, of all probes.
        theta: The constants, shape `(probes batch, nz - nx)`.
        u: The controls, shape `(n, probes batch, nu)`.
        share: By which share of the room, shape `(probes batch, 1)`.
    """
    size = u.shape[1] // PROBES
    draw = torch.Generator().manual_seed(0)
    amounts = 2 * torch.rand(PROBES, WAVES, nlp.nu, generator=draw, dtype=torch.float64) - 1
    by = 2 * torch.rand(PROBES, theta.shape[1], generator=draw, dtype=torch.float64) - 1
    amounts, by = (v.to(u).repeat_interleave(size, 0) for v in (amounts, by))
    low, high = nlp.u_bounds
    room = torch.where((high - low).isfinite(), (high - low) / 2, 1 + u.abs().amax((0, 1)))
    t = (torch.arange(nlp.n).to(u) + 0.5) / nlp.n
    waves = (math.pi * t[:, None] * torch.arange(WAVES).to(u)).cos()
    u = inside(u + share * room * torch.einsum("tw,bwi->tbi", waves, amounts), low, high)
    low, high = nlp.theta_bounds
    room = torch.where((high - low).isfinite(), (high - low) / 2, 1 + theta.abs())
    return u, inside(theta + share * by * room, low, high)
