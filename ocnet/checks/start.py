"""What a problem starts from: a sample, its initial state, and parameters that move it."""

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.func import functional_call

from ..problem import Problem, Sample
from .finding import Finding, place, ProblemError


class Start(nn.Module):
    """Initial state, horizon and bounds of a problem as functions of its parameters.

    Arguments:
        problem: The problem whose `embed` gives the initial state.
        drawn: Whether the initial state is one that the problem itself draws.
    """

    problem: Problem
    drawn: bool

    def __init__(self, problem: Problem, drawn: bool):
        super().__init__()
        self.problem, self.drawn = problem, drawn

    def forward(self) -> dict[str, list[Tensor]]:
        """The initial state, the horizon and the bounds, by the name of what gives them."""
        problem, found = self.problem, {}
        if self.drawn:
            sample = sampled(problem)
            found = {"sample": [sample.x0], "embed": [problem.embed(sample.x0)]}
        given = {
            "t0": [problem.t0],
            "t1": [problem.t1],
            "control_bounds": problem.control_bounds or (),
            "final_time_bounds": problem.final_time_bounds or (),
            "static_parameters": [v for pair in problem.static_parameters.values() for v in pair],
        }
        return found | {k: [torch.as_tensor(v) for v in part] for k, part in given.items()}


def sampled(problem: Problem) -> Sample:
    """One sample of a problem, always the same.

    Raises:
        ProblemError: If `sample` returns anything but a sample.
    """
    sample = problem.sample(1, torch.Generator().manual_seed(0))
    message = "must return Sample(x0) or Sample(x0, target)"
    if not isinstance(sample, tuple) or len(sample) != 2:
        message = f"{message}, but got {type(sample).__name__}."
    elif not isinstance(sample[0], Tensor):
        message = f"{message} with a tensor x0, but got {type(sample[0]).__name__}."
    elif len(sample[0]) != 1:
        message = f"{message} of batch_size rows, but got {len(sample[0])} rows in place of 1."
    else:
        return Sample(*sample)
    raise ProblemError(str(Finding("sample", place(problem, "sample"), message)))


@torch.no_grad()
def moving_the_start(
    problem: Problem, names: Sequence[str], *, drawn: bool = True
) -> list[Finding]:
    """The members that are evaluated only once, but read parameters that `solve` changes.

    Initial state, horizon and bounds are read before the first iteration.

    Arguments:
        problem: The problem whose `embed` gives the initial state.
        names: The names of parameters or buffers that `solve` changes.
        drawn: Whether the initial state is one that the problem itself draws.
    """
    if not names:
        return []
    module, found = Start(problem, drawn), []
    values = dict((*problem.named_parameters(), *problem.named_buffers()))
    before = module()
    for name in names:
        value = values[name]
        after = functional_call(module, {f"problem.{name}": value + 0.1 * (1 + value.abs())}, ())
        for reader in before:
            if not agree(before[reader], after[reader]):
                message = (
                    f"reads {name!r}, which is optimised or continued in, but it is evaluated only "
                    "once: let such a parameter act in dynamics, costs and constraints only."
                )
                found.append(Finding(reader, place(problem, reader), message))
                break
    return found


def agree(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether two lists hold the same tensors."""
    return len(a) == len(b) and all(map(torch.equal, a, b))
