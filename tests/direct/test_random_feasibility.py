"""Property tests on random problems: solved or infeasible, as an independent convex program says.

Linear dynamics with Euler steps and convex rows. All random numbers are buffers of one problem, so
that one compiled kernel serves every draw.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import assume, example, given, settings, strategies
from torch import Tensor

from ocnet import Euler, Problem, Sample, solve
from ocnet.problem import Batch


N, NX, NU = 8, 3, 2


class Linear(Problem):
    """`x' = A x + B u` on [0, 1], `|u_i| <= 1`, `int |x - a|^2 + |u|^2`, with random rows.

    Along the path `C x + D u <= top` (two rows) and `|W (x - centre)|^2 <= bowl`; at the end
    `E x <= ends` (two rows) and `|x - centre|^2 <= ball`.
    """

    state_shape, control_shape, control_bounds = (NX,), (NU,), (-1.0, 1.0)
    shapes = {
        "A": (NX, NX), "B": (NX, NU), "a": (NX,), "C": (2, NX), "D": (2, NU), "top": (2,),
        "W": (NX, NX), "centre": (NX,), "bowl": (1,), "E": (2, NX), "ends": (2,), "ball": (1,),
    }  # fmt: skip
    A: Tensor
    B: Tensor
    a: Tensor
    C: Tensor
    D: Tensor
    top: Tensor
    W: Tensor
    centre: Tensor
    bowl: Tensor
    E: Tensor
    ends: Tensor
    ball: Tensor

    def __init__(self):
        super().__init__()
        for name, shape in self.shapes.items():
            self.register_buffer(name, torch.ones(shape, dtype=torch.float64))

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return x @ self.A.mT + u @ self.B.mT

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return ((x - self.a) ** 2).sum(-1) + (u**2).sum(-1)

    def path_constraint(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        square = (((x - self.centre) @ self.W.mT) ** 2).sum(-1, keepdim=True)
        return torch.cat([x @ self.C.mT + u @ self.D.mT - self.top, square - self.bowl], -1)

    def terminal_inequality(self, x: Tensor, target: Tensor | None) -> Tensor:
        square = ((x - self.centre) ** 2).sum(-1, keepdim=True)
        return torch.cat([x @ self.E.mT - self.ends, square - self.ball], -1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.zeros(batch_size, NX, dtype=torch.float64))


class Draw(NamedTuple):
    """Random numbers of a problem, from a seed, and controls that satisfy its rows with room."""

    x0: np.ndarray
    data: dict[str, np.ndarray]
    inner: np.ndarray

    def path(self, u: np.ndarray) -> np.ndarray:
        """The states that controls lead to by Euler steps."""
        x = [self.x0]
        for v in u:
            x.append(x[-1] + (self.data["A"] @ x[-1] + self.data["B"] @ v) / N)
        return np.stack(x)

    def rows(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows along the path, `(N + 1, 3)`, the last with the last control, and at the end."""
        d, x, held = self.data, self.path(u), np.concatenate([u, u[-1:]])
        bowl = (((x - d["centre"]) @ d["W"].T) ** 2).sum(-1, keepdims=True)
        along = np.concatenate([x @ d["C"].T + held @ d["D"].T - d["top"], bowl - d["bowl"]], -1)
        ball = ((x[-1] - d["centre"]) ** 2).sum(keepdims=True)
        return along, np.concatenate([d["E"] @ x[-1] - d["ends"], ball - d["ball"]])

    def batch(self, problem: Linear) -> Batch:
        """The problem with these numbers."""
        data = {name: torch.from_numpy(value) for name, value in self.data.items()}
        return problem.batch(torch.from_numpy(self.x0), **data)


def feasible(seed: int, room: float) -> Draw:
    """Rows that the trajectory of known controls satisfies with room."""
    draw = np.random.default_rng(seed)
    data = {name: draw.normal(size=shape) for name, shape in Linear.shapes.items()}
    for name in ("top", "bowl", "ends", "ball"):
        data[name] = np.zeros(Linear.shapes[name])
    found = Draw(draw.normal(size=NX), data, 0.8 * draw.uniform(-1, 1, size=(N, NU)))
    along, ends = found.rows(found.inner)
    data["top"], data["bowl"] = along[:, :2].max(0) + room, along[:, 2:].max(0) + room
    data["ends"], data["ball"] = ends[:2] + room, ends[2:] + room
    return found


def infeasible(seed: int, room: float) -> Draw:
    """The same, but for two rows that contradict each other by 0.1 to 3 in one of three places."""
    found = feasible(seed, room)
    draw = np.random.default_rng([seed, 1])
    gap, d = 10 ** draw.uniform(-1, math.log10(3)), found.data
    place = draw.integers(3)
    if place == 0:  # at the end
        d["E"][1], d["ends"][1] = -d["E"][0], -d["ends"][0] - gap
    elif place == 1:  # along the path
        d["C"][1], d["D"][1], d["top"][1] = -d["C"][0], -d["D"][0], -d["top"][0] - gap
    else:  # a ball at the end that is out of every control's reach
        step, p, reach = np.eye(NX) + d["A"] / N, d["centre"], 0.0
        direction = d["centre"] - found.path(found.inner)[-1]
        p = direction / np.linalg.norm(direction)
        for _ in range(N):
            reach += np.abs(d["B"].T @ p).sum() / N
            p = step.T @ p
        far = p @ found.x0 + reach
        unit = direction / np.linalg.norm(direction)
        d["centre"] += unit * (far + gap + 1 - unit @ d["centre"])
        d["ball"] = np.ones(1)
        d["bowl"] = found.rows(found.inner)[0][:, 2:].max(0) + d["bowl"] + room
    return found


