"""The dynamics and their linearisation, recorded at one step and split by what they depend on."""

import functools
import itertools
from collections.abc import Callable, Hashable, Sequence
from types import BuiltinFunctionType, CodeType
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from ..problem import Problem
from ..types import State, Time
from .base import vector_field
from .first_look import first_look
from .gradient import Costate


class LinearisedDynamics(NamedTuple):
    """`f(t, x, u)` and its vector-Jacobian products, as functions that share their work.

    Between two projections, every step takes the same tensor operations. Those that use only time
    and control need no recursion and are done for all steps at once. Those that depend on the state
    are done in the forward pass, and their results are kept for the backward pass.

    Attributes:
        control: `(t, u) -> values`, all that depends on neither state nor costate.
        state: `(x, *values) -> (f, residuals)`.
        costate: `(p, x, *values, *residuals) -> f_x' p`.
        gradient: `(p, x, *values, *residuals) -> (f_u' p, *(f_theta' p))`.
        parameters: The parameters theta that the dynamics use and that require a gradient.
        key: Equal for two recordings whose last three functions are the same.
    """

    control: Callable[[Time, Tensor], tuple[Tensor, ...]]
    state: Callable[..., tuple[State, tuple[Tensor, ...]]]
    costate: Callable[..., State]
    gradient: Callable[..., tuple[Tensor, ...]]
    parameters: tuple[Tensor, ...]
    key: Hashable


def linearise(problem: Problem, t: Time, x: State, u: Tensor) -> LinearisedDynamics:
    """Records the dynamics at one step; the recording is valid for every step with the same shapes.

    Raises:
        ValueError: If the dynamics draw random numbers, change a buffer, look at values in
            Python, or use a tensor with a gradient that is not a parameter of the problem.
    """
    dynamics = Dynamics(problem)
    parameters = [z for z in dynamics.parameters() if z.requires_grad]
    position = {id(z): i for i, z in enumerate(parameters)}
    # A parameter may belong to several modules, and a module may have several names. Such a module
    # is named only once, because `functional_call` would not put its own parameters back.
    names = {
        f"{prefix}.{name}": id(z)
        for prefix, module in dynamics.named_modules()
        for name, z in module.named_parameters(recurse=False)
    }

    def step(
        t: Tensor, p: Tensor, x: Tensor, u: Tensor, *theta: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        def f(x: Tensor, u: Tensor, *theta: Tensor) -> Tensor:
            named = {k: theta[position[i]] for k, i in names.items() if i in position}
            return functional_call(dynamics, named, (t, x, u), tie_weights=False)

        value, pull_back, *_ = torch.func.vjp(f, x, u, *theta)
        return value, pull_back(p)

    # `functionalize` leaves no operation that writes in place, and reveals every number that is
    # read from a tensor. The tensors are fresh, because a tensor is known by its identity, and the
    # dynamics may use the caller's tensor for something else.
    t, x, u, p = (fresh(z) for z in (t, x, u, x))
    theta = [z.detach() for z in parameters]
    with OperationRecorder() as recorder:
        inputs = {"t": (t, CONTROL), "u": (u, CONTROL), "x": (x, STATE), "p": (p, COSTATE)}
        for name, (z, phase) in inputs.items():
            recorder.name(z, phase, name)
        try:
            f, products = torch.func.functionalize(step)(t, p, x, u, *theta)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"gradient=Costate() cannot record the dynamics: {reason}") from error
    return recorder.split(f, products, parameters)


