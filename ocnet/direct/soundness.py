"""What an answer says about the user's functions: wrong or infinite derivatives, and kinks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..checks import Evaluation, Finding, kinks, mismatches, place, Point, written
from ..checks.finding import FUNCTIONS
from .iterate import Iterate
from .method import Code, Outcome
from .transcription import Transcription


NODES = 3
"""At how many steps derivatives are compared."""

MOST_STEPS = 24
"""At how many steps kinks are looked for."""


def doubted(
    nlp: Transcription, outcome: Outcome, words: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The words for how instances ended, with what is wrong with the problem's functions.

    Where a derivative does not fit its function, "converged" becomes "inconsistent". Where an
    instance did not converge, a kink or an infinite derivative on its path is named.

    Arguments:
        nlp: The discretised problem.
        outcome: Where it ended.
        words: Status and reason of each instance.
    """
    valid = [i for i, (status, _) in enumerate(words) if status != "invalid"]
    good = [i for i in valid if words[i][0] == "converged"]
    # Machine code differentiates what it computes: only steps can have useless derivatives.
    if valid and (nlp.kernel is None or nlp.kernel.has_steps):
        found = wrong_derivatives(nlp, outcome.it, (good or valid)[0])
        if found:
            return [
                ("inconsistent" if i in good else word[0], with_finding(word[1], found))
                if i in valid
                else word
                for i, word in enumerate(words)
            ]
    codes = outcome.code.tolist()
    bad = [i for i in valid if i not in good and codes[i] != Code.INFEASIBLE.value]
    for i in bad[:1]:
        found = kinks(list(evaluations(nlp, outcome.it, i)))
        words = [
            (status, with_finding(reason, found) if k in bad else reason)
            for k, (status, reason) in enumerate(words)
        ]
    return words


def with_finding(reason: str, found: list[Finding]) -> str:
    """A reason and the first finding."""
    return f"{reason}; {str(found[0]).removesuffix('.')}" if found else reason


