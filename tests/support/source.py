"""Facts about a tree of Python sources, read without importing it."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple


UPWARD = frozenset([("ocnet.direct.answer.solution", "ocnet.plot.optimum")])
"""The one import that goes up, as pandas has it: `solution.plot()`."""


class Function(NamedTuple):
    """A function of the tree: where it stands and how long it is."""

    place: str
    lines: int


class Module(NamedTuple):
    """A module: its dotted name, its file, and its syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return len(self.path.read_text().splitlines())


class Sources:
    """The modules of one package.

    Arguments:
        root: The folder that holds the package.
        package: The package's name.
    """

    def __init__(self, root: Path, package: str = "ocnet"):
        self.root = root
        self.package = package

    @cached_property
    def modules(self) -> dict[str, Module]:
        """All modules by their dotted names."""
        found = {}
        for path in sorted((self.root / self.package).rglob("*.py")):
            parts = path.relative_to(self.root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, ast.parse(path.read_text()))
        return found

    def lines_by_package(self) -> dict[str, int]:
        """The lines of Python and C below each sub-package, and of the modules next to them."""
        total: Counter[str] = Counter()
        for path in (self.root / self.package).rglob("*"):
            if path.suffix in (".py", ".c", ".h"):
                parts = path.relative_to(self.root / self.package).parts
                total[parts[0] if len(parts) > 1 else "(top)"] += len(path.read_text().splitlines())
        return dict(sorted(total.items()))

    def long_files(self, limit: int = 300) -> dict[str, int]:
        """The files with more than `limit` lines."""
        return {m.name: m.lines for m in self.modules.values() if m.lines > limit}

    def functions(self) -> Iterator[Function]:
        """All functions and methods."""
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    assert node.end_lineno is not None, "the parser always sets it"
                    yield Function(f"{module.name}.{node.name}", node.end_lineno - node.lineno + 1)

    def long_functions(self, limit: int = 60) -> list[Function]:
        """The functions with more than `limit` lines."""
        return [f for f in self.functions() if f.lines > limit]

    def classes(self) -> dict[str, list[str]]:
        """The modules that define a class of each name, at the top level."""
        found = defaultdict(list)
        for module in self.modules.values():
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(module.name)
        return dict(found)

    def classes_twice(self) -> dict[str, list[str]]:
        """The class names that stand in more than one module."""
        return {name: places for name, places in self.classes().items() if len(places) > 1}

    def abstract_classes(self) -> list[str]:
        """The classes with an abstract method."""
        found = []
        for module in self.modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef) and any(map(is_abstract, node.body)):
                    found.append(f"{module.name}.{node.name}")
        return found

    def inheritance(self) -> dict[str, int]:
        """How many classes of the package each class descends from, in the longest line."""
        nodes = [node for module in self.modules.values() for node in module.tree.body]
        bases = {
            node.name: [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
            for node in nodes
            if isinstance(node, ast.ClassDef)
        }

        def depth(name: str, below: frozenset[str] = frozenset()) -> int:
            known = [base for base in bases[name] if base in bases and base not in below | {name}]
            return max((1 + depth(base, below | {name}) for base in known), default=0)

        return {name: depth(name) for name in bases}

    def imports(self, *, skip: frozenset[tuple[str, str]] = frozenset()) -> dict[str, set[str]]:
        """Which modules of the package each module imports.

        Imports inside functions and under TYPE_CHECKING count too.

        Arguments:
            skip: Pairs of importing and imported module that do not count.
        """
        graph: dict[str, set[str]] = {}
        for module in self.modules.values():
            targets = set()
            for node in ast.walk(module.tree):
                targets |= set(self.targets(module, node))
            # A package's own `__init__` is run before each of its modules, whoever imports it.
            graph[module.name] = {
                t for t in targets if t != module.name and (module.name, t) not in skip
            }
        return graph

    def targets(self, module: Module, node: ast.AST) -> Iterator[str]:
        """The modules of the package that one node of a syntax tree imports."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in self.modules:
                    yield alias.name
            return
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.Constant) and name.value in self.modules:
                yield str(name.value)
            return
        if not isinstance(node, ast.ImportFrom):
            return
        base = self.absolute(module, node)
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            if inner in self.modules:
                yield inner
            elif base in self.modules:
                yield base

    def absolute(self, module: Module, node: ast.ImportFrom) -> str:
        """The absolute name of the module that a `from` import names."""
        if not node.level:
            return node.module or ""
        is_package = module.path.name == "__init__.py"
        parts = module.name.split(".")
        parts = parts[: len(parts) - node.level + is_package]
        return ".".join([*parts, *(node.module or "").split(".")]).rstrip(".")

    def circles(self, *, skip: frozenset[tuple[str, str]] = frozenset()) -> list[list[str]]:
        """The sets of modules that import each other, in a circle of any length.

        Arguments:
            skip: Pairs of importing and imported module that do not count.
        """
        return [sorted(part) for part in components(self.imports(skip=skip)) if len(part) > 1]


def is_abstract(node: ast.AST) -> bool:
    """Whether a member of a class is marked as abstract."""
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(d).endswith("abstractmethod") for d in decorators)


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of a directed graph (Kosaraju's two passes)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in graph:
        visit(start, graph, seen, order)
    back: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets & graph.keys():
            back[target].add(name)
    found, seen = [], set()
    for start in reversed(order):
        part: list[str] = []
        visit(start, back, seen, part)
        if part:
            found.append(set(part))
    return found


def visit(start: str, graph: dict[str, set[str]], seen: set[str], order: list[str]) -> None:
    """Depth-first search: appends what is reached from `start`, the last visited first.

    Arguments:
        start: Where the search begins.
        graph: The targets of each name.
        seen: The names that were reached before; it grows.
        order: Where finished names are appended.
    """
    if start in seen:
        return
    seen.add(start)
    stack = [(start, iter(graph[start] & graph.keys()))]
    while stack:
        name, rest = stack[-1]
        following = next((t for t in rest if t not in seen), None)
        if following is None:
            order.append(name)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(graph[following] & graph.keys())))
