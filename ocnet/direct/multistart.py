"""Many starts for each instance, solved as one batch; the best of them is the answer."""

import math

import torch
from torch import Tensor

from .constants import Code
from .interior_point.restoration import better
from .method import Method, Outcome
from .transcription.bounds import inside
from .transcription.iterate import linearise
from .transcription.start import COLD, cold, rolled_out, with_multipliers
from .transcription.transcription import Transcription


WAVES = 4
"""The number of cosines that a random start adds to the controls."""

AGREE = 1e-6
"""Costs that differ by less than this share agree."""


def check_starts(starts: int, seed: int, warm: bool) -> None:
    """Raises a TypeError or ValueError unless several starts can be made as asked."""
    for name, value in (("starts", starts), ("seed", seed)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer, but got {value!r}.")
    if not 1 <= starts <= 10_000:
        raise ValueError(f"starts must lie between 1 and 10000, but got {starts}.")
    if starts > 1 and warm:
        raise ValueError(f"starts must be 1 where a start is given, but got {starts}.")


def best_of(
    nlp: Transcription, method: Method, starts: int, seed: int
) -> tuple[Outcome, dict[int, str]]:
    """The best outcome of each instance, and how many of its starts agreed.

    The first start is the cold one; the others vary controls and constants at random.

    Arguments:
        nlp: The discretised problem.
        method: How to solve it.
        starts: How many starts each instance gets.
        seed: The seed of the random numbers.
    """
    size = len(nlp.x0)
    first = cold(nlp)
    each = torch.arange(size, device=nlp.x0.device).repeat(starts)
    many = nlp.take(each)
    generator = torch.Generator().manual_seed(seed)
    u = varied_controls(many, first.u.repeat(1, starts, 1), generator)
    theta = varied_constants(many, first.z[0, :, nlp.nx :].repeat(starts, 1), generator)
    z = torch.cat([many.x0, theta], -1).expand(nlp.n + 1, -1, -1)
    other = with_multipliers(many, rolled_out(many, z, u), u, COLD, rescale=False)
    original = torch.arange(size * starts, device=each.device) < size
    out = method.run(many, first.take(each).where(original, other), COLD)
    out.code[torch.isin(each, each.new_tensor(list(nlp.invalid)))] = Code.INVALID.value
    parts = [out.take(torch.arange(k * size, (k + 1) * size)) for k in range(starts)]
    best = parts[0]
    for part in parts[1:]:
        best = better(nlp, best, part)
    costs = torch.stack([converged_cost(nlp, part) for part in parts])
    agreed = (costs - costs.amin(0)).abs() <= AGREE * (1 + costs.amin(0).abs())
    notes = {
        i: f"the best of {starts} starts, {int(agreed[:, i].sum())} of which agree on the cost"
        for i in range(size)
        if i not in nlp.invalid
    }
    iterations = torch.stack([part.iterations for part in parts]).sum(0)
    return best._replace(iterations=iterations), notes


def converged_cost(nlp: Transcription, out: Outcome) -> Tensor:
    """The cost of what converged to a minimum, infinite elsewhere."""
    lin = linearise(nlp, out.it)
    cost = lin.along.values[1].sum((0, 2)) + lin.end.values[0].sum((0, 2))
    return torch.where((out.code == Code.CONVERGED.value) & out.minimum, cost, torch.inf)


def varied_controls(nlp: Transcription, u: Tensor, generator: torch.Generator) -> Tensor:
    """Controls with random cosines added, as large as the bounds allow or as the control is."""
    low, high = nlp.u_bounds
    size = torch.where((high - low).isfinite(), (high - low) / 2, 1 + u.abs().amax((0, 1)))
    share = torch.rand(WAVES, *u.shape[1:], generator=generator, dtype=torch.float64)
    weights = (2 * share - 1).to(u) / (1 + torch.arange(WAVES).to(u))[:, None, None]
    t = (torch.arange(nlp.n).to(u) + 0.5) / nlp.n
    waves = (math.pi * t[:, None] * torch.arange(WAVES).to(u)).cos()
    return inside(u + size * torch.einsum("tw,wbi->tbi", waves, weights), *nlp.u_bounds)


def varied_constants(nlp: Transcription, theta: Tensor, generator: torch.Generator) -> Tensor:
    """The stretch of the horizon times 1/3 to 3, static parameters anywhere between bounds."""
    share = torch.rand(theta.shape, generator=generator, dtype=torch.float64).to(theta)
    low, high = nlp.theta_bounds
    within = torch.where((high - low).isfinite(), low + share * (high - low), theta + 2 * share - 1)
    if nlp.points.free_time:
        within[:, :1] = theta[:, :1] * 3 ** (2 * share[:, :1] - 1)
    return inside(within, low, high)