class Least(NamedTuple):
    """The least violation in the documented norm, and how much less it might be at most."""

    norm: float
    gap: float


class Violation:
    """Half the square of the documented norm as a convex function of the controls alone."""

    def __init__(self, draw: Draw):
        self.draw, d = draw, draw.data
        step, size = np.eye(NX) + d["A"] / N, N * NU
        maps = [np.zeros((NX, size))]
        for k in range(N):
            here = np.zeros((NX, size))
            here[:, k * NU : (k + 1) * NU] = d["B"] / N
            maps.append(step @ maps[-1] + here)
        self.maps = np.stack(maps)
        controls = np.eye(size).reshape(N, NU, size)
        self.controls = np.concatenate([controls, controls[-1:]])

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian, where a row counts that is violated."""
        draw, d, u = self.draw, self.draw.data, flat.reshape(N, NU)
        x, (along, ends) = draw.path(u), draw.rows(u)
        # The given initial state cannot be changed: rows without a control do not count there.
        along[0, 2] = 0
        weight, size, W = np.array([1 / N] * N + [1.0]), N * NU, d["W"].T @ d["W"]
        value, gradient, hessian = 0.0, np.zeros(size), 1e-13 * np.eye(size)
        rows = [
            (weight[k], along[k, r], d["C"][r] @ self.maps[k] + d["D"][r] @ self.controls[k], None)
            for k in range(N + 1)
            for r in range(2)
        ]
        for k in range(N + 1):
            by = 2 * (x[k] - d["centre"]) @ W @ self.maps[k]
            rows.append((weight[k], along[k, 2], by, 2 * self.maps[k].T @ W @ self.maps[k]))
        rows += [(1.0, ends[r], d["E"][r] @ self.maps[N], None) for r in range(2)]
        by = 2 * (x[N] - d["centre"]) @ self.maps[N]
        rows.append((1.0, ends[2], by, 2 * self.maps[N].T @ self.maps[N]))
        for factor, row, by, curved in rows:
            if row > 0:
                value += factor * row**2 / 2
                gradient += factor * row * by
                hessian += factor * np.outer(by, by)
                hessian += 0.0 if curved is None else factor * row * curved
        return value, gradient, hessian

    def least(self) -> Least:
        """By Newton's method, bounds kept by an active set; convexity bounds what is left."""
        u, value, gap = self.draw.inner.ravel(), math.inf, math.inf
        for _ in range(100):
            value, gradient, hessian = self(u)
            gap = float(gradient @ u + np.abs(gradient).sum())
            if gap <= 1e-12 * value:
                break
            root = np.linalg.cholesky(hessian + 1e-9 * np.eye(len(u)))
            step = scipy.optimize.lsq_linear(
                root.T, -np.linalg.solve(root, gradient), (-1 - 1e-12 - u, 1 + 1e-12 - u), "bvls"
            ).x
            share = 1.0
            while (
                share > 1e-9 and self(u + share * step)[0] > value + 1e-4 * share * gradient @ step
            ):
                share /= 2
            u = np.clip(u + share * step, -1, 1)
        norm = math.sqrt(2 * value)
        return Least(norm, norm - math.sqrt(max(0.0, 2 * (value - gap))))


problem = Linear()


def check_feasible(seed: int, room: float) -> bool:
    """True: every draw has an interior point."""
    draw = feasible(seed, room)
    solution = solve(draw.batch(problem), solver=Euler(N))
    assert solution.backend == "machine code"
    assert solution.status == "converged", f"{solution.status}: {solution.reason}"
    along, ends = draw.rows(solution.u.numpy())
    assert max(along[:, :2].max(), along[1:].max(), ends.max()) < 1e-7
    x = draw.path(draw.inner)[:-1]
    spent = (((x - draw.data["a"]) ** 2).sum() + (draw.inner**2).sum()) / N
    assert float(solution.cost) <= spent + 1e-6
    return True


def check_infeasible(seed: int, room: float) -> bool:
    """Whether the independent program proved its answer; if so, ours agrees with it."""
    draw = infeasible(seed, room)
    violation = Violation(draw)
    least = violation.least()
    if least.gap >= 3e-7:
        return False
    assert least.norm > 1e-3
    solution = solve(draw.batch(problem), solver=Euler(N))
    assert solution.backend == "machine code"
    # Rarely rounding keeps the search from its tolerance, so that nothing is claimed.
    assert solution.status in ("infeasible", "stalled"), f"{solution.status}: {solution.reason}"
    found = math.sqrt(2 * violation(solution.u.numpy().ravel())[0])
    assert abs(found - least.norm) < 1e-6
    if solution.status == "stalled":
        return True
    told = re.search(r"([0-9.e-]+) in the Euclidean norm", solution.reason)
    assert told is not None and float(told[1]) == pytest.approx(found, rel=1e-5)
    return True


seeds = strategies.integers(0, 2**31 - 1)
rooms = strategies.floats(-3, 0).map(lambda power: 10**power)


@settings(max_examples=5, deadline=None)
@given(seeds, rooms)
def test_what_has_an_interior_point_is_solved(seed: int, room: float) -> None:
    check_feasible(seed, room)


@settings(max_examples=5, deadline=None)
@given(seeds, rooms)
@example(28, 1.0)
def test_what_is_infeasible_has_the_least_violation(seed: int, room: float) -> None:
    assume(check_infeasible(seed, room))


@pytest.mark.slow
@pytest.mark.parametrize("check", [check_feasible, check_infeasible])
def test_fifty_seeds(check: Callable[[int, float], bool]) -> None:
    for seed in range(50):
        assert check(seed, 10.0 ** -(seed % 4))
