"""What `ocnet compare` compares: a control that it trains, or the best one of a run."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..catalogue import construct, parse_setting, problem_class, trainable
from ..control import Control
from ..learning import History
from ..learning.history import Record
from ..problem import Problem, Sample, SolvedProblem
from ..run import Job, load_checkpoint, RunFolder
from ..supervised import default_steps
from .fit import Fit, held_out, trained
from .networks import tell_changes
from .options import default_dtype, problem_from, wrong_problem


DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Subject:
    """A problem with a control that was trained.

    Attributes:
        problem, control: The problem, and its trained control.
        sample: What to compare on: the test data, or fresh samples.
        n: The steps that the control was trained at.
        coarse_costs: The optimal costs at a quarter and at half as many steps, if they are known.
        histories: What training measured, by name.
    """

    problem: Problem
    control: Control
    sample: Sample
    n: int
    coarse_costs: tuple[float, ...]
    histories: dict[str, History]


def subject_of_run(path: Path, seed: int, device: torch.device) -> Subject:
    """The best model of a run, or the last one if the run has no validation.

    Arguments:
        path: The folder of the run.
        seed: The seed of fresh samples.
        device: Where to compute.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it yet.
        CheckpointError: If the checkpoint is of another architecture.
    """
    folder = RunFolder(path)
    # One process compares, and nothing is recorded or compiled.
    config = folder.config().changed(
        device=str(device), compile=False, sharded=False, capture=False, sync_norms=False
    )
    job = Job(config)
    state = load_checkpoint(folder.best) if folder.best.exists() else folder.latest()
    if state is None:
        raise FileNotFoundError(f"{path} has no checkpoint yet: `ocnet resume {path}` first.")
    job.load_model(state.get("job", state))
    tell_changes(path, state, job)
    asked = config.discretisation.steps
    n = default_steps(job.problem) if asked is None else asked
    sample = held_out(job.problem, seed, device)
    return Subject(job.problem, job.control, sample, n, (), {"the run": history(folder.metrics)})


def history(path: Path) -> History:
    """What a run measured, from its table."""
    if not path.is_file():
        return History([])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return History([Record(int(r["step"]), float(r["cost"]), float(r["grad_norm"])) for r in rows])


def subject_of_spec(
    spec: str,
    settings: Sequence[str],
    dtype: str,
    steps: int | None,
    fit: Callable[[Problem, torch.Generator], Fit],
    seed: int,
    device: torch.device,
    check: Callable[[int], None],
) -> Subject:
    """A control trained on the problem of a SPEC; a user's file is run once.

    Arguments:
        spec, settings: The SPEC of the problem, and the arguments of its constructor.
        dtype: "float32", "float64", or "auto": double precision where the optimum is known.
        steps: The steps; the problem's own number if None.
        fit: How to train.
        seed: The seed of everything random.
        device: Where to compute.
        check: Called with the steps before training, so that errors come early.
    """
    with default_dtype(torch.float32 if dtype == "auto" else DTYPES[dtype]):
        kind = class_from(spec)
    known = "float64" if issubclass(kind, SolvedProblem) else "float32"
    with default_dtype(DTYPES[known if dtype == "auto" else dtype]):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        make = lambda spec, given: trainable(spec, construct(kind, dict(map(parse_setting, given))))
        problem = problem_from(spec, list(settings), make).to(device)
        n = default_steps(problem) if steps is None else steps
        check(n)
        how = fit(problem, generator)
        control, coarse_costs = trained(how, n)
        sample = held_out(problem, seed, device)
    return Subject(problem, control, sample, n, coarse_costs, how.histories)


def class_from(spec: str) -> type[Problem]:
    """The class that the user named, or a usage error in one line."""
    try:
        return problem_class(spec)
    except (ValueError, TypeError) as error:
        raise wrong_problem(spec, None, error) from None
