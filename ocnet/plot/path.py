"""A picture of one trajectory: states above, control below."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from .._arguments import check_kind
from ..trajectory import Trajectory
from .style import axes, look


def states_and_controls(
    trajectory: Trajectory,
    state_names: Sequence[str] | None = None,
    control_names: Sequence[str] | None = None,
) -> Figure:
    """The first sample's state and control over time.

    Arguments:
        trajectory: A trajectory of vector states of one size, with tensors as control values.
        state_names: What to call the components of the state; x_1, x_2, ... if None.
        control_names: What to call the components of the control; u_1, u_2, ... if None.

    Raises:
        ValueError: If the state changes shape along the trajectory.
    """
    check_kind("trajectory", trajectory, Trajectory)
    t, at = trajectory.t.cpu(), trajectory.t_kept.cpu()
    x = trajectory.x.detach().cpu().flatten(1, -2)[:, 0] if trajectory.x.dim() > 2 else trajectory.x
    values = [u.detach().cpu() for u in trajectory.controls if isinstance(u, Tensor) and u.numel()]
    figure = Figure(figsize=(6.4, 4.4 if values else 2.6), layout="constrained")
    ax = axes(figure, (2 if values else 1, 1, 1))
    names = state_names or [rf"$x_{{{i + 1}}}$" for i in range(x.shape[-1])]
    for i, name in enumerate(names):
        ax.plot(at, x[:, i], lw=1.6, label=name, **look(i))
    ax.set_ylabel("state $x$")
    ax.legend(frameon=False, ncols=4)
    if values:
        ax = axes(figure, (2, 1, 2))
        # The first control of a batch is drawn, as with the states.
        u = [value.reshape(-1, value.shape[-1])[0] for value in values]
        names = control_names or [rf"$u_{{{i + 1}}}$" for i in range(len(u[0]))]
        for i, name in enumerate(names):
            ax.step(t[:-1], [value[i] for value in u], where="post", lw=1.6, label=name, **look(i))
        ax.set_ylabel("control $u$")
        ax.legend(frameon=False, ncols=4)
    ax.set_xlabel("time $t$")
    return figure
