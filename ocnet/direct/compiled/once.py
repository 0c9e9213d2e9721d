"""A problem's functions written down once for all stages of a step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...problem import Problem
from .expression import Graph
from .symbol import entries, Symbol


class Once:
    """A function of time, state and control that is called only once, with symbols for a point.

    At all other points it has the same formulas, with other expressions in place of the symbols.

    Arguments:
        function: The function; its further arguments are the same at each call.
        name: The prefix for the names of its own symbols.
        graph: The expressions.
    """

    function: Callable[..., Tensor]
    name: str
    graph: Graph

    def __init__(self, function: Callable[..., Tensor], name: str, graph: Graph):
        self.function, self.name, self.graph = function, name, graph
        self.inputs: list[int] = []
        self.ids: Tensor | None = None
        self.dtype: torch.dtype = torch.float64

    def __call__(self, t: Tensor, x: Tensor, u: Tensor, *rest: Any) -> Tensor:
        if self.ids is None:
            self.ids = self.written((t, x, u), rest)
        given = [entries(self.graph, value).reshape(-1).tolist() for value in (t, x, u)]
        places = dict(zip(self.inputs, [node for nodes in given for node in nodes], strict=True))
        found = self.graph.replaced(self.ids.reshape(-1).tolist(), places)
        ids = torch.tensor(found, dtype=torch.int64).reshape(self.ids.shape)
        return Symbol(ids, self.graph, self.dtype)

    def written(self, point: tuple[Tensor, ...], rest: tuple[Any, ...]) -> Tensor:
        """The formulas at a point made of symbols that are used for nothing else."""
        symbols = []
        for kind, value in zip("txu", point, strict=True):
            codes = [f"{self.name} {kind}[{i}]" for i in range(value.numel())]
            ids = torch.tensor([self.graph.input(code) for code in codes], dtype=torch.int64)
            self.inputs += ids.tolist()
            symbols.append(Symbol(ids.reshape(value.shape), self.graph, point[1].dtype))
        result = self.function(*symbols, *rest)
        self.dtype = result.dtype
        return entries(self.graph, result)


class WrittenOnce:
    """A problem as a step sees it, whose dynamics and stage cost are each called once.

    Arguments:
        problem: The problem.
        graph: The expressions.
    """

    def __init__(self, problem: Problem, graph: Graph):
        self.problem = problem
        self.dynamics: Once = Once(problem.dynamics, "dynamics", graph)
        self.stage_cost: Once = Once(problem.stage_cost, "stage_cost", graph)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.problem, name)
