"""What a problem starts from: a sample, its initial state, and parameters that move it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn, Tensor
from torch.func import functional_call

from ..problem import Problem, Sample
from .finding import Finding, place, ProblemError


class Start(nn.Module):
    """What a problem starts from as a function of its parameters.

    Arguments:
        problem: The problem.
    """

    def __init__(self, problem: Problem):
        super().__init__()
        self.problem = problem

    def forward(self) -> dict[str, Any]:
        """The initial state and the horizon, by the name of what gives them."""
        sample = sampled(self.problem)
        bounds = self.problem.control_bounds or ()
        return {
            "sample": sample.x0,
            "embed": self.problem.embed(sample.x0),
            "t0": torch.as_tensor(self.problem.t0),
            "t1": torch.as_tensor(self.problem.t1),
            "control_bounds": [torch.as_tensor(bound) for bound in bounds],
        }


def sampled(problem: Problem) -> Sample:
    """One sample of a problem, always the same.

    Raises:
        ProblemError: If `sample` returns something else than a sample.
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
def moving_the_start(problem: Problem, names: Sequence[str]) -> list[Finding]:
    """What reads, of `names`, parameters that `solve` changes, where it reads them once only.

    Initial state, horizon and bounds are read before the first iteration.

    Arguments:
        problem: The problem.
        names: Parameters or buffers.
    """
    module, found = Start(problem), []
    values = dict((*problem.named_parameters(), *problem.named_buffers()))
    before = module()
    for name in names:
        value = values[name]
        after = functional_call(module, {f"problem.{name}": value + 0.1 * (1 + value.abs())}, ())
        for reader in ("sample", "embed", "t0", "t1", "control_bounds"):
            if not agree(before[reader], after[reader]):
                message = (
                    f"reads {name!r}, which is optimised or continued in, but it is evaluated only "
                    "once: let such a parameter act in dynamics, costs and constraints only."
                )
                found.append(Finding(reader, place(problem, reader), message))
                break
    return found


def agree(a: Any, b: Any) -> bool:
    """Whether two tensors, or lists of them, are equal."""
    if isinstance(a, list):
        return all(map(agree, a, b))
    return torch.equal(a, b)
