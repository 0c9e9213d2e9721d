"""The Newton step of a discretised control problem by a Riccati sweep over its stages."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import scan


Sweep = Literal["auto", "sequential", "scan"]
"""How the stages are gone through."""


class Stages(NamedTuple):
    r"""A linear-quadratic problem, one for each instance of a batch:

    $$ \min \sum_k \tfrac12 w_k' H_k w_k + q_k' w_k
       + \tfrac12 z_n' H_n z_n + q_n' z_n + z_n' G u_{n-1}, \quad w = (z, u), \;
       z = (x, \theta), $$

    subject to `x[k+1] = A_k w_k + c_k`, `theta[k+1] = theta[k]`, `x[0] = 0` and
    `E z_n + psi = shift (nu - nu_0)`, where `nu` is the multiplier of that last row.

    Attributes:
        hessian, gradient: `H_k`, shape `(time, batch, d, d)`, and `q_k`.
        jacobian, defect: `A_k`, shape `(time, batch, nx, d)`, and `c_k`.
        end_hessian, end_gradient: `H_n`, shape `(batch, nz, nz)`, and `q_n`.
        end_jacobian, end_defect: `E`, shape `(batch, rows, nz)`, and `psi`.
        penalty: The weight of `|E z_n + psi|^2 / 2`, shape `(batch,)`. Where the row holds,
            it changes nothing, but it makes the problem convex away from there as well.
        shift, nu: How soft the row is, shape `(batch,)`, and `nu_0`.
        end_cross: `G`, shape `(batch, nz, nu)`.
    """

    hessian: Tensor
    gradient: Tensor
    jacobian: Tensor
    defect: Tensor
    end_hessian: Tensor
    end_gradient: Tensor
    end_jacobian: Tensor
    end_defect: Tensor
    penalty: Tensor
    shift: Tensor
    nu: Tensor
    end_cross: Tensor

    def take(self, index: Tensor) -> "Stages":
        """The problems of some of the instances."""
        along = (value[:, index] for value in self[:4])
        return type(self)(*along, *(value[index] for value in self[4:]))

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """The sizes of `x`, of `z`, of `u` and of the terminal row."""
        nz = self.end_gradient.shape[-1]
        return (
            self.defect.shape[-1],
            nz,
            self.gradient.shape[-1] - nz,
            self.end_defect.shape[-1],
        )


class LQSolution(NamedTuple):
    """The solution of the linear-quadratic problem.

    Attributes:
        z, u: States and controls, with time first.
        costate: The multipliers of the dynamics, shape `(time, batch, nz)`.
        nu: The multiplier of the terminal row.
        convex: Whether each instance has a unique minimum, shape `(batch,)`.
    """

    z: Tensor
    u: Tensor
    costate: Tensor
    nu: Tensor
    convex: Tensor

    def updated(self, index: Tensor, part: "LQSolution") -> "LQSolution":
        """The solution with those of some of the instances replaced."""
        along = (a.index_copy(1, index, b) for a, b in zip(self[:3], part[:3], strict=True))
        ends = (a.index_copy(0, index, b) for a, b in zip(self[3:], part[3:], strict=True))
        return type(self)(*along, *ends)


def homogeneous(stages: Stages) -> tuple[Tensor, Tensor, Tensor]:
    """The problem without linear terms, in the state `(z, 1, nu)`: stage costs, maps, end cost.

    The one and the multiplier are constant states. A linear-quadratic problem in them needs no
    other case: no gradients, no defects, no terminal row.
    """
    H, q, A, c, H_n, q_n, E, psi, penalty, shift, nu_0, G = stages
    nx, nz, nu, rows = stages.sizes
    n = nz + 1 + rows
    time, size = H.shape[:2]
    at_w = [*range(nz), *range(n, n + nu)]
    cost = H.new_zeros(time, size, n + nu, n + nu)
    cost[..., :nz, :nz], cost[..., n:, n:] = H[..., :nz, :nz], H[..., nz:, nz:]
    cost[..., :nz, n:], cost[..., n:, :nz] = H[..., :nz, nz:], H[..., nz:, :nz]
    cost[..., nz, at_w] = cost[..., at_w, nz] = q
    map = H.new_zeros(time, size, n, n + nu)
    map[..., range(nx, n), range(nx, n)] = 1
    map[..., :nx, :nz], map[..., :nx, nz], map[..., :nx, n:] = A[..., :nz], c, A[..., nz:]
    # The final state is a linear function of the last state and control, and so is its product.
    cross = map[-1, :, :nz].mT @ G
    cost[-1, :, :, n:] += cross
    cost[-1, :, n:, :] += cross.mT
    end = H.new_zeros(size, n, n)
    weight = penalty[:, None, None]
    end[:, :nz, :nz] = H_n + weight * (E.mT @ E)
    end[:, :nz, nz] = end[:, nz, :nz] = q_n + ((weight * E.mT) @ psi.unsqueeze(-1)).squeeze(-1)
    end[:, :nz, nz + 1 :], end[:, nz + 1 :, :nz] = E.mT, E
    end[:, nz, nz + 1 :] = end[:, nz + 1 :, nz] = psi + shift[:, None] * nu_0
    end[:, range(nz + 1, n), range(nz + 1, n)] = -shift[:, None]
    return cost, map, end


SMALL = 16
"""Batches up to this size are swept by NumPy on a CPU: its calls cost a fifth of torch's."""


