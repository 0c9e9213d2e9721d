"""The scaled residual networks res-1, res-2 and res-3, as controlled systems."""

import abc
import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import nn, Tensor
from torch.nn.functional import leaky_relu

from .._arguments import check_count, check_function, check_generator, check_kind, check_range
from ..control import PiecewiseConstant
from ..init import fill_, Iid, Kind
from ..problem import Sample
from ..supervised import SupervisedProblem
from ..types import Cost, State, Time


class ScaledNetwork(SupervisedProblem):
    r"""A residual network whose branches are scaled by $\alpha_L = L^{-\beta}$:

        h_0 = A x,   h_{k+1} = h_k + alpha_L g(h_k, u_k),   F(x) = B h_L

    It is Euler with step `alpha_L` on the horizon `L**(1 - beta)`, and the weights are the control.
    The cost is `|F(x) - y|^2`. Source: Marion, Fermanian, Biau and Vert, JMLR 26 (2025).

    Arguments:
        n_layers: The depth `L`.
        beta: The exponent of the scaling.
        kind: The process over depth that `initial_control` draws, i.i.d. uniform by default.
        d: The width, `>= 1`.
        n_in, n_out: The sizes of `x` and `F(x)`.
        sigma: The activation, a function of each entry; the leaky ReLU of `slope` if None.
        generator: Makes `A` and `B` reproducible: Gaussian, of variance 1 / fan_in.

    Raises:
        TypeError, ValueError: Unless `L >= 2`, the sizes are positive and `beta` is finite.
    """

    d: int
    n_in: int
    n_out: int

    slope: float
    """The activation's slope for negative arguments: 0 is ReLU, 1 the identity."""

    def __init__(
        self,
        n_layers: int = 100,
        beta: float = 0.5,
        kind: Kind | None = None,
        *,
        d: int = 40,
        n_in: int = 64,
        n_out: int = 1,
        sigma: Callable[[Tensor], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        check_count("n_layers", n_layers, least=2)
        for name, size in (("d", d), ("n_in", n_in), ("n_out", n_out)):
            check_count(name, size)
        check_kind("kind", kind, Kind, type(None))
        check_generator(generator)
        if sigma is not None:
            check_function("sigma", sigma)
        self.sigma = sigma
        self.depth = n_layers
        self.kind: Kind = Iid() if kind is None else kind
        self.d, self.n_in, self.n_out = d, n_in, n_out
        self.state_shape: tuple[int, ...] = (d,)
        self.control_shape: tuple[int, ...] | None = self.weight_shape(d)
        self.embedding: nn.Parameter = nn.Parameter(
            torch.randn(d, n_in, generator=generator) / math.sqrt(n_in)
        )
        self.head: nn.Parameter = nn.Parameter(
            torch.randn(n_out, d, generator=generator) / math.sqrt(d)
        )
        self.set_beta(beta)

    def set_beta(self, beta: float) -> None:
        """The horizon that makes the step of `L` equal layers `L**-beta`."""
        check_range("beta", beta, "-inf <", "< inf")
        self.beta: float = float(beta)
        self.t1: float = self.depth ** (1 - self.beta)

    def with_beta(self, beta: float) -> "ScaledNetwork":
        """The same network, its parameters shared, with another scaling."""
        other = copy.copy(self)
        other.set_beta(beta)
        return other

    @staticmethod
    @abc.abstractmethod
    def weight_shape(d: int) -> tuple[int, ...]:
        """The shape of one layer's weights."""

    @abc.abstractmethod
    def branch(self, x: State, u: Tensor) -> State:
        """`g(x, u)`, shape `(*batch, d)`, from weights `(*#batch, *weight_shape)`."""

    def pullback(self, x: State, u: Tensor, p: State) -> State:
        """`(D_x g(x, u))' p`, the branch's part in the costate recursion; by autograd."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            g = self.branch(x, u)
            return torch.autograd.grad(g, x, p.expand_as(g))[0]

    def activation(self, x: Tensor) -> Tensor:
        """`sigma(x)`, entry by entry."""
        return leaky_relu(x, self.slope) if self.sigma is None else self.sigma(x)

    def derivative(self, x: Tensor) -> Tensor:
        """`sigma'(x)`, entry by entry."""
        if self.sigma is None and kept(self, "activation", ScaledNetwork):
            return leaky_derivative(x, self.slope)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.activation(x).sum(), x)[0]

    @property
    def homogeneous(self) -> bool:
        """Whether `g(c x, u) = c g(x, u)` for all `c > 0`, which the log domain needs.

        False unless this is known to hold. A model with a branch of its own may declare it:
        `homogeneous = True`.
        """
        return False

    def dynamics(self, t: Time, x: State, u: Tensor) -> State:
        return self.branch(x, u)

    def terminal_cost(self, x: State, target: Tensor | None) -> Cost:
        error = x @ self.head.mT - (0 if target is None else target)
        return error.square().sum(-1)

    def embed(self, x0: Tensor) -> State:
        return x0 @ self.embedding.mT

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        like = {"dtype": self.head.dtype, "device": self.head.device, "generator": generator}
        x = torch.randn(batch_size, self.n_in, **like)
        return Sample(x, torch.randn(batch_size, self.n_out, **like))

    def initial_control(
        self, n: int, generator: torch.Generator | None = None
    ) -> PiecewiseConstant:
        like = {"dtype": self.head.dtype, "device": self.head.device}
        weights = torch.empty(n, *self.weight_shape(self.d), **like)
        return self.control(fill_(weights, self.kind, 1 / math.sqrt(self.d), generator))

    def draw(
        self,
        count: int,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        out: Float[Tensor, "layer path"] | None = None,
    ) -> Float[Tensor, "layer network ..."]:
        """The weights of `count` independent networks, shape `(L, count, *weight_shape)`.

        Arguments:
            count: How many networks.
            generator: Makes the draw reproducible; on `device`.
            dtype: Single or double precision.
            device: Where the weights are drawn.
            out: Where to write them, shape `(L, count * prod(weight_shape))`; new by default.
        """
        shape = (count, *self.weight_shape(self.d))
        unit = self.kind.draw(self.depth, math.prod(shape), generator, dtype, device, out)
        return unit.div_(math.sqrt(self.d)).reshape(self.depth, *shape)

    def control(self, weights: Float[Tensor, "layer ..."]) -> PiecewiseConstant:
        """A control that holds the stacked weights themselves: no copy, and no new draw.

        So `other = network.with_beta(1.0)` and `other.control(control.path)` change beta alone.

        Arguments:
            weights: Shape `(L, *batch, *weight_shape)`.
        """
        n, *shape = weights.shape
        control = PiecewiseConstant(self.t0, self.t1, n, shape, device="meta")
        control.path = nn.Parameter(weights.detach())
        return control


class OneMatrix(ScaledNetwork):
    """`g(h, V) = V sigma(h)`, a weight matrix in each layer."""

    @staticmethod
    def weight_shape(d: int) -> tuple[int, ...]:
        return (d, d)

    def branch(self, x: State, u: Tensor) -> State:
        return product(u, self.activation(x))

    def pullback(self, x: State, u: Tensor, p: State) -> State:
        if not kept(self, "branch", OneMatrix):
            return super().pullback(x, u, p)
        return self.derivative(x) * product(u.mT, p)

    @property
    def homogeneous(self) -> bool:
        return is_leaky(self, OneMatrix)


class TwoMatrices(ScaledNetwork):
    """`g(h, (V, W)) = V sigma(W h)`, two weight matrices in each layer."""

    @staticmethod
    def weight_shape(d: int) -> tuple[int, ...]:
        return (2, d, d)

    def branch(self, x: State, u: Tensor) -> State:
        V, W = u.unbind(-3)
        return product(V, self.activation(product(W, x)))

    def pullback(self, x: State, u: Tensor, p: State) -> State:
        if not kept(self, "branch", TwoMatrices):
            return super().pullback(x, u, p)
        V, W = u.unbind(-3)
        return product(W.mT, self.derivative(product(W, x)) * product(V.mT, p))

    @property
    def homogeneous(self) -> bool:
        return is_leaky(self, TwoMatrices)


class Res1(OneMatrix):
    """`h <- h + alpha_L V sigma(h)`, sigma the leaky ReLU of slope 0.8.

    The activation satisfies `a |x| <= |sigma(x)| <= b |x|`, `1/sqrt 2 <= a <= b <= 1`.
    """

    slope: float = 0.8


class Linear(OneMatrix):
    """`h <- h + alpha_L V h`: res-1 with the identity for an activation."""

    slope: float = 1.0


class Res2(TwoMatrices):
    """`h <- h + alpha_L V sigma(W h)`, sigma the leaky ReLU of slope 0.8."""

    slope: float = 0.8


class Res3(TwoMatrices):
    """`h <- h + alpha_L V ReLU(W h)`."""

    slope: float = 0.0


MODELS: dict[str, type[ScaledNetwork]] = {"res-1": Res1, "res-2": Res2, "res-3": Res3}


def product(
    weight: Float[Tensor, "*#batch out in"], x: Float[Tensor, "*batch in"]
) -> Float[Tensor, "*batch out"]:
    """`weight x`; states that share a weight go through one matrix product."""
    if weight.dim() == 2:
        return x @ weight.mT
    if weight.shape[-3] == 1:
        return x @ weight.squeeze(-3).mT
    return (weight @ x.unsqueeze(-1)).squeeze(-1)


def leaky_derivative(z: Tensor, slope: float) -> Tensor:
    """The derivative of the leaky ReLU: 1 where `z > 0`, else the slope."""
    positive = (z > 0).to(z)
    return positive if slope == 0 else slope + (1 - slope) * positive


def kept(network: ScaledNetwork, name: str, kind: type[ScaledNetwork]) -> bool:
    """Whether a network still has the method of a class, and no override of it."""
    return getattr(getattr(network, name), "__func__", None) is getattr(kind, name)


def is_leaky(network: ScaledNetwork, kind: type[ScaledNetwork]) -> bool:
    """Whether a network's branch is that of `OneMatrix` or `TwoMatrices` with a leaky ReLU."""
    return (
        network.sigma is None
        and kept(network, "activation", ScaledNetwork)
        and kept(network, "branch", kind)
    )
