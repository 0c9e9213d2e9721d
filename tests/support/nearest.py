"""Which test files are near a module: by the names they share and what the tests import."""

import ast
import re
from collections import deque
from functools import cached_property
from pathlib import Path

from .source import Sources


class Nearest:
    """The distance of test files from modules.

    Arguments:
        root: The folder with the package and `tests`.
        package: The package's name.
    """

    def __init__(self, root: Path, package: str):
        self.root, self.package = root, package
        self.sources = Sources(root, package)
        self.files = sorted(root.glob("tests/**/test_*.py"))

    @cached_property
    def texts(self) -> dict[Path, str]:
        """What each test file says."""
        return {path: path.read_text() for path in self.files}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """What each module imports, of the package."""
        return self.sources.imports()

    @cached_property
    def homes(self) -> dict[str, set[str]]:
        """The modules that define each name at their top level."""
        found: dict[str, set[str]] = {}
        for module in self.sources.modules.values():
            for name in defined(module.tree):
                found.setdefault(name, set()).add(module.name)
        return found

    def imported(self, path: Path) -> set[str]:
        """The modules whose names a test file imports, wherever it imports them from."""
        found = set()
        for node in ast.walk(ast.parse(self.texts[path])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(self.package):
                for alias in node.names:
                    found |= self.homes.get(alias.name, set())
                    found |= {f"{node.module}.{alias.name}", str(node.module)}
        return found & set(self.sources.modules)

    def distance(self, path: Path, module: str) -> int:
        """How many imports lead from a test file to a module."""
        far, todo = {name: 1 for name in self.imported(path)}, deque(self.imported(path))
        while todo:
            name = todo.popleft()
            for other in self.imports[name] - far.keys():
                far[other] = far[name] + 1
                todo.append(other)
        return far.get(module, 9)

    def ranked(self, path: str) -> list[str]:
        """The test files, the nearest to a source file first."""
        file = Path(path)
        parts = [part for part in file.with_suffix("").parts[1:] if part != "__init__"]
        module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        known = self.sources.modules.get(module)
        names = defined(known.tree) if known else set()
        # A few names that occur everywhere say little.
        names = {name for name in names if len(name) > 3}

        def score(test: Path) -> tuple[float, str]:
            words = set(re.split(r"[/_.]", str(test.relative_to(self.root / "tests"))))
            same = sum(bool(words & set(part.split("_"))) for part in parts)
            says = sum(bool(re.search(rf"\b{name}\b", self.texts[test])) for name in names)
            near = self.distance(test, module if known else f"{self.package}.{parts[0]}")
            return near - 2 * same - min(says, 4), str(test)

        return [str(test.relative_to(self.root)) for test in sorted(self.files, key=score)]


def defined(tree: ast.Module) -> set[str]:
    """The names of the functions and classes at the top level of a module."""
    kinds = ast.FunctionDef, ast.ClassDef
    return {node.name for node in tree.body if isinstance(node, kinds)}
