"""One block of a residual stack, described by its parts."""

from collections.abc import Callable

from torch import nn, Tensor


class Residual(nn.Module):
    """One block of a stack, `activation(shortcut(x) + branch(x))`, described by its parts.

    Arguments:
        branch: The residual branch.
        shortcut: What runs parallel to it; the identity if None.
        activation: What follows the sum; nothing if None, as with pre-activation.
    """

    def __init__(
        self,
        branch: nn.Module,
        shortcut: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.branch: nn.Module = branch
        self.shortcut: nn.Module = nn.Identity() if shortcut is None else shortcut
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """The next state, shape `(batch, channels, ...)`, from `x` of the same kind."""
        y = self.shortcut(x) + self.branch(x)
        return y if self.activation is None else self.activation(y)
