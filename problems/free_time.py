"""Problems whose final time is free, or that reach for an orbit, and their known optima."""

import torch
from torch import Tensor

from ocnet import Sample, SolvedProblem

from .double_integrator import double_integrator


class MinTime(SolvedProblem):
    """`x1' = x2, x2' = u, |u| <= 1` from (0, 0) to rest at (1, 0) in least time: 2.

    Full thrust one way, then the other. Also exactly 2 with an even number of Euler steps.
    """

    t1 = 1.0
    state_shape = (2,)
    control_shape = (1,)
    control_bounds = (-1.0, 1.0)
    final_time_bounds = (0.1, 20.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return double_integrator(x, u)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.ones_like(x[..., 0])

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x - x.new_tensor([1.0, 0.0])

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, 2))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        """`T = v + 2 sqrt(a + v^2/2)` left of the switching curve, mirrored on the right of it.

        `a = 1 - x1`, `v = -x2`, seen from the target.
        """
        a, v = x0[..., 0] - 1, x0[..., 1]
        side = torch.where(a + v * v.abs() / 2 >= 0, 1.0, -1.0).to(x0)
        return side * v + 2 * (side * a + v**2 / 2).sqrt()

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor | None:
        if n % 2 or bool((x0 != 0).any()):
            return None
        return x0.new_full(x0.shape[:-1], 2.0)


class MoonLander(SolvedProblem):
    """`h' = v, v' = u - 1.5, 0 <= u <= 3` from (10, -2) to rest at 0, T free, minimise `int u`.

    Optimum `sqrt 68`: fall until 1.4154037504, then full thrust until 4.1641408342.

    References:
        J. S. Meditch, IEEE Transactions on Automatic Control 9(4), 1964.
    """

    t1 = 4.0
    state_shape = (2,)
    control_shape = (1,)
    control_bounds = (0.0, 3.0)
    final_time_bounds = (0.1, 20.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return double_integrator(x, u - 1.5)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return u[..., 0]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([10.0, -2.0]).expand(batch_size, 2))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        """`3 s = 2 |v1|`, where thrust for a time `s` brakes from the speed `v1` at the switch.

        Before it the energy says `v1^2/2 = v^2/2 + 1.5 (h - h1)`, after it `h1 = v1^2/3`.
        """
        h, v = x0.unbind(-1)
        return 2 * (v**2 / 2 + 1.5 * h).sqrt()


class Brachistochrone(SolvedProblem):
    """`x' = v sin u, y' = -v cos u, v' = g cos u` from (0, 10, 0) to (10, 5), in least time.

    Optimum 1.8016031225, on a cycloid; g = 9.80665; with 100 Euler steps 1.80468817.
    The cold start is a straight line.

    References:
        J. Bernoulli, Acta Eruditorum, 1696.
    """

    t1 = 1.0
    state_shape = (3,)
    control_shape = (1,)
    control_units = ("rad",)
    final_time_bounds = (0.1, 20.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        v = x[..., 2]
        angle = u[..., 0].expand_as(v)
        return torch.stack([v * angle.sin(), -v * angle.cos(), 9.80665 * angle.cos()], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.ones_like(x[..., 0])

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., :2] - x.new_tensor([10.0, 5.0])

    def initial_states(self, t: Tensor, x0: Tensor) -> Tensor:
        """A straight line to the end, with the speed that energy gives at each height."""
        share = (t / self.t1).reshape(-1, *[1] * (x0.dim() - 1), 1)
        line = x0[..., :2] + share * (x0.new_tensor([10.0, 5.0]) - x0[..., :2])
        drop = (x0[..., 1] - line[..., 1]).clamp(min=0)
        return torch.cat([line, (2 * 9.80665 * drop).sqrt().unsqueeze(-1)], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([0.0, 10.0, 0.0]).expand(batch_size, 3))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], 1.8016031225)


class Goddard(SolvedProblem):
    """A sounding rocket: `h' = v, v' = (u - D(h, v))/m - 1/h^2, m' = -2 u`, greatest final height.

    From (1, 0, 1) to m = .6, `0 <= u <= 3.5`, T free, drag `D = 310 v^2 exp(-500 (h - 1))`. The
    optimum 1.0128375 is that of Radau collocation on a converged mesh; between full thrust and
    coasting lies a singular arc.

    References:
        R. H. Goddard, A Method of Reaching Extreme Altitudes, 1919.
        E. D. Dolan, J. J. More, T. S. Munson, Benchmarking Optimization Software with COPS, 2004.
    """

    t1 = 0.2
    state_shape = (3,)
    control_shape = (1,)
    control_bounds = (0.0, 3.5)
    final_time_bounds = (0.01, 1.0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        h, v, m = x.unbind(-1)
        thrust = u[..., 0]
        drag = 310 * v**2 * (-500 * (h - 1)).exp()
        return torch.stack([v, (thrust - drag) / m - 1 / h**2, -2 * thrust.expand_as(v)], -1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 0]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        return x[..., 2:] - 0.6

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.0, 1.0]).expand(batch_size, 3))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], -1.0128375)


class OrbitRaising(SolvedProblem):
    """`r' = w, w' = v^2/r - 1/r^2 + a sin u, v' = -w v/r + a cos u`, greatest final radius.

    From the circular orbit (1, 0, 1) to a circular one at T = 3.32 under constant thrust,
    `a = .1405/(1 - .0749 t)`. The optimum 1.5252777 is that of Radau collocation on a converged
    mesh.

    References:
        A. E. Bryson, Y.-C. Ho, Applied Optimal Control, 1975, section 2.5.
    """

    t1 = 3.32
    state_shape = (3,)
    control_shape = (1,)
    control_units = ("rad",)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        r, w, v = x.unbind(-1)
        a, angle = 0.1405 / (1 - 0.0749 * t), u[..., 0]
        upward = v**2 / r - 1 / r**2 + a * angle.sin()
        return torch.stack([w, upward, -w * v / r + a * angle.cos()], -1)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return -x[..., 0]

    def terminal_constraint(self, x: Tensor, target: Tensor | None) -> Tensor:
        r, w, v = x.unbind(-1)
        return torch.stack([w, v - r**-0.5], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.0, 1.0]).expand(batch_size, 3))

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return x0.new_full(x0.shape[:-1], -1.5252777)
