"""What is public is listed, has a name of its own, and is all that problems and examples need."""

import ast
import builtins
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.support.public import public_places


ROOT = Path(__file__).parents[2]


def imports(code: str) -> Iterator[tuple[str, list[str]]]:
    """The modules of `ocnet` that a piece of code imports, with the names that it takes."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((a.name, []) for a in node.names if a.name.split(".")[0] == "ocnet")
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            if module.split(".")[0] == "ocnet":
                yield module, [alias.name for alias in node.names]


def users() -> list[Path]:
    """The files that use the library as a user does."""
    return [*sorted((ROOT / "problems").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py"))]


def unlisted(code: str) -> list[str]:
    """What a piece of code takes from `ocnet` that is not public."""
    places = public_places()
    found = []
    for module, names in imports(code):
        if module not in places:
            found.append(module)
            continue
        public = [*importlib.import_module(module).__all__]
        if module == "ocnet":
            public += [place.removeprefix("ocnet.") for place in places]
        found += [f"{module}.{name}" for name in names if name not in public]
    return found


@pytest.mark.parametrize("path", users(), ids=lambda path: str(path.relative_to(ROOT)))
def test_problems_and_examples_use_public_names_only(path: Path) -> None:
    assert not unlisted(path.read_text(encoding="utf-8"))


def test_the_readme_uses_public_names_only() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    assert not [name for block in blocks for name in unlisted(block)]


def test_an_inner_name_would_be_found() -> None:
    assert unlisted("from ocnet.analysis.pruning import prune") == ["ocnet.analysis.pruning"]
    assert unlisted("from ocnet.analysis import flops") == ["ocnet.analysis.flops"]
    assert unlisted("import ocnet.solver.base") == ["ocnet.solver.base"]
    assert not unlisted("from ocnet import plot, solve\nfrom ocnet.analysis import prune")


@pytest.mark.parametrize("name", public_places())
def test_every_public_place_lists_what_is_public(name: str) -> None:
    place = importlib.import_module(name)
    assert place.__all__ and len(set(place.__all__)) == len(place.__all__)
    for public in place.__all__:
        assert hasattr(place, public), public


@pytest.mark.parametrize("name", public_places())
def test_no_module_has_the_name_of_what_its_package_exports(name: str) -> None:
    place = importlib.import_module(name)
    inner = {found.name for found in pkgutil.iter_modules(getattr(place, "__path__", []))}
    exported = {n for n in place.__all__ if not isinstance(getattr(place, n), ModuleType)}
    assert not inner & exported


def test_no_package_has_the_name_of_a_public_function() -> None:
    packages = {place.removeprefix("ocnet.") for place in public_places()}
    for place in map(importlib.import_module, public_places()):
        functions = {n for n in place.__all__ if not isinstance(getattr(place, n), ModuleType)}
        assert not packages & functions, place.__name__


def test_a_star_overwrites_nothing_of_python_or_torch() -> None:
    names: dict[str, object] = {}
    exec("from ocnet import *", names)
    mine = {name for name in names if not name.startswith("__")}
    assert {"solve", "train", "compare"} <= mine
    assert not mine & set(dir(builtins))
    assert not mine & set(torch.__all__)
    for module in (torch.nn, torch.optim, torch.nn.functional):
        assert not mine & {name for name in dir(module) if not name.startswith("_")}, module
    # `torch.solve` was removed; what has its name says so.
    with pytest.raises((RuntimeError, TypeError)):
        torch.solve(torch.eye(2), torch.eye(2))
    assert mine & set(dir(torch)) <= {"solve"}
