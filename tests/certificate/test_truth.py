"""The depth certificate's verdict against the truth, on random problems with a closed form."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from ocnet import Euler, PiecewiseConstant, Problem, Sample
from ocnet.certificate import CLOSE, depth_certificate


pytestmark = pytest.mark.usefixtures("without_shape_checks")

DENSE = 4800
"""At how many times a path is known: a multiple of all depths."""


class Affine(Problem):
    """`x' = A x + b`, with `phi = |x - goal|^2`; its control does nothing.

    Arguments:
        A, b: The vector field, shapes `(size, size)` and `(size,)`.
        x0: The initial states, shape `(batch, size)`.
        goal: Where the cost vanishes, shape `(size,)`.
    """

    control_shape = (1,)

    def __init__(self, A: Tensor, b: Tensor, x0: Tensor, goal: Tensor):
        super().__init__()
        self.A, self.b, self.x0, self.goal = A, b, x0, goal
        self.state_shape = (len(b),)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.A.mT + self.b

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        return (x - self.goal).square().sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(self.x0)

    def augmented(self) -> Tensor:
        """The matrix whose exponential moves `(x, 1)`."""
        size = len(self.b)
        matrix = torch.zeros(size + 1, size + 1)
        matrix[:size, :size], matrix[:size, size] = self.A, self.b
        return matrix

    def exact(self) -> Tensor:
        """The solution at `DENSE + 1` times, shape `(time, batch, size)`."""
        return self.powers(torch.matrix_exp(self.augmented() / DENSE), DENSE)

    def by_euler(self, n: int) -> Tensor:
        """Euler's nodes and the straight lines between them, at the same times."""
        nodes = self.powers(torch.eye(len(self.b) + 1) + self.augmented() / n, n)
        share = torch.arange(DENSE // n)[:, None, None] * n / DENSE
        lines = [a + share * (b - a) for a, b in itertools.pairwise(nodes)]
        return torch.cat([*lines, nodes[-1:]])

    def powers(self, step: Tensor, n: int) -> Tensor:
        x = torch.cat([self.x0, torch.ones(len(self.x0), 1)], -1)
        path = [x]
        for _ in range(n):
            path.append(path[-1] @ step.mT)
        return torch.stack(path)[..., :-1]


class Case(NamedTuple):
    """A problem, its depth, and how far the network is off in truth."""

    kind: str
    problem: Affine
    n: int
    off: float


def rotation(w: float, damping: float) -> Tensor:
    return torch.tensor([[-damping, -w], [w, -damping]])


def cases(count: int, seed: int) -> Iterator[Case]:
    """Random problems of five kinds in turn, at three depths."""
    draw = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=draw)
    pick = lambda low, high: low * (high / low) ** torch.rand(1, generator=draw).item()
    kinds: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: pick(0.2, 2) * normal(2, 2),
        "oscillating": lambda: rotation(pick(0.2, 12), pick(0.01, 1)),
        "stiff": lambda: torch.diag(torch.tensor([-pick(5, 90), -pick(0.1, 2)])),
        "decaying": lambda: torch.tensor([[-pick(0.1, 8)]]),
        "vanishing cost": lambda: pick(0.2, 2) * normal(2, 2),
    }
    for k in range(count):
        kind = list(kinds)[k % len(kinds)]
        n = [10, 20, 40][k % 3]
        A = kinds[kind]()
        b, x0 = normal(len(A)), normal(1 + k % 4, len(A))
        problem = Affine(A, b, x0, torch.zeros(len(A)))
        path = problem.exact()
        if kind == "vanishing cost":
            # The same end for all samples would be theirs only of one.
            problem.x0 = x0 = x0[:1]
            path, problem.goal = path[:, :1], path[-1, 0]
        yield Case(kind, problem, n, truth(problem, path, problem.by_euler(n)))


def truth(problem: Affine, exact: Tensor, network: Tensor) -> float:
    """The larger of the gaps of path and cost, of the worst sample, by their definitions."""
    own = exact.amax(0) - exact.amin(0)
    # The median over the batch is the lower one.
    scale = torch.maximum(own, own.sort(0).values[(len(own) - 1) // 2])
    path = ((network - exact).abs() / scale).max().item()
    along = problem.terminal_cost(exact, None)
    J, J_n = along[-1], problem.terminal_cost(network[-1], None)
    largest = along.amax(0)
    unit = torch.maximum(J, J.mean())
    unit = torch.maximum(unit, 0.05 * torch.maximum(largest, largest.mean()))
    return max(path, ((J_n - J).abs() / unit).max().item())


def told(count: int, seed: int) -> tuple[Counter[str], list[Case], list[Case]]:
    """The verdicts, and the cases in which "behaves" and "does not" are false."""
    verdicts, false_behaves, false_does_not = Counter[str](), list[Case](), list[Case]()
    for case in cases(count, seed):
        control = PiecewiseConstant(0.0, 1.0, 1, 1)
        found = depth_certificate(
            case.problem, control, Euler(case.n), Sample(case.problem.x0), fine_steps=200
        )
        verdicts[found.outcome] += 1
        if found.outcome == "behaves" and case.off > CLOSE:
            false_behaves.append(case)
        if found.outcome == "does not" and case.off <= CLOSE:
            false_does_not.append(case)
        if math.isfinite(case.off) and found.path_gap and found.cost_gap:
            worst = max(found.path_gap.worst, found.cost_gap.worst)
            assert worst == pytest.approx(case.off, rel=0.02), case
    return verdicts, false_behaves, false_does_not


def test_the_verdict_agrees_with_10_closed_forms() -> None:
    verdicts, false_behaves, false_does_not = told(10, seed=1)
    assert not false_behaves and not false_does_not
    assert verdicts["behaves"] >= 2 and verdicts["does not"] >= 2


@pytest.mark.slow
def test_the_verdict_agrees_with_200_closed_forms() -> None:
    """No "behaves" where the truth is off by more than 5%, and at most 5% wrong "does not"."""
    verdicts, false_behaves, false_does_not = told(200, seed=0)
    assert not false_behaves
    assert len(false_does_not) <= 10
    assert verdicts["behaves"] >= 50 and verdicts["does not"] >= 50
