"""Pontryagin's conditions of a discretised problem: residuals, Hamiltonian and multipliers."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..transcription.backend import Linearisation
from ..transcription.iterate import largest, stationarity
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from ..transcription.violation import step_width


class Optimality(NamedTuple):
    """The largest residuals of Pontryagin's conditions, each of shape `(*batch,)`.

    With the Hamiltonian `H = l + p . f + eta . g` and the multipliers `eta >= 0` of all
    inequalities (bounds included), per unit of time:

    Attributes:
        stationarity: `|H_u|`, which away from the bounds is that of `l + p . f` alone.
        costate: `|p' + H_x|`, with `p'` the difference quotient of the costates.
        transversality: `|p(t1) - phi_x - psi_x' nu - omega_x' eta|`, and the derivative of the
            Lagrangian in a free final time and in static parameters.
        complementarity: `eta g`, and how far `eta` is from the right sign.
    """

    stationarity: Tensor
    costate: Tensor
    transversality: Tensor
    complementarity: Tensor


class Multipliers(NamedTuple):
    r"""The multipliers of the constraints, in the user's units; along the path per unit of time.

    They are those of the Lagrangian

    $$ J + \nu \cdot \psi + \eta_\omega \cdot \omega + \eta_n \cdot g(t_1)
       + \int \eta_l \cdot (u_{min} - u) + \eta_u \cdot (u - u_{max}) + \eta \cdot g \; dt, $$

    so that all but `nu` are never negative, and the optimal cost changes at the rate `-nu` with `e`
    in `psi = e`, `-eta_omega` with that in `omega <= e`, `-(int eta dt + eta_n)` with that in
    `g <= e`, `-int eta_u dt` with the upper bound and `int eta_l dt` with the lower one.

    Attributes:
        lower, upper: Those of the control bounds, shape `(time, *batch, *control_shape)`; zero
            where there is no bound.
        path: Those of the path constraint, shape `(time, *batch, rows)`.
        terminal: Those of the terminal constraint, shape `(*batch, rows)`.
        terminal_inequality: Those of the terminal inequality, shape `(*batch, rows)`.
        final_path: Those of the path constraint at the final time, not per unit of time, shape
            `(*batch, rows)`; zero for rows that are not imposed there.
    """

    lower: Tensor
    upper: Tensor
    path: Tensor
    terminal: Tensor
    terminal_inequality: Tensor
    final_path: Tensor


def optimality(nlp: Transcription, it: Iterate, lin: Linearisation) -> Optimality:
    """The residuals of an iterate, in the units of the problem."""
    L_z, L_u, L_end = stationarity(nlp, it, lin)
    nx, per_time = nlp.nx, 1 / (step_width(nlp, it) * nlp.scale)
    theta = torch.cat([L_z[..., nx:], it.costate[:1, :, nx:]])
    signs = [largest(y.clamp(max=0)) for y in (it.y, it.y_end)]
    products = [largest(it.y * it.s), largest(it.y_end * it.s_end)]
    return Optimality(
        per_time * largest(L_u),
        per_time * largest(L_z[1:, :, :nx]),
        torch.maximum(largest(L_end), largest(theta)) / nlp.scale,
        torch.stack(
            [per_time * products[0], products[1] / nlp.scale, per_time * signs[0], signs[1]]
        ).amax(0),
    )


def hamiltonian(nlp: Transcription, it: Iterate, lin: Linearisation) -> Tensor:
    """`(c_k + (p_k + p_{k+1})/2 . (F_k - x_k)) / h`: `l + p . f` averaged over each step."""
    F, c, _ = lin.along.values
    p = (it.costate[1:, :, : nlp.nx] + it.costate[:-1, :, : nlp.nx]) / 2
    rise = (p * (F - it.z[:-1, :, : nlp.nx])).sum(-1) / nlp.scale
    return (c[..., 0] + rise) / step_width(nlp, it)


def multipliers(nlp: Transcription, it: Iterate) -> Multipliers:
    """The multipliers in the units of the problem."""
    rows, shape = nlp.along, nlp.problem.control_shape or ()
    eta = it.y / (step_width(nlp, it) * nlp.scale)[:, None]
    n_lower = len(rows.lower)

    def of_controls(index: Tensor, value: Tensor) -> Tensor:
        full = torch.zeros_like(it.u).index_copy(-1, index - nlp.nz, value)
        return full.reshape(nlp.n, *nlp.shape, *shape)

    scale = nlp.scale[:, None]
    of_omega, of_path = (it.y_end[0] / scale)[:, nlp.end.bounded :].tensor_split(
        [nlp.end.rows - len(nlp.points.last)], -1
    )
    final_path = of_omega.new_zeros(len(scale), rows.rows)
    final_path[:, nlp.points.last] = of_path
    return Multipliers(
        of_controls(rows.at_lower, eta[..., :n_lower]),
        of_controls(rows.at_upper, eta[..., n_lower : rows.bounded]),
        eta[..., rows.bounded :].reshape(nlp.n, *nlp.shape, -1),
        (it.nu[0] / scale).reshape(*nlp.shape, -1),
        of_omega.reshape(*nlp.shape, -1),
        final_path.reshape(*nlp.shape, -1),
    )
