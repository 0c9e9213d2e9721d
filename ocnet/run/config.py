"""What a run was asked for, in groups of plain values that JSON can hold."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._arguments import check_count, check_kind, check_range
from ..catalogue import load_trainable_problem
from ..errors import OcnetError
from ..problem import Problem
from .groups import Course, Descent, Discretisation, Execution, Keeping, Length, Validation
from .randomness import seed_everything


GROUPS: dict[str, type[Any]] = {
    "discretisation": Discretisation,
    "length": Length,
    "descent": Descent,
    "gamma": Course,
    "validation": Validation,
    "execution": Execution,
    "keeping": Keeping,
}
"""The groups of a configuration, by the name of their attribute."""


class ConfigError(OcnetError, ValueError):
    """A configuration that does not fit together, or does not fit its problem."""


@dataclass(frozen=True)
class Config:
    """What a run was asked for; `Config.of` makes one of options without their groups.

    Attributes:
        problem: `module:Class` or `path/to/file.py:Class`; empty for a problem that is handed to
            `execute` as an object.
        settings: The arguments of its constructor, each "key=value".
        discretisation: Solver, gradient and number of steps.
        length: Epochs or iterations, and the batch size.
        descent: The optimiser and its learning rate.
        gamma: The course of the weight of a stage cost in the steps of training; validation
            measures the cost with the whole weight.
        validation: Averages, patience and how often to validate.
        execution: Device, precision, compilation and processes.
        keeping: Checkpoints and tables.
        seed: Of the control's initial values and of the batches.

    Raises:
        TypeError, ValueError: Naming the option and its value, if they do not fit together.
    """

    problem: str
    settings: list[str] = field(default_factory=list)
    discretisation: Discretisation = Discretisation()
    length: Length = Length()
    descent: Descent = Descent()
    gamma: Course = Course()
    validation: Validation = Validation()
    execution: Execution = Execution()
    keeping: Keeping = Keeping()
    seed: int = 0

    def __post_init__(self) -> None:
        check_kind("problem", self.problem, str)
        check_kind("settings", self.settings, list)
        for setting in self.settings:
            check_kind("Each of settings", setting, str)
        for name, kind in GROUPS.items():
            check_kind(name, getattr(self, name), kind)
        self.gamma.check("gamma_")
        check_count("seed", self.seed, least=0)
        check_range("seed", self.seed, "0 <=", f"< {2**63}")
        if self.execution.capture and not self.gamma.is_flat:
            raise ValueError(
                "capture=True keeps gamma as it was recorded: it takes no schedule of gamma."
            )
        if self.execution.sharded and self.descent.optimizer == "lbfgs":
            raise ValueError("L-BFGS needs whole parameters, but got sharded=True.")
        if self.execution.sharded and self.discretisation.gradient == "reversible":
            raise ValueError("Reversible needs whole parameters, but got sharded=True.")

    @classmethod
    def of(cls, problem: str, settings: Sequence[str] = (), **options: Any) -> "Config":
        """The configuration of options by their own names, such as `lr=0.1, device="cpu"`.

        Arguments:
            problem, settings: Those of the configuration.
            options: Any attributes of the groups; those of `gamma` are `gamma_schedule` and
                `gamma_warmup`, those of the learning rate's course `schedule` and `warmup`; and
                the seed.

        Raises:
            TypeError: If there is no such option, or a value is of the wrong kind.
            ValueError: If a value is out of range.
        """
        check_kind("settings", settings, list, tuple)
        tree: dict[str, Any] = {"problem": problem, "settings": list(settings)}
        for name, value in options.items():
            if name not in PLACES:
                raise TypeError(f"A configuration has no option {name!r}, only: {known()}.")
            *path, last = PLACES[name]
            at = tree
            for part in path:
                at = at.setdefault(part, {})
            at[last] = value
        return cls(**built(tree))

    def options(self) -> dict[str, Any]:
        """All values by their own names, as `of` takes them."""
        found: dict[str, Any] = {"problem": self.problem, "settings": self.settings}
        for name, path in PLACES.items():
            value: Any = self
            for part in path:
                value = getattr(value, part)
            found[name] = value
        return found

    def changed(self, **options: Any) -> "Config":
        """The same with some options changed, as `of` takes them."""
        return Config.of(**{**self.options(), **options})

    def to_json(self) -> str:
        """The values as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """The values that `to_json` wrote, or an older version without groups.

        Raises:
            ValueError: If the text is not JSON, or names something that this version does not know.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a configuration must be a JSON object, but is {str(values)[:40]!r}.")
        if "problem" not in values:
            raise ValueError("the configuration names no problem.")
        grouped = any(isinstance(values.get(name), dict) for name in GROUPS)
        flat = flattened(values) if grouped else values
        unknown = sorted({*flat} - {"problem", "settings", *PLACES})
        if unknown:
            raise ValueError(f"it asks for {unknown[0]!r}, unknown to this version.")
        return cls.of(**flat)

    def make_problem(self) -> Problem:
        """The problem, whose random values depend on the seed alone.

        Raises:
            ValueError, TypeError: If it cannot be found, or does not take the settings.
        """
        if not self.problem:
            raise ValueError(
                "The run is of a problem that was handed over as an object: go on from Python, by "
                "execute(folder, problem=...)."
            )
        seed_everything(self.seed)
        return load_trainable_problem(self.problem, self.settings)


def places() -> dict[str, tuple[str, ...]]:
    """Where each option is in a configuration, by its own name."""
    found: dict[str, tuple[str, ...]] = {"seed": ("seed",)}
    for group, kind in GROUPS.items():
        for part in dataclasses.fields(kind):
            if group == "gamma":
                found[f"gamma_{part.name}"] = (group, part.name)
            elif part.name != "course":
                found[part.name] = (group, part.name)
    for part in dataclasses.fields(Course):
        found[part.name] = ("descent", "course", part.name)
    return found


PLACES = places()
"""Where each option is in a configuration, by its own name."""


def known() -> str:
    """The options there are, in words."""
    return ", ".join(PLACES)


def built(tree: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a configuration, with groups in place of dictionaries."""
    found = dict(tree)
    for name, kind in GROUPS.items():
        if name in tree:
            values = dict(tree[name])
            if "course" in values:
                values["course"] = Course(**values["course"])
            found[name] = kind(**values)
    return found


def flattened(values: dict[str, Any]) -> dict[str, Any]:
    """The options in a saved configuration with groups; unknown ones keep their path as a name."""
    names = {path: name for name, path in PLACES.items()}
    found: dict[str, Any] = {}

    def visit(path: tuple[str, ...], value: Any) -> None:
        if isinstance(value, dict) and path not in names:
            for name, part in value.items():
                visit((*path, name), part)
        else:
            found[names.get(path, ".".join(path))] = value

    visit((), values)
    return found
