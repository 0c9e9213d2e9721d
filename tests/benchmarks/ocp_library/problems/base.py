"""What the problems of the library share: bounds of states, free initial states, guesses."""

import math

import torch
from torch import Tensor

from ocnet import PiecewiseConstant, Problem, Sample


Pairs = dict[int, tuple[float, float]]


class Library(Problem):
    """A problem with bounds of states as rows, and free initial states as shifts.

    An initial state that is free is `x0 + shift`: the dynamics see `y + shift` for all times, and
    the shift is a static parameter. `true` gives the state that the formulas are about.

    Attributes:
        x0: The initial state; its guess where it is free.
        free: The bounds of initial states that are free, by index.
        boxes: The bounds of states, by index.
        u0: A guess of the controls.
    """

    x0: tuple[float, ...]
    free: Pairs = {}
    boxes: Pairs = {}
    u0: tuple[float, ...] | None = None

    def __init__(self):
        super().__init__()
        self.state_shape = (len(self.x0),)
        self.static_parameters = dict(type(self).static_parameters)
        for i, (low, high) in self.free.items():
            self.register_buffer(f"shift{i}", torch.zeros((), dtype=torch.float64))
            self.static_parameters[f"shift{i}"] = low - self.x0[i], high - self.x0[i]

    def true(self, x: Tensor) -> Tensor:
        """The state, with the shifts of what is free at the start."""
        shifts = [
            getattr(self, f"shift{i}") if i in self.free else x.new_zeros(())
            for i in range(len(self.x0))
        ]
        return x + torch.stack(shifts) if self.free else x

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        x, rows = self.true(x), []
        for i, (low, high) in self.boxes.items():
            rows += [low - x[..., i]] if low > -math.inf else []
            rows += [x[..., i] - high] if high < math.inf else []
        return torch.stack(rows, -1) if rows else x[..., :0]

    def guess(self, s: Tensor) -> Tensor | None:
        """A guess of the states at `t = s t1`, shape `(time, states)`; None for the controls'."""
        return None

    def initial_states(self, t: Tensor, x0: Tensor) -> Tensor | None:
        path = self.guess(t / self.t1)
        if path is None:
            return None
        return path.reshape(-1, *[1] * (x0.dim() - 1), len(self.x0)).expand(-1, *x0.shape)

    def initial_control(
        self, n: int, generator: torch.Generator | None = None
    ) -> PiecewiseConstant:
        control = PiecewiseConstant(self.t0, self.t1, n, self.control_shape or ())
        control = control.to(torch.float64)
        with torch.no_grad():
            control.path.copy_(self.control_guess((torch.arange(n) / n).to(control.path)))
        return control

    def control_guess(self, s: Tensor) -> Tensor:
        """A guess of the controls at `t = s t1`, shape `(time, controls)`."""
        u0 = self.u0 or (0.0,) * (self.control_shape or (1,))[0]
        return s.new_tensor(u0).expand(len(s), -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(doubles(*self.x0).expand(batch_size, -1))


class MinimumTime(Library):
    """A problem whose cost is the final time."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return torch.ones_like(x[..., 0])


def stacked(*parts: Tensor) -> Tensor:
    """Components as one vector."""
    return torch.stack(torch.broadcast_tensors(*parts), -1)


def doubles(*values: float) -> Tensor:
    """Numbers in double precision, whatever the default is."""
    return torch.tensor(values, dtype=torch.float64)
