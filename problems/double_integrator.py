"""The double integrator with end and path constraints on a fixed horizon, and known optima."""

import torch
from torch import Tensor

from ocnet import Sample, SolvedProblem


def double_integrator(x: Tensor, u: Tensor) -> Tensor:
    """`x1' = x2, x2' = u`."""
    x2 = x[..., 1]
    return torch.stack([x2, u[..., 0].expand_as(x2)], -1)


class MinEnergy(SolvedProblem):
    """`x1' = x2, x2' = u` from (0, 0) to (1, 0) in T = 1, minimise `int u^2`: optimum 12.

    `u = 6 - 12 t`, costates `(-24, -12 + 24 t)`; with n Euler steps `12/(1 - 1/n^2)`.

    References:
        A. E. Bryson, Y.-C. Ho, Applied Optimal Control, 1975.
    """

    state_shape = (2,)
    control_shape = (1,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return double_integrator(x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([1.0, 0.0])

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        """`d' W^-1 d`, where `d` is what is missed without control, and `W` is the Gramian."""
        missed = torch.stack([1 - x0[..., 0] - x0[..., 1], -x0[..., 1]], -1)
        inverse = x0.new_tensor([[12.0, -6.0], [-6.0, 4.0]])
        return ((missed @ inverse) * missed).sum(-1)

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        missed = torch.stack([1 - x0[..., 0] - x0[..., 1], -x0[..., 1]], -1)
        nu = missed @ x0.new_tensor([[12.0, -6.0], [-6.0, 4.0]])
        t = t.to(x0).reshape(-1, *[1] * (x0.dim() - 1))
        return ((1 - t) * nu[..., 0] + nu[..., 1]).unsqueeze(-1)

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor | None:
        if bool((x0 != 0).any()):
            return None
        return x0.new_full(x0.shape[:-1], 12 / (1 - 1 / n**2))


class BrysonDenham(SolvedProblem):
    """`x1' = x2, x2' = u` from (0, 1) to (0, -1), T = 1, `x1 <= L`, minimise `1/2 int u^2`.

    Optimum `4/(9 L)` for `L <= 1/6`, `2 + 6 (1 - 4 L)^2` for `L` in [1/6, 1/4], 2 above.

    References:
        A. E. Bryson, W. F. Denham, S. E. Dreyfus, AIAA Journal 1(11), 1963.
    """

    state_shape = (2,)
    control_shape = (1,)

    def __init__(self, L: float = 1 / 9):
        super().__init__()
        if not L > 0:
            raise ValueError(f"Must have L > 0, but got {L=}.")
        self.L = L

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return double_integrator(x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0] ** 2 / 2

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x[..., :1] - self.L

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([0.0, -1.0])

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([0.0, 1.0]).expand(batch_size, 2))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        L = min(self.L, 1 / 4)
        least = 4 / (9 * L) if L <= 1 / 6 else 2 + 6 * (1 - 4 * L) ** 2
        return x0.new_full(x0.shape[:-1], least)
