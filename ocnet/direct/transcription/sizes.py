"""Units in which variables and rows have a size of about one, found from the problem itself."""

import copy
import math

import torch
from torch import Tensor

from .backend import Linearisation
from .iterate import linearise
from .transcription import Transcription
from .units import NEAR_ONE, Units
from .variables import Iterate


FLOOR = 2.0**-20
"""A value of an answer that is smaller than this share of its unit counts as zero."""

LEAST, MOST = 2.0**-40, 2.0**40
"""The smallest and the largest unit."""


def factors(nlp: Transcription, units: Units) -> Iterate:
    """The factors that turn variables and multipliers in these units into the user's."""
    z, u = units.w.split([nlp.nz, nlp.nu], -1)
    rows, rows_end = units.of_rows(nlp)
    return Iterate(z, u, 1 / z, 1 / units.psi, rows, 1 / rows, rows_end, 1 / rows_end)


def in_own_units(nlp: Transcription, units: Units, it: Iterate) -> Iterate:
    """Converts variables and multipliers from the units given to the user's."""
    return Iterate(*(v * f for v, f in zip(it, factors(nlp, units), strict=True)))


def in_units(nlp: Transcription, units: Units, it: Iterate) -> Iterate:
    """Converts variables and multipliers from the user's units to those given."""
    return Iterate(*(v / f for v, f in zip(it, factors(nlp, units), strict=True)))


def suggested(nlp: Transcription, it: Iterate, lin: Linearisation) -> Units:
    """The units that a start suggests.

    Arguments:
        nlp: The discretised problem, in the user's units.
        it: The start.
        lin: The linearisation there.
    """
    return of_rows(powers_of_two(sizes(nlp, it, lin)), lin)


def of_rows(w: Tensor, lin: Linearisation) -> Units:
    """Completes units of variables by those of rows.

    A row's unit is the largest change that one unit of any variable makes in it.
    """
    rows = (lin.along.jacobians[2], lin.end.jacobians[1], lin.end.jacobians[2])
    most = [(jacobian.abs() * w[:, None]).amax((0, 3)) if jacobian.shape[2] else w[:, :0]
            for jacobian in rows]  # fmt: skip
    return Units(w, *map(powers_of_two, most))


def cost_scale(nlp: Transcription, lin: Linearisation, units: Tensor) -> Tensor:
    """One over the largest first or second derivative of the cost, so that its unit has no effect.

    Arguments:
        nlp: The discretised problem.
        lin: Values and derivatives at the iterate.
        units: Those of the variables `w`, shape `(batch, d)`.
    """
    second = units[:, None] * units[:, :, None]
    w = nlp.points.h * nlp.n
    parts = second * lin.along.hessian * nlp.n / w, second * lin.end.hessian
    size = torch.maximum(slopes(nlp, lin, units), of_parts(*parts))
    size = torch.where(size.isfinite() & (size > 0), size, 1.0)
    return (1 / size).clamp(1e-10, 1e10)


def slopes(nlp: Transcription, lin: Linearisation, units: Tensor) -> Tensor:
    """The largest first derivative of the cost, per unit of time, shape `(batch,)`."""
    first, w = units[:, None], nlp.points.h * nlp.n
    return of_parts(first * lin.along.jacobians[1] * nlp.n / w, first * lin.end.jacobians[0])


def of_parts(*parts: Tensor) -> Tensor:
    """The largest absolute entry of each instance."""
    return torch.stack([v.abs().flatten(2).amax(2).amax(0) for v in parts]).amax(0)


def by_size(nlp: Transcription, it: Iterate) -> tuple[Transcription, Tensor]:
    """The problem with units and scale that suit an answer, and the new scale over the old one."""
    part = copy.copy(nlp)
    part.scale = torch.ones_like(nlp.scale)
    it = Iterate.without_multipliers(nlp, it.z, it.u)
    lin = linearise(part, it)
    w = of_answer(nlp, it)
    part.sizes = of_rows(powers_of_two(w), lin)
    part.scale = cost_scale(nlp, lin, w)
    return part, part.scale / nlp.scale


