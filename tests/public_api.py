"""Writes the public API, signatures included, to a text file: `python -m tests.public_api`.

Every change of the API then shows in a diff of that file. `--check` writes nothing and fails if the
file does not agree with the sources. They are read, not imported, so that the text is the same
under every version of Python and torch.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from .support.source import Module, Sources


ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("public_api.txt")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> int:
    """Writes or checks the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    text = PublicApi(Sources(ROOT)).text()
    if not parser.parse_args().check:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.read_text(encoding="utf-8") == text:
        return 0
    print("The public API changed: run `python -m tests.public_api` and look at the diff.")
    return 1


class Found(NamedTuple):
    """Where a name is defined: its module, and the statements that define it."""

    module: Module
    nodes: list[ast.stmt]


class PublicApi:
    """What the packages of a tree, and the modules next to them, list in `__all__`.

    Arguments:
        sources: The tree.
    """

    def __init__(self, sources: Sources):
        self.sources = sources

    def text(self) -> str:
        """Every public name, with its signature and its members'."""
        lines = [line for module in self.places for line in self.described_place(module)]
        return "\n".join(lines).rstrip() + "\n"

    @cached_property
    def places(self) -> list[Module]:
        """The package itself, its packages, and the modules next to them."""
        modules = self.sources.modules.values()
        return [m for m in modules if m.name.count(".") < 2 and listed(m) is not None]

    @cached_property
    def public(self) -> set[tuple[str, str]]:
        """The module and name of every public definition."""
        found = set()
        for place in self.places:
            for name in listed(place) or []:
                where = self.find(place, name)
                found |= {(where.module.name, name)} if where else set()
        return found

    def described_place(self, place: Module) -> Iterator[str]:
        """The public names of a package or module, a line each, its classes' members below them."""
        yield f"# {place.name}"
        for name in sorted(listed(place) or [], key=lambda name: (name.lower(), name)):
            where = self.find(place, name)
            if where is None:
                yield name
                continue
            home = ".".join(where.module.name.split(".")[:2])
            if home != place.name and home in (other.name for other in self.places):
                yield f"{name}: from {home}"
            else:
                yield from self.described(where)
        yield ""

    def find(self, module: Module, name: str) -> Found | None:
        """Where a name is defined that a module defines or imports."""
        body = interface(module).body
        nodes = [node for node in body if name in names_of(node)]
        if nodes:
            return Found(module, nodes)
        for node in body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    source = self.sources.modules.get(self.sources.absolute(module, node))
                    if (alias.asname or alias.name) == name and source is not None:
                        return self.find(source, alias.name)
        return None

    def described(self, where: Found) -> Iterator[str]:
        """A definition in one line, or in one line and one for each member of a class."""
        for node in where.nodes:
            if isinstance(node, ast.ClassDef):
                yield heading(node)
                yield from (f"    {line}" for line in dict.fromkeys(fields(node)))
                yield from (f"    {line}" for line in sorted(set(self.members(where.module, node))))
            elif isinstance(node, Function):
                yield signature(node)
            else:
                yield assigned(node)

    def members(self, module: Module, kind: ast.ClassDef) -> Iterator[str]:
        """The public members of a class, those that it has from a base that is not public too."""
        for node in kind.body:
            if isinstance(node, Function) and node.name == "__init__":
                yield signature(node)
                yield from attributes(node)
            elif isinstance(node, Function) and not node.name.startswith("_"):
                yield method(node)
        for base in kind.bases:
            where = self.find(module, ast.unparse(base).split("[")[0])
            if where and (where.module.name, ast.unparse(base)) not in self.public:
                for node in where.nodes:
                    if isinstance(node, ast.ClassDef):
                        yield from fields(node)
                        yield from self.members(where.module, node)


def interface(module: Module) -> ast.Module:
    """The syntax tree of a module; that of the stub next to it, where there is one."""
    stub = module.path.with_suffix(".pyi")
    return ast.parse(stub.read_text(encoding="utf-8")) if stub.exists() else module.tree


def listed(module: Module) -> list[str] | None:
    """The names in `__all__`."""
    for node in interface(module).body:
        if isinstance(node, ast.Assign) and "__all__" in names_of(node):
            try:
                return list(ast.literal_eval(node.value))
            except ValueError:
                return None
    return None


def names_of(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.ClassDef | Function):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    if isinstance(node, ast.Assign):
        return [name.id for t in node.targets for name in ast.walk(t) if isinstance(name, ast.Name)]
    return []


def heading(kind: ast.ClassDef) -> str:
    """The first line of a class: its decorators, its name, its bases."""
    decorators = [f"@{ast.unparse(d)} " for d in kind.decorator_list]
    bases = [ast.unparse(base) for base in [*kind.bases, *kind.keywords]]
    return "".join(decorators) + f"class {kind.name}" + (f"({', '.join(bases)})" if bases else "")


def fields(kind: ast.ClassDef) -> Iterator[str]:
    """The fields and class attributes, in their order: that of a constructor's arguments."""
    for node in kind.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            if any(not name.startswith("_") for name in names_of(node)):
                yield assigned(node)


def signature(node: Function) -> str:
    """The signature of a function, without `self`."""
    arguments = ast.unparse(node.args)
    first, _, rest = arguments.partition(", ")
    arguments = rest if first in ("self", "cls") else arguments
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({arguments}){returned}"


def method(node: Function) -> str:
    """The signature of a method; of a property its type alone."""
    decorators = [ast.unparse(d) for d in node.decorator_list]
    if any("property" in d for d in decorators):
        return f"{node.name}: {ast.unparse(node.returns) if node.returns else ''} (property)"
    marks = [d.split(".")[-1] for d in decorators if d.endswith(("method", "overload"))]
    return "".join(f"@{mark} " for mark in marks) + signature(node)


def attributes(init: Function) -> Iterator[str]:
    """The public attributes that a constructor sets."""
    for node in ast.walk(init):
        if isinstance(node, ast.AnnAssign):
            targets, kind = [node.target], f": {ast.unparse(node.annotation)}"
        else:
            targets, kind = node.targets if isinstance(node, ast.Assign) else [], ""
        for part in [part for target in targets for part in ast.walk(target)]:
            if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
                if ast.unparse(part.value) == "self" and not part.attr.startswith("_"):
                    yield f"{part.attr}{kind}"


def assigned(node: ast.stmt) -> str:
    """An assignment in one line, cut where it is long."""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 160 else f"{text[:157]}..."


if __name__ == "__main__":
    sys.exit(main())
