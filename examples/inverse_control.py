"""Inverse optimal control: which weights make an observed path optimal?

    python -m examples.inverse_control

A cart is seen to brake on its way to the origin; its driver minimises `int q x^2 + r v^2 + u^2`
with unknown weights. The optimal path is a differentiable function of the weights, so that the
Gauss-Newton method finds them from the path alone:

    iteration 0: weights 1.0000 1.0000, misfit 1.5e+00
    ...
    iteration 5: weights 4.0000 0.5000, misfit 4.4e-13
"""

import torch
from torch import nn, Tensor

from ocnet import Problem, RK4, Sample, solve


class Cart(Problem):
    """`x' = v, v' = u, |u| <= 1.5` from (1, 0), minimise `int q x^2 + r v^2 + u^2`."""

    t1 = 3.0
    state_shape = (2,)
    control_shape = (1,)
    control_bounds = (-1.5, 1.5)

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.ones(2), requires_grad=False)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        v = x[..., 1]
        return torch.stack([v, u[..., 0].expand_as(v)], -1)

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (self.weights * x**2).sum(-1) + u[..., 0] ** 2

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.tensor([1.0, 0.0]).expand(batch_size, 2))


def path(weights: Tensor) -> Tensor:
    """The optimal positions, differentiable in the weights."""
    x0 = torch.tensor([1.0, 0.0], dtype=weights.dtype)
    return solve(Cart().to(weights).batch(x0, weights=weights), solver=RK4(40)).x[:, 0]


def main() -> None:
    """Finds the weights again."""
    observed = path(torch.tensor([4.0, 0.5], dtype=torch.float64))
    weights = torch.ones(2, dtype=torch.float64)
    for iteration in range(6):
        weights.requires_grad_()
        found = path(weights)
        misfit = found - observed
        rows = [torch.autograd.grad(value, weights, retain_graph=True)[0] for value in found[1::4]]
        shown = " ".join(f"{w:.4f}" for w in weights.tolist())
        print(f"iteration {iteration}: weights {shown}, misfit {float(misfit.norm()):.1e}")
        change = torch.linalg.lstsq(torch.stack(rows), misfit[1::4].detach()).solution
        weights = (weights.detach() - change).clamp(min=1e-3)


if __name__ == "__main__":
    main()
