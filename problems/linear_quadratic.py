"""Linear-quadratic problems, solved by a Riccati equation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ocnet import Quadratic, Sample, SolvedProblem, TerminalQuadratic


class _LinearQuadratic(SolvedProblem):
    """`x' = A x + B u`, minimise `1/2 int x'Qx + u'Ru + 1/2 x(T)' Q_T x(T)`.

    State and costate `p = P x` obey `(x, p)' = M (x, p)` with
    `M = [[A, -B R^-1 B'], [-Q, -A']]`, `p(T) = Q_T x(T)`; the optimal cost is `x0' P(0) x0 / 2`
    and the optimal control `u = -R^-1 B' p`.

    References:
        B. D. O. Anderson, J. B. Moore, Optimal Control: Linear Quadratic Methods, 1990.
    """

    def __init__(
        self,
        A: Sequence[Sequence[float]],
        B: Sequence[Sequence[float]],
        Q: Sequence[float],
        R: Sequence[float],
        Q_T: Sequence[float],
        x0: Sequence[float],
        horizon: float,
    ):
        super().__init__()
        self.t1 = float(horizon)
        self.register_buffer("A", torch.tensor(A))
        self.register_buffer("B", torch.tensor(B))
        self.register_buffer("x0", torch.tensor(x0))
        self.state_shape = (len(A),)
        self.control_shape = (len(R),)
        self.register_buffer("Q", torch.tensor(Q).diag())
        self.register_buffer("R", torch.tensor(R).diag())
        self.register_buffer("Q_T", torch.tensor(Q_T).diag())
        self.stage_cost = Quadratic(self.Q, self.R)
        self.terminal_cost = TerminalQuadratic(self.Q_T)

    A: Tensor
    B: Tensor
    Q: Tensor
    R: Tensor
    Q_T: Tensor
    x0: Tensor

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.A.mT + u @ self.B.mT

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.x0.expand(batch_size, -1))

    def weights(self) -> list[Tensor]:
        """`A, B, Q, R, Q_T` in double precision."""
        return [w.double() for w in (self.A, self.B, self.Q, self.R, self.Q_T)]

    def hamiltonian_matrix(self) -> Tensor:
        """The matrix `M` of the canonical equations."""
        A, B, Q, R, _ = self.weights()
        upper = torch.cat([A, -B @ torch.linalg.solve(R, B.mT)], 1)
        return torch.cat([upper, torch.cat([-Q, -A.mT], 1)])

    def riccati(self) -> Tensor:
        """`P(0)`, from `P(0) = (E22 - Q_T E12)^-1 (Q_T E11 - E21)` with `E = exp(M T)`."""
        n, Q_T = len(self.A), self.weights()[-1]
        E = torch.linalg.matrix_exp(self.hamiltonian_matrix() * (self.t1 - self.t0))
        upper, lower = E[:n], E[n:]
        left, right = lower - Q_T @ upper, Q_T @ upper - lower
        return torch.linalg.solve(left[:, n:], right[:, :n])

    def optimal_cost(self, x0: Tensor) -> Tensor:
        return quadratic(self.riccati(), x0)

    def optimal_control(self, t: Tensor, x0: Tensor) -> Tensor:
        n, (_, B, _, R, _) = len(self.A), self.weights()
        P, x = self.riccati(), x0.double()
        start = torch.cat([x, x @ P.mT], -1)
        flow = torch.linalg.matrix_exp(
            (t.double() - self.t0)[:, None, None] * self.hamiltonian_matrix()
        )
        p = torch.einsum("tij,...j->t...i", flow, start)[..., n:]
        return -(p @ torch.linalg.solve(R, B.mT).mT).to(x0)

    def euler_optimal_cost(self, x0: Tensor, n: int) -> Tensor:
        """`P <- hQ + A_h' P A_h - A_h' P B_h (hR + B_h' P B_h)^-1 B_h' P A_h` from `Q_T`."""
        A, B, Q, R, P = self.weights()
        h = (self.t1 - self.t0) / n
        A_h, B_h = torch.eye(len(A), dtype=A.dtype, device=A.device) + h * A, h * B
        for _ in range(n):
            gain = torch.linalg.solve(h * R + B_h.mT @ P @ B_h, B_h.mT @ P @ A_h)
            P = h * Q + A_h.mT @ P @ (A_h - B_h @ gain)
        return quadratic(P, x0)


def quadratic(P: Tensor, x: Tensor) -> Tensor:
    """`x' P x / 2`, computed in double precision."""
    return (((x.double() @ P) * x.double()).sum(-1) / 2).to(x)


class ScalarLQR(_LinearQuadratic):
    """`x' = u`, x0 = 1, T = 1, minimise `1/2 int x^2 + u^2`: optimum tanh(1)/2.

    `u = -sinh(1 - t)/cosh 1`, `p = -u`. D. Liberzon, Calculus of Variations and Optimal Control
    Theory, 2012, section 6.1.
    """

    def __init__(self, horizon: float = 1.0):
        super().__init__([[0.0]], [[1.0]], [1.0], [1.0], [0.0], [1.0], horizon)


class DoubleIntegratorLQR(_LinearQuadratic):
    """`x1' = x2, x2' = u`, x0 = (1, 0), T = 5, minimise `1/2 int |x|^2 + u^2`.

    Optimum .8654252995521777, from the Riccati equation (Anderson and Moore 1990).
    """

    def __init__(self, horizon: float = 5.0):
        A, B = [[0.0, 1.0], [0.0, 0.0]], [[0.0], [1.0]]
        super().__init__(A, B, [1.0, 1.0], [1.0], [0.0, 0.0], [1.0, 0.0], horizon)


class TerminalLQR(_LinearQuadratic):
    """The double integrator from (1, 1), T = 2: `1/2 int x1^2 + .1 x2^2 + .1 u^2 + 5 |x(T)|^2`.

    Optimum .8966743947753623, from the Riccati equation (Anderson and Moore 1990).
    """

    def __init__(self, horizon: float = 2.0):
        A, B = [[0.0, 1.0], [0.0, 0.0]], [[0.0], [1.0]]
        super().__init__(A, B, [1.0, 0.1], [0.1], [10.0, 10.0], [1.0, 1.0], horizon)


class OscillatorLQR(_LinearQuadratic):
    """`x1' = x2, x2' = -x1 + u`, x0 = (1, 0), T = 10, minimise `1/2 int |x|^2 + u^2`.

    Optimum .9561419767349852, from the Riccati equation (Anderson and Moore 1990). Euler pumps
    energy into the oscillation: with 100 steps its optimum is 11% too high.
    """

    def __init__(self, horizon: float = 10.0):
        A, B = [[0.0, 1.0], [-1.0, 0.0]], [[0.0], [1.0]]
        super().__init__(A, B, [1.0, 1.0], [1.0], [0.0, 0.0], [1.0, 0.0], horizon)
