"""Units in which variables and rows have a size of about one, found from the problem itself."""

import math

import torch
from torch import Tensor

from .iterate import Iterate, Linearisation
from .transcription import Transcription
from .units import Units


NEAR_ONE = 32.0
"""Sizes between one over this and this are left as they are."""

LEAST, MOST = 2.0**-40, 2.0**40
"""The smallest and the largest unit."""


def factors(nlp: Transcription, units: Units) -> Iterate:
    """What variables and multipliers in these units are multiplied with for the user's."""
    z, u = units.w.split([nlp.nz, nlp.nu], -1)
    rows, rows_end = units.of_rows(nlp)
    return Iterate(z, u, 1 / z, 1 / units.psi, rows, 1 / rows, rows_end, 1 / rows_end)


def in_own_units(nlp: Transcription, units: Units, it: Iterate) -> Iterate:
    """Variables and multipliers in some units as those in the user's."""
    return Iterate(*(v * f for v, f in zip(it, factors(nlp, units), strict=True)))


def in_units(nlp: Transcription, units: Units, it: Iterate) -> Iterate:
    """Variables and multipliers in the user's units as those in others."""
    return Iterate(*(v / f for v, f in zip(it, factors(nlp, units), strict=True)))


def suggested(nlp: Transcription, it: Iterate, lin: Linearisation) -> Units:
    """The units that a start suggests.

    Those of the variables are `sizes`; a row's is the largest change that a change of the
    variables by one unit makes.

    Arguments:
        nlp: The discretised problem, in the user's units.
        it: The start.
        lin: The linearisation there.
    """
    w = powers_of_two(sizes(nlp, it, lin))
    rows = (lin.along.jacobians[2], lin.end.jacobians[1], lin.end.jacobians[2])
    most = [(jacobian.abs() * w[:, None]).amax((0, 3)) if jacobian.shape[2] else w[:, :0]
            for jacobian in rows]  # fmt: skip
    return Units(w, *map(powers_of_two, most))


def powers_of_two(size: Tensor) -> Tensor:
    """The nearest powers of two; one where that is near, or where a size is not known."""
    known = size.isfinite() & (size > 0)
    size = torch.where(known, size, 1.0)
    nearest = torch.exp2(torch.log2(size).round()).clamp(LEAST, MOST)
    return torch.where((size > NEAR_ONE) | (size < 1 / NEAR_ONE), nearest, 1.0)


def sizes(nlp: Transcription, it: Iterate, lin: Linearisation) -> Tensor:
    """How large the variables are expected to be, `(batch, nz + nu)`; zero where nothing tells.

    A state's size is the largest of its initial value, the distance to where the terminal
    constraint wants it, and the median along the start, which does not tell of a state that it is
    small: there may be little control. A control's size is that of its bounds, or of its guess, or
    what moves some state by its size over the horizon; a static parameter's that of its value.
    """
    nx, free_time = nlp.nx, nlp.points.free_time
    given = torch.maximum(it.z[0, :, :nx].abs(), distances(lin, nx))
    median = it.z[..., :nx].abs().median(0).values
    x = torch.where((given > 0) | (median > 1), torch.maximum(given, median), 0.0)
    theta = it.z[0, :, nx:].abs()
    theta[:, :free_time] = 1.0
    pair = torch.stack(nlp.u_bounds).abs()
    bounds = torch.where(pair.isfinite(), pair, 0.0).amax(0).expand(len(x), -1)
    u = torch.where(bounds > 0, bounds, it.u.abs().median(0).values)
    u = torch.where(u > 0, u, moving(nlp, x, lin))
    return torch.cat([x, theta, u], -1)


def distances(lin: Linearisation, nx: int) -> Tensor:
    """By how much each state misses what the terminal constraint wants, to first order."""
    psi, psi_w = lin.end.values[1][0], lin.end.jacobians[1][0, ..., :nx]
    if psi.shape[-1] == 0:
        return psi.new_zeros(len(psi), nx)
    ratio = psi.abs()[..., None] / psi_w.abs()
    return torch.where(ratio.isfinite(), ratio, 0.0).amax(1)


def moving(nlp: Transcription, x: Tensor, lin: Linearisation) -> Tensor:
    """The controls, held over the horizon, that move at least one state by its size."""
    rates = lin.along.jacobians[0][..., nlp.nz :].abs().amax(0) * nlp.n
    needed = torch.where(x > 0, x, 1.0)[..., None] / rates
    needed = torch.where(needed.isfinite(), needed, math.inf).amin(1)
    return torch.where(needed.isfinite(), needed, 0.0)
