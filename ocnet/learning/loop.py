"""Training of a control: `train`, and `training`, which feeds the caller's own loop."""

import itertools
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch import nn, Tensor
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from .._arguments import (
    check_count,
    check_function,
    check_generator,
    check_kind,
    check_range,
    shown,
)
from ..control import Control
from ..modes import mode
from ..problem import Problem, Sample
from ..solver import Solver
from ..solver.base import acting
from ..supervised import check_sample
from .batches import Batches, endless
from .best import BestModel, validation_sample, validation_steps
from .descent import descent
from .engine import Engine
from .expected import ExpectedCost
from .history import History, Record
from .penalty import Constraints, unconstrained
from .rates import Rates
from .schedule import Schedule


def train(
    problem: Problem,
    control: Control | None,
    solver: Solver,
    optimizer: torch.optim.Optimizer,
    *,
    n_steps: int,
    batch_size: int = 1,
    data: Iterable[Any] | None = None,
    generator: torch.Generator | None = None,
    progress: bool = True,
    constraints: Constraints = "refuse",
    scheduler: LRScheduler | Schedule | None = None,
    clip: float | None = None,
    validation: Any = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    after_step: Callable[[Record], object] | None = None,
) -> History:
    """Minimises the expected cost by gradient steps, and shows the progress.

    A problem or control that is in evaluation mode as a whole is put into training mode meanwhile.
    If only some of its parts are in evaluation mode, these stay there.

    With validation data the model is validated before the first step, every so many steps and
    after the last one. In the end control and problem have the values that did best.

    Arguments:
        problem: What to solve.
        control: The control to train, in place; None if the problem has none, but parameters.
        solver: How to discretise.
        optimizer: Any of torch.optim, L-BFGS included; it holds the parameters to train,
            usually `control.parameters()`, and `problem.parameters()` where there are any.
        n_steps: The number of optimiser steps.
        batch_size: The number of samples of a step: from the problem's data set, in shuffled
            epochs, or drawn if it has none.
        data: Batches to use instead, such as a DataLoader yields: pairs of inputs and targets,
            inputs alone, or dictionaries with "x0" and "target"; they are used again and again.
        generator: Makes the draws reproducible.
        progress: Whether to show a progress bar on a terminal.
        constraints: What to do about constraints, which gradient steps do not keep: "refuse" them,
            "ignore" them, or `Penalty(weight)`, which adds their squared violation to the cost.
        scheduler: One of torch.optim.lr_scheduler for this optimiser, which goes on after each
            step, or a `Schedule`.
        clip: The norm that a longer gradient is scaled to.
        validation: A sample, or batches as in `data`, to validate the model on.
        evaluate_every: The steps between validations; an epoch, or a twentieth of all, if None.
        patience: How many validations in a row may fail to improve before training ends.
        after_step: Called with the record of each step; training ends where it returns True.

    Raises:
        NonFiniteCost: As soon as the cost or its gradient is not finite.
        SolverError: If an adaptive solver breaks down.
        TypeError, ValueError: If the arguments do not fit together, the problem has constraints,
            or the data hold values that are not finite.
        ProblemError: If a function of the problem mixes the samples of a batch (but for batch
            norm, which does so by design), or a member of the problem is misspelt.
    """
    check_count("n_steps", n_steps)
    control = acting(problem, control)
    check_training(problem, control, solver, optimizer)
    check_generator(generator)
    if after_step is not None:
        check_function("after_step", after_step)
    say_untrained(problem, control, optimizer)
    rates = Rates(scheduler, optimizer, validation is not None)
    if data is None:
        batches = Batches(problem, batch_size, generator)
    else:
        batches = endless(data, partial(check_sample, problem))
    steps = training(
        problem, control, solver, optimizer, batches, clip=clip, constraints=constraints
    )
    per_epoch = batches.per_epoch if isinstance(batches, Batches) else None
    every = validation_steps(evaluate_every, per_epoch, n_steps)
    best = None
    if validation is not None:
        sample = validation_sample(problem, validation)
        trained, at_once = unconstrained(problem, constraints), max(batch_size, 100)
        best = BestModel(trained, control, solver, sample, every, patience, at_once)
    elif evaluate_every is not None or patience is not None:
        raise ValueError("evaluate_every and patience need validation=..., data to validate on.")
    at_rest = [part for part in (problem, control) if not part.training]
    with mode(True, *at_rest):
        return followed(steps, n_steps, rates, best, after_step, progress)