class Dynamics(nn.Module):
    """The dynamics as the function of a module's parameters."""

    def __init__(self, problem: Problem):
        super().__init__()
        self.problem = problem

    def forward(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        with first_look(self.problem, [t], [x, u], Costate()):
            return vector_field(self.problem, t, x, u, x.shape)


def fresh(z: Tensor) -> Tensor:
    """A contiguous copy without a gradient."""
    return z.detach().clone(memory_format=torch.contiguous_format)


class RecordedOperation(NamedTuple):
    """One tensor operation of a recording, as a line of Python."""

    line: str
    phase: int
    needs: frozenset[str]
    makes: tuple[str, ...]


CONSTANT, CONTROL, STATE, COSTATE = range(4)
"""What a variable waits for: nothing, time and control alone, the state, or the costate."""


class OperationRecorder(TorchDispatchMode):
    """Writes down each tensor operation that depends on `t`, `u`, `x` or `p`, under its phase.

    Everything else is a constant of the recording: a parameter enters as itself. The functions of
    state and costate take the tensors among the constants as arguments, so that the same functions
    serve every recording with the same operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phases: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.constants: dict[str, Any] = {}
        self.derived: set[int] = set()
        self.operations: list[RecordedOperation] = []
        # An identity is one tensor's only as long as that tensor lives.
        self.alive: list[Any] = []

    def name(self, z: Tensor, phase: int, name: str | None = None) -> str:
        """The variable that stands for a tensor from now on."""
        name = name or f"z{len(self.phases)}"
        self.names[id(z)] = name
        self.phases[name] = phase
        self.alive.append(z)
        return name

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        check_operation(func, args)
        needs: set[str] = set()
        written = [self.written(arg, needs) for arg in args]
        written += [f"{key}={self.written(arg, needs)}" for key, arg in (kwargs or {}).items()]
        result = func(*args, **(kwargs or {}))
        results = [result] if isinstance(result, Tensor) else result
        phase = max((self.phases[name] for name in needs), default=CONSTANT)
        if phase == CONSTANT:
            self.derived.update(id(z) for z in results)
            self.alive.append(results)
            return result
        makes = [self.name(z, phase) if isinstance(z, Tensor) else "_" for z in results]
        left = makes[0] if isinstance(result, Tensor) else f"[{', '.join(makes)}]"
        line = f"{left} = {self.written(fastest(func, args, kwargs), needs)}({', '.join(written)})"
        self.operations.append(RecordedOperation(line, phase, frozenset(needs), tuple(makes)))
        return result

    def written(self, value: Any, needs: set[str]) -> str:
        """An argument as Python writes it; the variables in it are added to `needs`."""
        if isinstance(value, Tensor) and id(value) in self.names:
            needs.add(self.names[id(value)])
            return self.names[id(value)]
        if isinstance(value, Tensor) and value.requires_grad and id(value) not in self.derived:
            raise ValueError(
                "gradient=Costate() needs dynamics whose parameters are those of the problem, read "
                f"from it, but got another tensor of shape {tuple(value.shape)} with a gradient."
            )
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(self.written(item, needs) for item in value)}]"
        if value is None or type(value) in (bool, int):
            return repr(value)
        constant = f"c{len(self.constants)}"
        self.constants[constant] = value
        if isinstance(value, Tensor):
            needs.add(self.name(value, CONSTANT, constant))
        return constant

    def split(
        self, f: Tensor, products: Sequence[Tensor], parameters: Sequence[Tensor]
    ) -> LinearisedDynamics:
        """The recording as one function for each phase, with only the operations that are needed.

        Arguments:
            f: The dynamics.
            products: `f_x' p`, which the recursion needs, and `f_u' p` and those of the parameters,
                which can wait until all costates are known.
            parameters: All theta; the dynamics use those whose product depends on `p`.
        """
        used = [id(z) in self.names for z in products[2:]]
        products = [*products[:2], *itertools.compress(products[2:], used)]
        f_name, x_name, *names = (self.written(z, set()) for z in (f, *products))
        recursion, rest = self.of_use(f_name, x_name), self.of_use(*names)
        control = [op for op in self.operations if op.phase == CONTROL and op in recursion + rest]
        state = [op for op in recursion if op.phase == STATE]
        costate = [op for op in recursion if op.phase == COSTATE]
        gradient = [op for op in rest if op.phase >= STATE and op not in state]
        read = {f_name, x_name, *names}.union(*(op.needs for op in state + costate + gradient))
        values = [name for name in self.phases if self.phases[name] <= CONTROL and name in read]
        read = {x_name, *names}.union(*(op.needs for op in costate + gradient))
        residuals = [name for op in state for name in op.makes if name in read]

        known = ["p", "x", *values, *residuals]
        sources = (
            source(["t", "u"], control, listed(values)),
            source(["x", *values], state, f"{f_name}, {listed(residuals)}"),
            source(known, costate, x_name),
            source(known, gradient, listed(names)),
        )
        others = {c: value for c, value in self.constants.items() if not isinstance(value, Tensor)}
        # Numbers are compared as written, because -0.0 equals 0.0, and NaN equals nothing.
        written = (value if callable(value) else repr(value) for value in others.values())
        return LinearisedDynamics(
            defined(sources[0], self.constants),
            *(defined(text, others) for text in sources[1:]),
            parameters=tuple(itertools.compress(parameters, used)),
            key=(*sources[1:], *written),
        )

    def of_use(self, *outputs: str) -> list[RecordedOperation]:
        """The operations that the outputs depend on."""
        needed, found = set(outputs), []
        for operation in reversed(self.operations):
            if needed.intersection(operation.makes):
                needed |= operation.needs
                found.append(operation)
        return found[::-1]


def source(inputs: list[str], body: list[RecordedOperation], result: str) -> str:
    """The source of a Python function. (Interpreting operations of microseconds is too slow.)"""
    lines = [f"def step({', '.join(inputs)}):", *(op.line for op in body), f"return {result}"]
    return "\n    ".join(lines)


def defined(text: str, constants: dict[str, Any]) -> Callable[..., Any]:
    """The function that a source defines."""
    namespace = dict(constants)
    exec(code(text), namespace)
    return namespace["step"]


@functools.lru_cache(maxsize=256)
def code(text: str) -> CodeType:
    """The code of a source; cached, because it is usually the same as in the solve before."""
    return compile(text, "<recording>", "exec")


def listed(names: list[str]) -> str:
    """A tuple of variables, as Python writes it."""
    return f"({', '.join(names)}{',' if names else ''})"


def fastest(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
    """The same operation under `torch`, faster to call, if it takes the same arguments."""
    builtin = getattr(torch, func._opname, None)
    plain = not kwargs and all(isinstance(arg, (Tensor, int, float)) for arg in args)
    return builtin if plain and isinstance(builtin, BuiltinFunctionType) else func


def check_operation(func: Any, args: tuple[Any, ...]) -> None:
    """Raises a ValueError for an operation that a recording cannot repeat."""
    if torch.Tag.nondeterministic_seeded in func.tags:
        raise ValueError(
            f"gradient=Costate() needs dynamics without random numbers, but got {func}."
        )
    deciding = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags)
    if func is torch.ops.aten.index.Tensor:
        deciding = any(i is not None and i.dtype == torch.bool for i in args[1])
    if deciding:
        raise ValueError(
            "gradient=Costate() needs dynamics that take the same operations at every t, x and u, "
            f"but got {func}, which lets values decide."
        )
