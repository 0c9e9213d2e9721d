"""Training as people do it: a scheduler, clipping, validation, early stopping, a run folder.

    python -m examples.train_as_usual

Fits a Neural ODE to 40 noisy points of two interleaved spirals. `train` takes what one adds to a
loop of torch; the model that did best on the validation data is in place at the end. The same
problem, an object, then has a run folder: it is broken off and goes on bit by bit. The picture is
`runs/train_as_usual/history.png`. Expected (some seconds on a CPU):

    stopped after 360 of 1000 steps, best after 120: validation cost 0.562, before 0.708
    a run of 60 steps, in two sittings or in one: the same cost, 0.653
"""

import shutil
from pathlib import Path
from typing import Literal

import torch
from matplotlib.figure import Figure
from torch import nn, Tensor
from torch.nn.functional import cross_entropy

import ocnet
from ocnet.learning import History
from ocnet.run import Config, execute, RunFolder


FOLDER = Path("runs/train_as_usual")


class Spirals(ocnet.SupervisedProblem):
    """`x' = tanh(W(t) x + b(t))` in eight dimensions, whose end tells the spiral."""

    state_shape, control_shape = (8,), (9, 8)

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(2, 8)
        self.head = nn.Linear(8, 2)

    def embed(self, x0: Tensor) -> Tensor:
        return self.embedding(x0)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        W, b = u.split((8, 1))
        return torch.tanh(x @ W + b)

    def terminal_cost(self, x: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        return cross_entropy(self.head(x), target, reduction="none")

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> ocnet.Sample:
        label = torch.randint(2, (batch_size,), generator=generator)
        r = torch.rand(batch_size, generator=generator)
        angle = 7 * r + torch.pi * label
        x = r[:, None] * torch.stack((angle.cos(), angle.sin()), -1)
        return ocnet.Sample(x + 0.03 * torch.randn(x.shape, generator=generator), label)

    def data(self, split: Literal["train", "validation", "test"]) -> ocnet.Sample:
        seed, n = {"train": (1, 40), "validation": (2, 200), "test": (3, 200)}[split]
        return self.sample(n, torch.Generator().manual_seed(seed))


def fitted() -> History:
    """What `train` measured until the validation cost rose."""
    torch.manual_seed(0)
    problem = Spirals()
    control = problem.initial_control(10, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([*control.parameters(), *problem.parameters()], lr=0.03)
    return ocnet.train(
        problem,
        control,
        ocnet.Euler(10),
        optimizer,
        n_steps=1000,
        batch_size=20,
        generator=torch.Generator().manual_seed(0),
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000),
        clip=1.0,
        validation=problem.data("validation"),
        evaluate_every=20,
        patience=12,
        progress=False,
    )


def picture(history: History) -> Figure:
    """The costs of training and validation against the step."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(history.cost, alpha=0.4, label="batches")
    steps, costs = zip(*((v.step, v.measures["cost"]) for v in history.validations), strict=True)
    axes.semilogy(steps, costs, "o-", markersize=3, label="validation")
    axes.axvline(float(history.best_step or 0), color="0.5", label="best model")
    axes.set(xlabel="step", ylabel="cost")
    axes.legend()
    return figure


def run(name: str, iterations: int) -> float:
    """The validation cost of a run of an object, whose folder goes on if it is there."""
    torch.manual_seed(0)
    folder = RunFolder(FOLDER / name)
    config = None if folder.path.exists() else Config.of("", iterations=iterations, batch_size=20)
    result = execute(folder, config, problem=Spirals(), iterations=iterations, progress=False)
    assert result is not None, "there is one process"
    return result["validation"]["cost"]


def main() -> None:
    """Trains, draws, and goes on with a run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    history = fitted()
    costs = {v.step: v.measures["cost"] for v in history.validations}
    best = history.best_step
    assert best is not None, "the costs are finite"
    print(
        f"stopped after {len(history.records)} of 1000 steps, best after {best}: validation cost "
        f"{costs[best]:.3g}, before {costs[0]:.3g}"
    )
    picture(history).savefig(FOLDER / "history.png", dpi=160)
    for name in ("broken", "whole"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    run("broken", 25)
    assert run("broken", 60) == run("whole", 60)
    print(f"a run of 60 steps, in two sittings or in one: the same cost, {run('whole', 60):.3g}")


if __name__ == "__main__":
    main()
