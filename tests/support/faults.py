"""The single faults that can be planted in a tree of sources: an operator, a sign, a number."""

import ast
import random
import re
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import NamedTuple


SWAPPED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"), ast.Pow: ("**", "*"),
    ast.BitOr: ("|", "&"), ast.BitAnd: ("&", "|"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.USub: ("-", ""), ast.Not: ("not ", ""), ast.Invert: ("~", ""),
}  # fmt: skip
"""Each operator, and what stands in its place."""

TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""The second fault of an ordering: it is turned round."""

SILENT = {"print", "echo", "warn", "warning", "info", "debug", "zip", "note", "write"}
"""Calls whose arguments are messages, or `strict` of what has equal lengths anyway."""

SHOWN = {"__repr__", "__str__", "_repr_html_", "extra_repr"}
"""Methods that only show."""

C_OPERATORS = {
    "+": "-", "-": "+", "*": "/", "/": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "==": "!=", "!=": "==", "&&": "||", "||": "&&",
}  # fmt: skip
C_SITE = re.compile(
    r"(?<= )(\+|-|\*|/|<=?|>=?|==|!=|&&|\|\|)(?= )|(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])"
)
C_SKIPPED = re.compile(r'/\*.*?\*/|"[^"\n]*"|^#(?:include|if|endif|else).*?$', re.S | re.M)


class Fault(NamedTuple):
    """One change of one place.

    Attributes:
        path: The file, relative to the root.
        start: Where the text that changes begins, in bytes.
        was: That text.
        becomes: What stands there instead.
        kind: What kind of fault it is.
        function: The outermost function or method around it; empty at the level of the module.
    """

    path: str
    start: int
    was: str
    becomes: str
    kind: str
    function: str

    def planted(self, source: bytes) -> bytes:
        """The source with this fault."""
        assert source[self.start :].startswith(self.was.encode()), f"{self} is of another source"
        end = self.start + len(self.was.encode())
        return source[: self.start] + self.becomes.encode() + source[end:]

    def lines(self, source: bytes) -> tuple[int, str, str]:
        """The number of its line, the line as it was and as it becomes."""
        number = source.count(b"\n", 0, self.start)
        before, after = (s.split(b"\n")[number].decode().strip() for s in
                         (source, self.planted(source)))  # fmt: skip
        return number + 1, before, after

    def key(self, source: bytes) -> str:
        """A name that stays while its line and the number of equal lines above it stay."""
        _, before, after = self.lines(source)
        above = source[: self.start].count(before.encode())
        return sha256(f"{self.path}\n{before}\n{after}\n{above}".encode()).hexdigest()[:12]


def faults(path: str, source: bytes) -> list[Fault]:
    """All faults of a file of Python or C, in the order of their places."""
    if not path.endswith(".py"):
        return list(c_faults(path, source.decode()))
    finder = Finder(path, source)
    finder.visit(ast.parse(source))
    return sorted(finder.found)


def changes(fault: Fault, source: bytes) -> bool:
    """Whether the source with a fault is still Python, and another program."""
    if not fault.path.endswith(".py"):
        return True
    try:
        return ast.dump(ast.parse(fault.planted(source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def sample(by_area: list[list[Fault]], root: Path, n: int, seed: int) -> list[Fault]:
    """The first `n` faults of a sequence that the seed fixes, from each area in turn.

    Arguments:
        by_area: The faults of each area.
        root: The folder of their files.
        n: How many at most.
        seed: Fixes the sequence.
    """
    generator = random.Random(seed)
    shuffled = [generator.sample(some, len(some)) for some in by_area]
    longest = max(map(len, shuffled), default=0)
    turns = (some[i] for i in range(longest) for some in shuffled if i < len(some))
    real = (fault for fault in turns if changes(fault, (root / fault.path).read_bytes()))
    return list(islice(real, n))


class Finder(ast.NodeVisitor):
    """Collects the faults of a module.

    It leaves out texts, annotations, `__all__`, decorators, what is raised or printed, and what
    only shows.
    """

    def __init__(self, path: str, source: bytes):
        self.path, self.source = path, source
        self.found: list[Fault] = []
        self.around: list[str] = []
        self.functions = 0
        self.kind = "constant"
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def begin(self, node: ast.expr) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset

    def add(self, start: int, was: str, becomes: str, kind: str) -> None:
        """Notes a fault in the function at hand."""
        function = ".".join(self.around) if self.functions else ""
        self.found.append(Fault(self.path, start, was, becomes, kind, function))

    def between(self, left: ast.expr, right: ast.expr, operator: ast.AST, kind: str) -> None:
        """The faults of an operator between two operands."""
        if type(operator) not in SWAPPED:
            return
        was, becomes = SWAPPED[type(operator)]
        start = self.source.find(was.encode(), self.end(left), self.begin(right))
        if start >= 0:
            self.add(start, was, becomes, kind)
            if was in TURNED:
                self.add(start, was, TURNED[was], kind)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not (is_text(node.left) or is_text(node.right) or is_type(node)):
            self.between(node.left, node.right, node.op, "operator")
            self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        # Changed as a whole, or the precedence of the two would change more than one operator.
        if len(node.values) == 2:
            self.between(node.values[0], node.values[1], node.op, "operator")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if not is_text(node.value):
            self.between(node.target, node.value, node.op, "operator")
            self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, right, operator in zip(operands, operands[1:], node.ops, strict=False):
            self.between(left, right, operator, "comparison")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if type(node.op) in SWAPPED:
            self.add(self.begin(node), *SWAPPED[type(node.op)], "sign")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        text = self.source[self.begin(node) : self.end(node)].decode()
        for other in others(node.value):
            small = isinstance(node.value, float) and 0 < abs(node.value) < 1e-2
            self.add(self.begin(node), text, other, "tolerance" if small else self.kind)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not (isinstance(node.value, ast.Name) and node.value.id in ("Literal", "Callable")):
            self.visit(node.value)
            self.of_kind("index", node.slice)

    def of_kind(self, kind: str, node: ast.AST) -> None:
        """Visits a node whose constants are of this kind."""
        before, self.kind = self.kind, kind
        self.visit(node)
        self.kind = before

    def inside(self, node: ast.FunctionDef | ast.ClassDef, function: int) -> None:
        """Visits what stands in a function or a class."""
        if not self.functions:
            self.around.append(node.name)
        self.functions += function
        if isinstance(node, ast.FunctionDef):
            for default in (*node.args.defaults, *node.args.kw_defaults):
                if default is not None:
                    self.of_kind("default", default)
        for statement in node.body:
            self.visit(statement)
        self.functions -= function
        if not self.functions:
            self.around.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name not in SHOWN:
            self.inside(node, 1)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.inside(node, 0)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and "TypeAlias" not in ast.unparse(node.annotation):
            self.of_kind(self.kind if self.functions else "default", node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if "__all__" not in map(ast.unparse, node.targets):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func).split(".")[-1]
        if name == "zip":
            for argument in node.args:
                self.visit(argument)
        elif name not in SILENT:
            self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        self.visit(node.test)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """A message."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """A text."""


def is_text(node: ast.expr) -> bool:
    """Whether an expression is a text."""
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def is_type(node: ast.BinOp) -> bool:
    """Whether `A | B` unites two types."""
    names = [ast.unparse(side).split(".")[-1] for side in (node.left, node.right)]
    return isinstance(node.op, ast.BitOr) and all(
        name[0].isupper() or name in ("int", "float", "str", "bool") for name in names
    )


def others(value: object) -> list[str]:
    """What may stand for a constant: its neighbours, or where it is large half and twice of it."""
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int) and value > 10:
        return [str(value * 2), str(value // 2)]
    if isinstance(value, int):
        return [str(value + 1)] + ([str(value - 1)] if value > 0 else [])
    if isinstance(value, float):
        return [repr(value * 10), repr(value / 10)] if value else ["1.0"]
    return []


def c_faults(path: str, source: str) -> Iterator[Fault]:
    """The faults of a file of C, outside its comments and texts."""
    blank = C_SKIPPED.sub(lambda match: re.sub(r"[^\n]", "#", match[0]), source)
    for match in C_SITE.finditer(blank):
        was, start = match[0], len(source[: match.start()].encode())
        if was in C_OPERATORS:
            yield Fault(path, start, was, C_OPERATORS[was], "operator", "")
        else:
            for other in others(ast.literal_eval(was)):
                yield Fault(path, start, was, other, "constant", "")
