"""Deep networks against their limits: an ODE for smooth weights, an SDE for independent ones."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .._arguments import (
    check_count,
    check_function,
    check_generator,
    check_kind,
    check_range,
    check_sequence,
    check_tensor,
    shown,
)
from ..control import CubicSpline, PiecewisePolynomial
from ..init import RBF, smooth_
from ..problem import Problem
from ..solver import Euler, TorchDiffEq
from ..solver.base import Solver
from .models import OneMatrix, Res1, Res3, ScaledNetwork


@dataclass(frozen=True)
class LimitComparison:
    """How far networks of several depths are from one path of their limit.

    Attributes:
        depths: The numbers of layers `L`.
        errors: `max_k |h_k - H(k/L)|`, root mean square over the paths.
    """

    depths: Sequence[int]
    errors: Sequence[float]

    @property
    def slope(self) -> float:
        """The exponent `q` of the least-squares fit `error ~ L^q`."""
        return exponent(self.depths, self.errors)


def power_law(depths: Sequence[float], values: Sequence[float]) -> float:
    """The exponent `q` of the least-squares fit `value ~ depth^q`.

    Arguments:
        depths: The depths, at least two different ones.
        values: A positive value for each.

    Raises:
        TypeError, ValueError: If an argument is off; the message names it.
    """
    for name, some in (("depths", depths), ("values", values)):
        check_sequence(name, some)
        for one in some:
            check_range(name, one, "0 <", "< inf")
    if len(depths) != len(values) or len(set(depths)) < 2:
        raise ValueError(
            "A power law needs two depths at least and a value for each, but got "
            f"depths={shown(depths)} and values={shown(values)}."
        )
    return exponent(depths, values)


def exponent(depths: Sequence[float], values: Sequence[float]) -> float:
    """`power_law` of any values; NaN where one is not positive and finite."""
    x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (depths, values))
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / x.square().sum()).item()


@torch.no_grad()
def ode_limit(
    problem: Problem,
    control: PiecewisePolynomial,
    x0: Float[Tensor, "..."],
    depths: Sequence[int],
    reference: Solver | None = None,
) -> LimitComparison:
    """One path of weights over depth, read by networks of several depths and by an ODE solver.

    With `beta = 1` the horizon is 1 and a network of `L` layers is Euler with step `1 / L`. The
    error falls like `1 / L` for weights that are Lipschitz in depth.

    Arguments:
        problem: The system, such as `Res3(beta=1.0)`.
        control: The path of the weights, continuous in depth: `PiecewiseLinear`, `CubicSpline`.
        x0: The initial states.
        depths: The numbers of layers to compare.
        reference: The solver of the ODE; by default Dormand-Prince of torchdiffeq with a relative
            tolerance of 1e-9. Its times must include those of every network.

    Raises:
        ValueError: If no depth is given, or the largest is not a multiple of each.
    """
    finest = check_depths(depths)
    if reference is not None:
        check_kind("reference", reference, Solver)
    reference = (
        TorchDiffEq("dopri5", finest, rtol=1e-9, atol=1e-11) if reference is None else reference
    )
    exact = reference.solve(problem, control, x0).x
    errors = [
        sup_error(Euler(L).solve(problem, control, x0).x, exact[:: finest // L]) for L in depths
    ]
    return LimitComparison(tuple(depths), errors)


@torch.no_grad()
def sde_limit(
    network: OneMatrix,
    x0: Float[Tensor, "path d"],
    depths: Sequence[int],
    *,
    refinement: int = 16,
    generator: torch.Generator | None = None,
) -> LimitComparison:
    """Brownian paths, read by res-1 at several depths and by Euler-Maruyama on a finer grid.

    The limit of res-1 at `beta = 1/2` is `dH = d^{-1/2} dB sigma(H)` with a `d x d` Brownian
    motion; with the weights `V_{k+1} = sqrt(L/d) (B_{(k+1)/L} - B_{k/L})` the network is
    Euler-Maruyama. The error falls like `L^{-1/2}`.

    Arguments:
        network: A res-1 or linear network; only its width and its activation matter.
        x0: The initial states, one for each Brownian path.
        depths: The numbers of layers to compare.
        refinement: How many steps of the reference lie in one step of the finest network.
        generator: Makes the paths reproducible.

    Raises:
        ValueError: If no depth is given, or the largest is not a multiple of each.
    """
    check_kind("network", network, OneMatrix)
    check_tensor("x0", x0)
    if x0.dim() != 2 or x0.shape[1] != network.d:
        raise ValueError(f"x0 must have shape (path, {network.d}), but got {tuple(x0.shape)}.")
    check_generator(generator)
    finest = check_depths(depths)
    check_count("refinement", refinement, least=2)
    n = finest * refinement
    dB = brownian_increments(n, x0, generator)
    exact = euler_maruyama(network, dB, x0)
    errors = []
    for L in depths:
        coarse = dB.unflatten(0, (L, n // L)).sum(1)
        errors.append(sup_error(euler_maruyama(network, coarse, x0), exact[:: n // L]))
    return LimitComparison(tuple(depths), errors)


def brownian_increments(
    n: int, x0: Float[Tensor, "path d"], generator: torch.Generator | None = None
) -> Float[Tensor, "step path d d"]:
    """For each initial state, the increments of a `d x d` Brownian motion over steps of `1/n`."""
    paths, d = x0.shape
    return torch.empty(n, paths, d, d).to(x0).normal_(std=n**-0.5, generator=generator)


def euler_maruyama(
    network: OneMatrix, dB: Float[Tensor, "step path d d"], x0: Float[Tensor, "path d"]
) -> Float[Tensor, "time path d"]:
    """The states of the residual network whose weights are `sqrt(L/d)` times the increments."""
    L = len(dB)
    deep = type(network)(L, 0.5, d=network.d)
    control = deep.control(dB * math.sqrt(L / network.d))
    return Euler(L).solve(deep, control, x0).x


def sup_error(x: Float[Tensor, "time ..."], exact: Float[Tensor, "time ..."]) -> float:
    """`max_k |x_k - exact_k|`, root mean square over the batch."""
    sup = (x - exact).norm(dim=-1).amax(0)
    return sup.square().mean().sqrt().item()


def check_depths(depths: Sequence[int]) -> int:
    """The largest depth; raises a ValueError unless it is a multiple of every other."""
    check_sequence("depths", depths)
    if len(depths) < 2:
        raise ValueError(f"depths must hold two depths at least, but got {list(depths)}.")
    for L in depths:
        check_count("depths", L, least=2)
    finest = max(depths)
    for L in depths:
        if finest % L:
            raise ValueError(
                f"The largest depth must be a multiple of each, but got {list(depths)}."
            )
    return finest


def ode_limit_of_smooth_weights(
    deepest: int = 1024,
    seed: int = 0,
    d: int = 10,
    model: Callable[..., ScaledNetwork] = Res3,
) -> LimitComparison:
    """`ode_limit` along one smooth path, from 16 layers to `deepest`.

    Arguments:
        deepest: The largest depth, a power of two.
        seed: Of the path and the initial states.
        d: The width.
        model: The class, or a function like one, such as `partial(Res1, sigma=torch.tanh)`.
    """
    check_function("model", model)
    check_count("deepest", deepest, least=32)
    check_count("d", d)
    generator = seeded(seed)
    network = model(beta=1.0, d=d, generator=generator).double()
    check_kind("model", network, ScaledNetwork)
    control = CubicSpline(0, 1, 64, network.weight_shape(d), dtype=torch.float64)
    smooth_(control.path, RBF(0.1), std=1 / math.sqrt(d), generator=generator)
    x0 = torch.randn(8, d, dtype=torch.float64, generator=generator)
    return ode_limit(network, control, x0, powers_of_two(16, deepest))


def sde_limit_of_random_weights(deepest: int = 512, seed: int = 0, d: int = 10) -> LimitComparison:
    """`sde_limit` of res-1 along a hundred Brownian paths, from 16 layers to `deepest`."""
    check_count("deepest", deepest, least=32)
    check_count("d", d)
    generator = seeded(seed)
    x0 = torch.randn(100, d, dtype=torch.float64, generator=generator)
    return sde_limit(Res1(d=d), x0, powers_of_two(16, deepest), generator=generator)


def seeded(seed: int) -> torch.Generator:
    """A generator from a seed; raises a TypeError or ValueError unless that is at least 0."""
    check_count("seed", seed, least=0)
    return torch.Generator().manual_seed(seed)


def powers_of_two(first: int, last: int) -> tuple[int, ...]:
    """`first`, twice that, and so on, up to `last`."""
    return tuple(first * 2**k for k in range((last // first).bit_length()))
