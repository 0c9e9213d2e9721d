"""Members of a problem that nearly have the name of one that ocnet knows: misspelt, so not read."""

import difflib
import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterator

from torch import nn

from .._blame import at_line
from ..problem import Problem, SolvedProblem
from ..supervised import SupervisedProblem
from .finding import code_of, Finding


NEAR = 0.85
"""The `difflib` ratio above which two names count as nearly equal."""

SHORTEST = 6
"""Shorter names, such as `t1`, are close to many others, so they are compared as a whole."""

OTHER_WORDS = {
    "state_bounds": "path_constraint", "state_constraint": "path_constraint",
    "control_constraint": "path_constraint", "mixed_constraint": "path_constraint",
    "path_inequality": "path_constraint", "inequality_constraint": "path_constraint",
    "path_equality": "path_constraint", "equality_constraint": "terminal_constraint",
    "terminal_equality": "terminal_constraint", "final_constraint": "terminal_constraint",
    "boundary_constraint": "terminal_constraint", "terminal_bounds": "terminal_inequality",
    "input_bounds": "control_bounds", "u_bounds": "control_bounds",
    "control_limits": "control_bounds", "input_constraint": "control_bounds",
    "time_bounds": "final_time_bounds", "t1_bounds": "final_time_bounds",
    "final_cost": "terminal_cost", "end_cost": "terminal_cost",
    "lagrangian": "stage_cost", "path_cost": "stage_cost", "mayer": "terminal_cost",
    "parameter_bounds": "static_parameters", "initial_guess": "initial_control",
    "n_steps": "depth of a SupervisedProblem", "steps": "depth of a SupervisedProblem",
    "running_cost": "stage_cost", "observe": "stage_cost, an ObservedStageCost",
    "control_angles": 'control_units, "rad"',
    "t_final": "t1", "tf": "t1", "t_end": "t1", "final_time": "t1", "horizon": "t1",
}  # fmt: skip
"""What other texts call the members; ocnet reads none of these names."""

OF_LEARNING = ("data", "check", "augment", "score", "parameter_groups")
"""Methods that only a `SupervisedProblem` has."""


def misspelt(problem: Problem) -> list[Finding]:
    """The public members that nothing reads and that nearly have a known member's name.

    A member counts only if the problem's own code does not read it, and if the known member
    is not defined next to it: such a name is a helper's, not a slip.
    """
    found = [finding for kind in own_kinds(type(problem)) for finding in of_kind(kind)]
    parts = (vars(problem), problem._parameters, problem._buffers, problem._modules)
    names = {name for part in parts for name in part}
    kind = type(problem)
    for name in sorted(names - INNER):
        meant = nearest(name)
        if meant is not None and meant not in names and not reads(kind, name):
            found.append(finding(kind, name, meant))
    return found


@functools.cache
def of_kind(kind: type) -> tuple[Finding, ...]:
    """The misspelt members that a class itself defines."""
    names = {name for name in vars(kind) if not name.startswith("_")}
    found = [
        finding(kind, name, meant)
        for name in sorted(names)
        if (meant := nearest(name)) is not None and meant not in names and not reads(kind, name)
    ]
    if not issubclass(kind, SupervisedProblem):
        found += [
            finding(kind, name, f"{name} of a SupervisedProblem, to derive from")
            for name in OF_LEARNING
            if inspect.isfunction(vars(kind).get(name)) and not reads(kind, name)
        ]
    return tuple(found)


def finding(kind: type, name: str, meant: str) -> Finding:
    """The finding that a class has a member whose name is not the one meant."""
    code = code_of(inspect.getattr_static(kind, name, None))
    where = at_line(code.co_filename, code.co_firstlineno) if code is not None else kind.__name__
    return Finding(name, where, f"is not read by ocnet: did you mean {meant}?")


@functools.cache
def nearest(name: str) -> str | None:
    """The known member that a name is nearly equal to; None if it is known, or near to none."""
    if name.startswith("_") or name in KNOWN:
        return None
    plain = flat(name)
    for known in sorted(KNOWN):
        if plain == flat(known) and len(known) >= SHORTEST:
            return known
    for other, known in OTHER_WORDS.items():
        if plain.removesuffix("s") == flat(other).removesuffix("s"):
            return known
    if len(name) < SHORTEST:
        return None
    ratio = lambda known: difflib.SequenceMatcher(None, plain, flat(known)).ratio()
    known = max((known for known in KNOWN if len(known) >= SHORTEST), key=ratio)
    return known if ratio(known) >= NEAR else None


def flat(name: str) -> str:
    """A name without underscores and capitals."""
    return name.replace("_", "").lower()


OWN = (Problem, SolvedProblem, SupervisedProblem)
"""ocnet's own classes."""


def own_kinds(kind: type[Problem]) -> list[type]:
    """The user's classes that a problem is made of."""
    return [k for k in kind.__mro__ if issubclass(k, Problem) and k not in OWN]


@functools.cache
def reads(kind: type[Problem], name: str) -> bool:
    """Whether the code of the class, or a function of its module, reads an attribute `name`."""
    return any(
        instruction.argval == name
        and (instruction.opname.startswith(("LOAD_ATTR", "LOAD_METHOD")) or is_text(instruction))
        for code in codes(kind)
        for instruction in dis.get_instructions(code)
    )


def is_text(instruction: dis.Instruction) -> bool:
    """Whether an instruction loads a constant, as `getattr(self, "name")` does."""
    return instruction.opname == "LOAD_CONST"


def codes(kind: type[Problem]) -> Iterator[types.CodeType]:
    """The code of a class, of those that it inherits from, and of their modules' functions."""
    for part in own_kinds(kind):
        module = sys.modules.get(part.__module__)
        functions = [f for f in vars(module or part).values() if inspect.isfunction(f)]
        for value in (*vars(part).values(), *functions):
            for function in unwrapped(value):
                code = code_of(function)
                if code is not None:
                    yield from nested(code)


def unwrapped(value: object) -> list[object]:
    """The functions of a member: of a property, a cached property or a class method too."""
    if isinstance(value, property):
        return [f for f in (value.fget, value.fset) if f is not None]
    return [getattr(value, "func", getattr(value, "__func__", value))]


def nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions inside."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested(constant)


INNER = frozenset(vars(nn.Module()))
"""What every module holds."""

KNOWN = frozenset(
    name
    for kind in (Problem, SolvedProblem, SupervisedProblem)
    for name in (*dir(kind), *kind.__annotations__)
    if not name.startswith("_")
)
"""The members that ocnet reads, those of modules included."""