def followed(
    steps: Generator[Record],
    n_steps: int,
    rates: Rates,
    best: BestModel | None,
    after_step: Callable[[Record], object] | None,
    progress: bool,
) -> History:
    """Takes the steps of `train`, with what happens between them.

    Arguments:
        steps: The steps.
        n_steps: How many to take at most.
        rates: What schedules the learning rate.
        best: What validates, or None.
        after_step, progress: Those of `train`.
    """
    records: list[Record] = []
    # Two a second at most: a bar must not slow down a step of a millisecond.
    bar = tqdm(total=n_steps, disable=None if progress else True, mininterval=0.5)
    with closing(steps), bar:
        for step in range(n_steps):
            rates.before(step)
            if step == 0 and best is not None:
                best.after(0)
            record = next(steps)
            records.append(record)
            asked = after_step is not None and after_step(record) is True
            last = asked or step + 1 == n_steps
            rates.after(None if best is None else best.after(step + 1, last))
            bar.set_postfix_str(f"cost {record.cost:.4g}", refresh=False)
            bar.update()
            if last or (best is not None and best.is_over):
                break
    if best is None:
        return History(records)
    best.restore()
    return History(records, best.validations, best.best_step)


def training(
    problem: Problem,
    control: Control | None,
    solver: Solver,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Sample],
    *,
    engine: Engine | None = None,
    clip: float | None = None,
    start: int = 0,
    check: bool = True,
    constraints: Constraints = "refuse",
    side_by_side: int | None = None,
) -> Generator[Record]:
    """The training loop itself, one record for each batch.

    A generator: the caller's `for` loop is the place for schedules, averages, logging,
    checkpoints and early stopping. Compiled code is in place until the generator ends or is closed.

    Arguments:
        problem, control, solver, optimizer: What is trained, and how; see `train`.
        batches: The batches, one a step.
        engine: Device, precision, compilation and processes; those of the parameters if None.
        clip: The norm that a longer gradient is scaled to.
        start: The index of the first step.
        check: Whether to look for functions that mix samples before the first step.
        constraints: "refuse", "ignore" or a `Penalty`, for a problem with constraints.
        side_by_side: The number of independent systems, if the problem is several of them side by
            side, whose cost has the shape `(system, batch)`. Each then has its own mean cost, and
            one that diverges does not affect the others: its entry in `Record.costs` shows it.

    Raises: As `train`.
    """
    control = acting(problem, control)
    check_training(problem, control, solver, optimizer)
    if clip is not None:
        check_range("clip", clip, "0 <", "< inf")
    check_count("start", start, least=0)
    if side_by_side is not None:
        check_count("side_by_side", side_by_side)
    if isinstance(batches, Tensor) or not isinstance(batches, Iterable):
        raise TypeError(f"batches must be samples to go through, but got {shown(batches)}.")
    trained = unconstrained(problem, constraints)
    check_trained(problem, control, optimizer)
    if engine is not None:
        check_kind("engine", engine, Engine)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    engine = Engine(parameters[0].device) if engine is None else engine
    samples = map(engine.to_device, map(checked, batches))
    if check:
        begin = list(itertools.islice(samples, 1))
        engine.check(problem, control, begin, mixes=side_by_side is not None)
        samples = itertools.chain(begin, samples)
    with engine.regions(trained, control):
        expected = ExpectedCost(engine, trained, control, solver, optimizer, side_by_side)
        yield from descent(expected, optimizer, samples, clip=clip, start=start)


def check_training(
    problem: Problem, control: Control, solver: Solver, optimizer: torch.optim.Optimizer
) -> None:
    """Raises a TypeError or ValueError unless the arguments are what their names say.

    Arguments: those of `train`.
    """
    for name, value, kind in (
        ("problem", problem, Problem),
        ("control", control, Control),
        ("solver", solver, Solver),
        ("optimizer", optimizer, torch.optim.Optimizer),
    ):
        check_kind(name, value, kind)


def checked(sample: Sample) -> Sample:
    """A batch, which must be a sample; raises a TypeError if it is not."""
    check_kind("Each of batches", sample, Sample)
    return sample


def named_parameters(problem: Problem, control: Control) -> dict[str, nn.Parameter]:
    """All parameters of the problem and the control."""
    return {
        f"{owner}.{name}": p
        for owner, module in (("problem", problem), ("control", control))
        for name, p in module.named_parameters()
    }


def check_trained(problem: Problem, control: Control, optimizer: torch.optim.Optimizer) -> None:
    """Raises a ValueError if the optimiser holds no parameter of the problem or the control."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    named = named_parameters(problem, control)
    if named and not any(id(p) in held for p in named.values()):
        raise ValueError(
            "The optimizer holds no parameter of the control or the problem, so it would train "
            "nothing: make it from control.parameters() and problem.parameters()."
        )


def say_untrained(problem: Problem, control: Control, optimizer: torch.optim.Optimizer) -> None:
    """Warns of parameters that require a gradient, but that the optimiser does not hold.

    Arguments: those of `train`.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    named = named_parameters(problem, control).items()
    missing = [n for n, p in named if p.requires_grad and p.numel() and id(p) not in held]
    if missing and held:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        warnings.warn(
            f"The optimizer does not hold {', '.join(missing[:3])}{more}, which stay as they are: "
            "add them, or let them require no gradient.",
            stacklevel=3,
        )