def steps_of(*values: Tensor) -> list[list[Any]]:
    """Each value's matrices by time: NumPy's for a small batch on a CPU, torch's otherwise."""
    if values[0].device.type == "cpu" and values[0].shape[1] <= SMALL:
        return [list(value.numpy()) for value in values]
    return [list(value.unbind()) for value in values]


def stacked(values: list[Any]) -> Tensor:
    """Matrices of either kind in one tensor, with time first."""
    return (
        torch.stack(values) if isinstance(values[0], Tensor) else torch.from_numpy(np.stack(values))
    )


def sequential(cost: Tensor, map: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Riccati recursion, stage after stage from the end.

    `V_k(s) = min_u V_{k+1}(map (s, u)) + cost(s, u)` with `V_k(s) = s' P_k s / 2`.

    Returns:
        The matrices `P_k`, the gains `K_k` of `u = K s`, and whether all stages were convex.
    """
    n = map.shape[-2]
    costs, maps, transposed, ends = steps_of(cost, map, map.mT.contiguous(), end[None])
    P = ends[0]
    values, gains, curvatures = [P], [], []
    for C, M, M_t in zip(reversed(costs), reversed(maps), reversed(transposed), strict=True):
        Q = C + M_t @ (P @ M)
        Q_us = Q[:, n:, :n]
        K, curvature = gain(Q[:, n:, n:], Q_us)
        P = Q[:, :n, :n] + Q_us.swapaxes(1, 2) @ K
        values.append(P)
        gains.append(K)
        curvatures.append(curvature)
    convex = (stacked(curvatures) > 0).all(0)
    return stacked(values[::-1]), stacked(gains[::-1]), convex


def gain(Q_uu: Any, Q_us: Any) -> tuple[Any, Any]:
    """`K = -Q_uu^{-1} Q_us`, and a number that is positive if `Q_uu` is positive definite."""
    if Q_uu.shape[-1] == 1:
        return Q_us / -Q_uu, Q_uu[:, 0, 0]
    if not isinstance(Q_uu, Tensor):
        K, curvature = gain(torch.from_numpy(Q_uu), torch.from_numpy(Q_us))
        return K.numpy(), curvature.numpy()
    factor, failed = torch.linalg.cholesky_ex(Q_uu)
    return -torch.cholesky_solve(Q_us, factor), torch.where(failed == 0, 1.0, -1.0).to(Q_uu)


def in_parallel(
    cost: Tensor, map: Tensor, end: Tensor, nx: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same as `sequential` by an associative scan, and where it can be trusted.

    The scan eliminates the controls of every stage by itself, and so divides by matrices that may
    be singular although those of the recursion are not. To find out, one step of the recursion is
    done for all stages at once: the scan's matrices must satisfy it.
    """
    n = map.shape[-2]
    P = scan.values(cost, map, end, nx)
    Q = cost + map.mT @ (P[1:] @ map)
    flat = Q.flatten(0, 1)
    K, curvature = gain(flat[:, n:, n:], flat[:, n:, :n])
    K, curvature = K.unflatten(0, Q.shape[:2]), curvature.unflatten(0, Q.shape[:2])
    expected = Q[..., :n, :n] + Q[..., :n, n:] @ K
    size = expected.abs().amax((2, 3))
    error = (P[:-1] - expected).abs().amax((2, 3))
    trusted = (error <= TRUSTED * torch.finfo(P.dtype).eps * size).all(0)
    return torch.cat([expected, P[-1:]]), K, (curvature > 0).all(0), trusted


def scan_is_faster(stages: Stages) -> bool:
    """Whether the scan is faster: on a CPU for few instances with very many stages (measured).

    Elsewhere every operation waits to be launched, so only the number of operations counts.
    """
    time, size = stages.hessian.shape[:2]
    if stages.hessian.device.type == "cpu":
        return time >= 512 and size <= 4
    return time >= 64


TRUSTED = 1e4
"""The error of the scan at a stage, in units of rounding, up to which its values are used."""


def riccati(stages: Stages, sweep: Sweep = "auto") -> LQSolution:
    """Solves the linear-quadratic problem; where it is not convex the step is not to be used."""
    if sweep == "scan" or (sweep == "auto" and scan_is_faster(stages)):
        step, trusted = swept(stages, parallel=True)
        at = (~trusted).nonzero()[:, 0]
        return step if len(at) == 0 else step.updated(at, swept(stages.take(at), False)[0])
    return swept(stages, parallel=False)[0]


def swept(stages: Stages, parallel: bool) -> tuple[LQSolution, Tensor]:
    """The solution by one kind of sweep, and where it can be trusted."""
    nx, nz, _, _ = stages.sizes
    cost, map, end = homogeneous(stages)
    trusted = torch.ones(len(end), dtype=torch.bool, device=end.device)
    # A stage that is not convex may well overflow; its step is not used.
    with np.errstate(all="ignore"):
        if parallel:
            P, K, convex, trusted = in_parallel(cost, map, end, nx)
        else:
            P, K, convex = sequential(cost, map, end)
        start, unique = saddle_point(P[0], nx, nz)
        n = map.shape[-2]
        closed = map[..., :n] + map[..., n:] @ K
        if parallel:
            path = scan.path(closed, start[..., None])
        else:
            maps, path = steps_of(closed, start[None, ..., None])
            for M in maps:
                path.append(M @ path[-1])
            path = stacked(path)
    costate = (P[..., :nz, :] @ path).squeeze(-1)
    u = (K @ path[:-1]).squeeze(-1)
    costate[-1] += (stages.end_cross @ u[-1].unsqueeze(-1)).squeeze(-1)
    return LQSolution(path[..., :nz, 0], u, costate, start[:, nz + 1 :], convex & unique), trusted


def saddle_point(P: Tensor, nx: int, nz: int) -> tuple[Tensor, Tensor]:
    """The initial state `(0, theta, 1, nu)` that minimises over `theta` and maximises over `nu`."""
    size, n = P.shape[0], P.shape[-1]
    one = P.new_zeros(size, n)
    one[:, nz] = 1
    unique = torch.ones(size, dtype=torch.bool, device=P.device)
    if nz > nx:
        K, curvature = gain(P[:, nx:nz, nx:nz], P[:, nx:nz, nz:])
        unique = curvature > 0
        reduced = P[:, nz:, nz:] + P[:, nz:, nx:nz] @ K
    else:
        K, reduced = P.new_zeros(size, 0, n - nz), P[:, nz:, nz:]
    if n > nz + 1:
        nu, curvature = gain(-reduced[:, 1:, 1:], -reduced[:, 1:, :1])
        unique = unique & (curvature > 0)
        one[:, nz + 1 :] = nu.squeeze(-1)
    one[:, nx:nz] = (K @ one[:, nz:].unsqueeze(-1)).squeeze(-1)
    return one, unique
