"""What a problem's dynamics and path constraint read, from their formulas."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..transcription.structure import Reads
from ..transcription.transcription import Transcription
from .expression import Graph
from .symbol import entries
from .trace import check_floating, given_values, MOST_PARAMETERS, symbol, TIME


@torch.no_grad()
def reads_of(nlp: Transcription) -> Reads | None:
    """What a step reads, whatever the values are; None if there are no formulas.

    A formula reads everything that occurs in it, even where a comparison leaves it out. For a step
    of several stages this may be more than the step's own formula reads, but never less.
    """
    points, graph, dtype = nlp.points, Graph(), nlp.x0.dtype
    inputs = [*(f"w[{i}]" for i in range(nlp.nz + nlp.nu)), TIME]
    given = {name: value.shape[1:] for name, value in given_values(nlp).items()}
    if sum(shape.numel() for shape in given.values()) > MOST_PARAMETERS:
        return None
    try:
        check_floating(nlp)
        w = symbol(graph, inputs, [len(inputs)], dtype)
        z, u, time = w[: nlp.nz], w[nlp.nz : -1], w[-1]
        own: dict[str, Tensor] = {
            name.removeprefix("own "): symbol(
                graph, [f"{name}[{i}]" for i in range(shape.numel())], shape, dtype
            )
            for name, shape in given.items()
        }
        own.pop("target", None)

        def functions(z: Tensor) -> tuple[Tensor, Tensor]:
            problem, (_, t) = points.problem, points.stretched(z, time)
            x = z[: nlp.nx].reshape(tuple(problem.state_shape))
            v = u.reshape(tuple(problem.control_shape or ()))
            return problem.dynamics(t, x, v), problem.path_constraint(t, x, v)

        f, g = (
            occurring(graph, entries(graph, value).reshape(-1).tolist(), inputs)
            for value in points.replaced(functions, z, own)
        )
    # As in `traced`: functions that cannot be written down are judged by their values.
    except Exception:
        return None
    return Reads(of_step(nlp, f.to(nlp.x0.device)), g.to(nlp.x0.device))


def occurring(graph: Graph, nodes: Sequence[int], inputs: Sequence[str]) -> Tensor:
    """Which inputs occur in each expression, shape `(expressions, inputs)`."""
    numbers = [graph.input(code) for code in inputs]
    found = [set(graph.needed([node])) for node in nodes]
    rows = [[number in needed for number in numbers] for needed in found]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(nodes), len(inputs))


def of_step(nlp: Transcription, f: Tensor) -> Tensor:
    """What the next state reads, from what the slope reads: each `(nx, d + 1)`."""
    nx, tableau, slopes = nlp.nx, nlp.points.tableau, []
    if nlp.points.free_time:
        # The width of a step stretches every slope.
        f[:, nx] |= f.any(1)
    x = torch.zeros_like(f)
    for row in (*tableau.a, tableau.b):
        x = torch.zeros_like(f)
        x[:, :nx] = torch.eye(nx, dtype=torch.bool)
        for weight, of_slope in zip(row, slopes, strict=True):
            x |= of_slope if weight != 0 else torch.zeros_like(of_slope)
        through = (f[:, :nx, None] & x).any(1)
        through[:, nx:] |= f[:, nx:]
        slopes.append(through)
    return x
