"""How `ocnet compare SPEC` trains a control before it compares it."""

from dataclasses import dataclass, field

import torch
import typer

from ..control import Control
from ..evaluation import evaluate
from ..learning import Batches, History, train, training
from ..learning.history import Record
from ..problem import Problem, Sample
from ..registry import named_optimizer
from ..solver import Backprop, Costate, Euler
from ..supervised import samples


MOST_STEPS = 30
"""Steps of L-BFGS, of up to 20 iterations each."""

OPTIMAL = 1e-4
"""An optimum has a gradient of at most this share of the first one."""


def is_classical(problem: Problem) -> bool:
    """Whether every sample is the same, so that there is one cost to minimise exactly."""
    if samples(problem, "train") is not None:
        return False
    one, other = (problem.sample(1, torch.Generator().manual_seed(s)).x0 for s in (0, 1))
    return torch.equal(one, other)


def held_out(problem: Problem, seed: int, device: torch.device) -> Sample:
    """What to compare on: the test data, or fresh samples."""
    fresh = torch.Generator().manual_seed(seed + 1)
    sample = samples(problem, "test")
    sample = sample or problem.sample(1 if is_classical(problem) else 256, fresh)
    target = sample.target
    return Sample(sample.x0.to(device), None if target is None else target.to(device))


@dataclass
class Fit:
    """How a control is trained for a comparison.

    Attributes:
        problem: What is trained.
        iterations: Training steps; a default that suits the kind of problem if None.
        lr: The learning rate of Adam.
        batch_size: The samples of a step.
        generator: The source of randomness.
        device: Where to compute.
        histories: What training measured so far.
    """

    problem: Problem
    iterations: int | None
    lr: float
    batch_size: int
    generator: torch.Generator
    device: torch.device
    histories: dict[str, History] = field(default_factory=dict)

    def run(self, control: Control, n: int) -> History:
        """Trains a control under `n` Euler steps: L-BFGS on one cost, Adam on many."""
        if is_classical(self.problem):
            return self.minimise(control, n)
        optimizer = named_optimizer("adam", self.problem, control, self.lr)
        typer.echo(f"training {n} steps with Adam", err=True)
        history = train(
            self.problem,
            control,
            Euler(n),
            optimizer,
            n_steps=self.iterations or self.epochs(30),
            batch_size=self.batch_size,
            generator=self.generator,
        )
        self.histories[f"{n} steps"] = history
        return history

    def minimise(self, control: Control, n: int) -> History:
        """Minimises the only cost, until a step no longer changes anything."""
        optimizer = named_optimizer("lbfgs", self.problem, control)
        is_fast = has_costates(self.problem, control, n, self.device)
        solver = Euler(n, gradient=Costate()) if is_fast else Euler(n)
        how = "the costate recursion" if is_fast else "backpropagation"
        typer.echo(f"training {n} steps with LBFGS, gradients by {how}", err=True)
        batches = Batches(self.problem, 1, self.generator)
        records = list[Record]()
        for record in training(self.problem, control, solver, optimizer, batches):
            stands = bool(records) and record[1:3] == records[-1][1:3]
            records.append(record)
            if len(records) == (self.iterations or MOST_STEPS) or (stands and not self.iterations):
                break
        history = self.histories[f"{n} steps"] = History(records)
        return history

    def epochs(self, count: int) -> int:
        """The number of training steps in `count` epochs; 1,000 if there is no data set."""
        data = samples(self.problem, "train")
        return 1000 if data is None else max(1, count * len(data.x0) // self.batch_size)


def has_costates(problem: Problem, control: Control, n: int, device: torch.device) -> bool:
    """Whether the costate recursion gives the gradient of backpropagation, which takes longer."""
    x0, target = problem.sample(1, torch.Generator().manual_seed(0))
    sample = Sample(x0.to(device), None if target is None else target.to(device))
    parameters = [p for p in (*control.parameters(), *problem.parameters()) if p.requires_grad]
    found = []
    for gradient in (Backprop(), Costate()):
        try:
            cost, _ = evaluate(problem, control, Euler(n, gradient=gradient), sample)
            slopes = torch.autograd.grad(cost.mean(), parameters, allow_unused=True)
        except (ValueError, RuntimeError):
            # Training reports what is wrong with the problem itself.
            return False
        found.append([torch.zeros(1) if slope is None else slope.cpu() for slope in slopes])
    return all(map(torch.allclose, *found))


def trained(fit: Fit, n: int) -> tuple[Control, tuple[float, ...]]:
    """A control trained at `n / 4`, `n / 2` and `n` Euler steps, and the first two optimal costs.

    There are fewer depths if `n` is not a multiple of 4. The costs count only where training
    reaches an optimum at each depth, as it can on classical problems.
    """
    depths = [n // k for k in (4, 2, 1) if n % k == 0]
    control = fit.problem.initial_control(depths[0], fit.generator).to(fit.device)
    costs, found = list[float](), list[History]()
    for depth in depths:
        if found:
            control = control.refine()
        found.append(fit.run(control, depth))
        costs.append(final_cost(fit, control, depth))
    if not is_classical(fit.problem):
        return control, ()
    left = max(history.records[-1].grad_norm for history in found)
    first = found[0].records[0].grad_norm
    if not left <= OPTIMAL * first:
        typer.echo(
            f"training stopped before an optimum (gradient {left:.1e}, at first {first:.1e}): "
            "no estimate of the continuous optimum",
            err=True,
        )
        return control, ()
    return control, tuple(costs[:-1])


@torch.no_grad()
def final_cost(fit: Fit, control: Control, n: int) -> float:
    """The mean cost of a trained control."""
    sample = held_out(fit.problem, fit.generator.initial_seed(), fit.device)
    cost, _ = evaluate(fit.problem, control, Euler(n), sample)
    return cost.mean().item()