def most_ratio(nlp: Transcription, it: Iterate, lin: Linearisation) -> Tensor:
    """An upper bound of the ratio of `by_size`, from the cost's first derivatives alone.

    It takes no further linearisation, and is infinite where the derivatives tell nothing.
    """
    size = slopes(nlp, lin, of_answer(nlp, it))
    return 1 / (size * nlp.scale).nan_to_num(nan=0.0, posinf=0.0)


def of_answer(nlp: Transcription, it: Iterate) -> Tensor:
    """How large the variables of an answer are, shape `(batch, nz + nu)`."""
    units = Units.ones(nlp) if nlp.sizes is None else nlp.sizes
    most = torch.maximum(torch.cat([it.z[:-1], it.u], -1).abs().amax(0), it.end[0].abs())
    return torch.maximum(most, units.w * FLOOR)


def powers_of_two(size: Tensor) -> Tensor:
    """The nearest powers of two; one where that is near, or where a size is not known."""
    known = size.isfinite() & (size > 0)
    size = torch.where(known, size, 1.0)
    nearest = torch.exp2(torch.log2(size).round()).clamp(LEAST, MOST)
    return torch.where((size > NEAR_ONE) | (size < 1 / NEAR_ONE), nearest, 1.0)


def sizes(nlp: Transcription, it: Iterate, lin: Linearisation) -> Tensor:
    """How large the variables are expected to be, `(batch, nz + nu)`; zero if unknown.

    A state's size is the largest of its initial value, the distance to where the terminal
    constraint wants it, and the median along the start. If it seems small, and only the start says
    so, `moving` tells whether it is large. A control's size is that of its bounds, or of its guess,
    or again what `moving` tells. A static parameter's size is that of its value.
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
    size = torch.cat([x, theta, u], -1)
    # Small sizes that no value supports are not trusted: weak couplings cause them, too.
    if bool((size > 0).all()):
        return size
    return torch.where(size > 0, size, moving(nlp, size, lin).clamp(min=1))


def distances(lin: Linearisation, nx: int) -> Tensor:
    """By how much each state misses what the terminal constraint wants, to first order."""
    psi, psi_w = lin.end.values[1][0], lin.end.jacobians[1][0, ..., :nx]
    if psi.shape[-1] == 0:
        return psi.new_zeros(len(psi), nx)
    ratio = psi.abs()[..., None] / psi_w.abs()
    return torch.where(ratio.isfinite(), ratio, 0.0).amax(1)


def moving(nlp: Transcription, size: Tensor, lin: Linearisation) -> Tensor:
    """Sizes that, held over the horizon, move a state by its size; zero for what moves no state.

    It is at most what the known sizes themselves move a state by.

    Arguments:
        nlp: The discretised problem.
        size: The sizes that are known, `(batch, d)`, zero elsewhere.
        lin: The linearisation of the start.
    """
    nx = nlp.nx
    rates = lin.along.jacobians[0].abs().amax(0)
    rates[:, range(nx), range(nx)] = 0.0
    rates = torch.where(rates.isfinite(), rates, 0.0) * nlp.n
    driven, needed = size, torch.where(size > 0, size, math.inf)
    for _ in range(nx):
        most = torch.cat([(rates * driven[:, None]).amax(-1), size[:, nx:]], -1)
        driven = torch.where(size > 0, size, torch.maximum(driven, most))
    driven = torch.where(driven > 0, driven, math.inf)
    for _ in range(nx + 1):
        ratio = needed[:, :nx, None] / rates
        ratio = torch.where(ratio.isnan(), math.inf, ratio).amin(1)
        ratio[:, :nx] = torch.minimum(ratio, driven)[:, :nx].where(
            ratio.isfinite()[:, :nx], math.inf
        )
        needed = torch.where(size > 0, size, torch.minimum(needed, ratio))
    return torch.where(needed.isfinite(), needed, 0.0)