def wrong_derivatives(nlp: Transcription, it: Iterate, i: int) -> list[Finding]:
    """The functions whose derivatives do not fit, at a few steps of an instance and at its end."""
    part = nlp.take(torch.tensor([i], device=nlp.x0.device))
    ks = sorted({k * (nlp.n - 1) // (NODES - 1) for k in range(NODES)})
    z, u, s = it.z[ks, i].detach(), it.u[ks, i].detach(), nlp.s[ks]
    end = torch.cat([it.z[-1:, i], it.u[-1:, i]], -1).detach()
    if not bool(z.isfinite().all() & u.isfinite().all() & end.isfinite().all()):
        return []

    def stages(w: Tensor) -> Tensor:
        F, c, g = part.stages_of_problem(
            w[..., None, : nlp.nz], w[..., None, nlp.nz :], s[: w.shape[-2]]
        )
        return torch.cat([F, c, g], -1).squeeze(-2)

    def ends(w: Tensor) -> Tensor:
        values = part.ends_of_problem(w[..., None, : nlp.nz], w[..., None, nlp.nz :])
        return torch.cat(values, -1).squeeze(-2)

    found = named(nlp, stages, torch.cat([z, u], -1), ks, along=True)
    # The cost of a step reads the states that the dynamics lead to within it.
    if any(finding.function.startswith("dynamics") for finding in found):
        found = [finding for finding in found if finding.function.startswith("dynamics")]
    return found + named(nlp, ends, end, [nlp.n], along=False)


def named(
    nlp: Transcription, function: Callable[[Tensor], Tensor], w: Tensor, ks: list[int], along: bool
) -> list[Finding]:
    """The findings that the mismatches of a step's or the end's functions amount to.

    Arguments:
        nlp: The discretised problem.
        function: From the variables of points to all values.
        w: The points.
        ks: The numbers of their steps.
        along: Whether they lie along the path, not at its end.
    """
    reach = w.abs().amax(0).clamp(min=1.0)
    if nlp.points.free_time:
        # A horizon of no length would divide by zero.
        reach[nlp.nx] = 0.3 * w[:, nlp.nx].abs().amin()
    try:
        found = mismatches(function, w, reach)
    except (IndexError, RuntimeError, ValueError):
        # A table may end, a matrix may not be definite, so far from the answer.
        found = mismatches(function, w, 1e-3 * reach)
    kinds = (
        ("dynamics", nlp.nx), ("stage_cost", 1), ("path_constraint", nlp.along.rows),
    ) if along else (
        ("terminal_cost", 1), ("terminal_constraint", nlp.n_psi),
        ("terminal_inequality", nlp.end.rows - len(nlp.points.last)),
    )  # fmt: skip
    rows = [
        (name, f"{name}[{k}]" if size > 1 or name == "dynamics" else name)
        for name, size in kinds
        for k in range(size)
    ]
    # Of the path constraint, some rows hold at the end too.
    several = nlp.along.rows > 1
    rows += [] if along else [
        ("path_constraint", f"path_constraint[{k}]" if several else "path_constraint")
        for k in nlp.points.last
    ]  # fmt: skip
    findings = []
    for row, coordinate, node, derivative, quotient in found:
        name, shown = rows[row]
        time = float(nlp.s[ks[node]])
        variable = "the variables" if coordinate is None else variable_name(nlp, coordinate)
        change = f"its values change at the rate {quotient:.4g}"
        if quotient == float("inf"):
            change = "its values jump"
        message = (
            f"has the derivative {derivative:.4g} in {variable} at t={time:.4g}, but {change}: "
            "use torch's smooth functions, without detach, item, numpy, long or round."
        )
        findings.append(Finding(shown, place(nlp.problem, name), message))
    return findings


def variable_name(nlp: Transcription, coordinate: int) -> str:
    """The name of an entry of `(z, u)`."""
    if coordinate < nlp.nx:
        return f"x[{coordinate}]"
    if coordinate >= nlp.nz:
        return f"u[{coordinate - nlp.nz}]"
    names = ["the final time"] if nlp.points.free_time else []
    for name, value in nlp.points.static.items():
        names += [name] * value.numel()
    return names[coordinate - nlp.nx]


def evaluations(nlp: Transcription, it: Iterate, i: int) -> list[Evaluation]:
    """The problem's functions along the path of one instance, in true time."""
    problem, points = nlp.problem, nlp.points
    own = {**nlp.shared, **{name: value[i] for name, value in nlp.own.items()}}
    target = None if nlp.target is None else nlp.target[i][None]
    rate = float(it.z[0, i, nlp.nx]) if points.free_time else 1.0
    found = []
    every = -(-nlp.n // MOST_STEPS)
    for name in written(problem):
        ends = name.startswith("terminal")
        for k in [nlp.n] if ends else [*range(0, nlp.n, every), nlp.n]:
            z = it.z[k, i].detach()
            u = it.u[min(k, nlp.n - 1), i].detach()
            if not bool(z.isfinite().all() & u.isfinite().all()):
                continue
            time = float(problem.t0) + rate * (float(nlp.s[k]) - float(problem.t0))
            value = partial(value_at, nlp, name, z, u, time, target, own)
            found.append(Evaluation(name, place(problem, name), time, value))
    return found


def value_at(
    nlp: Transcription, name: str, z: Tensor, u: Tensor, time: float, target: Tensor | None,
    own: dict[str, Tensor],
) -> Tensor:  # fmt: skip
    """The value of a function at one point, with a graph.

    Arguments:
        nlp: The discretised problem.
        name: Which function.
        z, u: The extended state and the control, vectors.
        time: The time.
        target: What the costs compare with, `(1, ...)`, or None.
        own: The instance's own parameters.
    """
    problem = nlp.problem
    u = u.requires_grad_().reshape(1, *(problem.control_shape or ()))

    def value(z: Tensor) -> Tensor:
        x = z[: nlp.nx].reshape(1, *problem.state_shape)
        return FUNCTIONS[name](problem, Point(z.new_tensor(time), x, u, target))

    return nlp.points.replaced(value, z.requires_grad_(), own)
