"""The library's own exceptions have one base; wrong arguments raise what Python raises."""

import ast
import builtins
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from ocnet import ControlEnergy, Euler, OcnetError, Problem, Sample, solve
from ocnet.run import CheckpointError, Interrupted, load_checkpoint
from tests.support.source import Sources


ROOT = Path(__file__).parents[2]


def own_exceptions() -> list[type[BaseException]]:
    """Every exception that a module of the package defines, warnings left out."""
    found = []
    for module in Sources(ROOT).modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.bases:
                kind = getattr(importlib.import_module(module.name), node.name, None)
                if isinstance(kind, type) and issubclass(kind, BaseException):
                    found.append(kind)
    return [kind for kind in found if not issubclass(kind, Warning)]


def test_all_have_one_base() -> None:
    kinds = own_exceptions()
    assert {kind.__name__ for kind in kinds} >= {
        "Changed", "CheckpointError", "ConfigError", "FolderInUse", "Interrupted", "NonFiniteCost",
        "OcnetError", "ProblemError", "SolverError", "UnsafeCache", "Unsupported",
    }  # fmt: skip
    assert not [kind for kind in kinds if not issubclass(kind, OcnetError)]


def test_they_keep_the_built_in_base_that_fits() -> None:
    for kind in own_exceptions():
        if kind not in (OcnetError, Interrupted):
            built_in = [b for b in kind.__mro__ if b.__module__ == "builtins"]
            assert set(built_in) - {Exception, BaseException, object}, kind


def test_one_clause_catches_what_went_wrong(tmp_path: Path) -> None:
    (tmp_path / "damaged").write_bytes(b"not a checkpoint")
    with pytest.raises(OcnetError) as caught:
        load_checkpoint(tmp_path / "damaged")
    assert isinstance(caught.value, CheckpointError)
    assert isinstance(caught.value, ValueError)

    class Broken(Problem):
        state_shape, control_shape = (1,), (1,)

        def dynamics(self, t: torch.Tensor, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

        def __init__(self):
            super().__init__()
            self.stage_cost = ControlEnergy()

        def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
            return Sample(torch.ones(batch_size, 1))

    with pytest.raises(OcnetError, match="broken"):
        solve(Broken(), solver=Euler(5))


def test_wrong_arguments_are_not_the_library_s_own_exceptions() -> None:
    wrong: list[tuple[Any, type[Exception]]] = [(0, ValueError), ("ten", TypeError)]
    for n, kind in wrong:
        with pytest.raises(kind) as caught:
            Euler(n)
        assert type(caught.value) in vars(builtins).values()
        assert not isinstance(caught.value, OcnetError)
