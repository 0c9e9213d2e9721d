"""The tool that plants faults: what it plants, what tests catch, and how it goes on."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.mutate import options_of, run, summary
from tests.support.faults import Fault, faults


SOURCE = '''"""A tiny package: 1 + 1."""

__all__ = ["area"]

EPS = 1e-3


def area(a: float = 2, b: "float | int" = 3) -> float:
    """Takes 2 numbers."""
    if a < 0:
        raise ValueError(f"a must be at least {0 + 0}, but got {a - 0}.")
    return a * b


def largest(some: list[int]) -> int:
    """The largest number, which starts at 0."""
    most = 0
    for one in some:
        if one > most:
            most = one
    return -(-most)


class Shown:
    """Shows itself."""

    def __repr__(self) -> str:
        return str(1 + 2)
'''

TESTS = '''"""Tests."""

import pytest
from tiny.sums import area, largest


def test_area() -> None:
    assert area() == 6 and area(0, 5) == 0
    with pytest.raises(ValueError):
        area(-1)


def test_largest() -> None:
    assert largest([1, 3, 2]) == 3
'''

EQUIVALENT = """
[[fault]]
path = "tiny/sums.py"
was = "if one > most:"
becomes = "if one >= most:"
reason = "Equal numbers are the same."
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a tiny package, its tests, and the plugin that notes calls."""
    root = tmp_path / "root"
    plugin = Path(__file__).parents[1] / "support" / "reach.py"
    for name, text in {
        "tiny/__init__.py": '"""Tiny."""\n', "tiny/sums.py": SOURCE, "tests/__init__.py": "",
        "tests/test_sums.py": TESTS, "tests/support/__init__.py": "",
        "tests/support/reach.py": plugin.read_text(), "pyproject.toml": "[tool.pytest]\n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def planted(text: str = SOURCE, path: str = "tiny/sums.py") -> set[tuple[str, str]]:
    """Each fault as its line and what it becomes."""
    source = text.encode()
    return {fault.lines(source)[1:] for fault in faults(path, source)}


def test_each_kind_of_fault_is_planted() -> None:
    assert {
        ("EPS = 1e-3", "EPS = 0.01"),
        ("if a < 0:", "if a <= 0:"),
        ("if a < 0:", "if a > 0:"),
        ("return a * b", "return a / b"),
        ("return -(-most)", "return (-most)"),
        ('def area(a: float = 2, b: "float | int" = 3) -> float:',
         'def area(a: float = 3, b: "float | int" = 3) -> float:'),
    } <= planted()  # fmt: skip
    kinds = {fault.kind: fault.function for fault in faults("tiny/sums.py", SOURCE.encode())}
    assert kinds["tolerance"] == "" and kinds["default"] == "area" and kinds["sign"] == "largest"


@pytest.mark.parametrize(
    "text",
    [
        '"""1 + 1"""\n', '__all__ = [1]\n', "def f(x: 'A[1 + 1]') -> 'A[2]': ...\n",
        "class A:\n    x: Float[3]\n    def __repr__(self):\n        return 1 + 2\n",
        "raise ValueError(1 + 2)\n", 'x = f"{1 + 2}"\n', "assert x, 1 + 2\n", "A = B | None\n",
        'K = Literal[1, 2]\n', "x = zip(a, b, strict=True)\n", "print(1 + 2)\n",
    ],
)  # fmt: skip
def test_what_only_shows_or_documents_is_left_alone(text: str) -> None:
    assert planted(text) == set()


def test_faults_in_c() -> None:
    text = '/* 1 + 2 */\n#include "a.h"\nint f(int i) { return x[i + 1] <= 3.0; }\n'
    was = "int f(int i) { return x[i + 1] <= 3.0; }"
    assert planted(text, "tiny/a.c") == {
        (was, was.replace(*change))
        for change in [("+", "-"), ("1", "2"), ("1", "0"), ("<=", "<"), ("3.0", "30.0"),
                       ("3.0", "0.3")]
    }  # fmt: skip


def test_the_sample_is_fixed_and_more_begin_with_the_same(tree: Path) -> None:
    from tests.mutate import sampled

    def drawn(n: int, seed: int) -> list[Fault]:
        return sampled(tree, options_of([str(n), str(seed), "--package", "tiny"]))

    assert drawn(9, 1)[:4] == drawn(4, 1) != drawn(4, 2)


def test_faults_are_caught_survive_or_are_equivalent_and_none_is_tried_twice(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tree / "tests" / "equivalent_faults.toml").write_text(EQUIVALENT)
    kept = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    wanted = [
        ("return a * b", "return a / b"), ("if one > most:", "if one >= most:"),
        ("most = 0", "most = 1"),
    ]  # fmt: skip
    source = SOURCE.encode()
    some = [f for f in faults("tiny/sums.py", source) if f.lines(source)[1:] in wanted]
    monkeypatch.setattr("tests.mutate.sampled", lambda root, options: some[: options.n])
    results = tree / "build" / "results.jsonl"

    def found(n: int) -> dict[str, str]:
        options = options_of([str(n), "0", "--package", "tiny", "--results", str(results)])
        entries = run(tree, options)
        assert len(entries) == n
        text = summary(entries)
        if n == 3:
            assert text.startswith("1 of 2 faults were caught")
            assert "+ most = 1" in text and "Equal numbers are the same." in text
        return {entry["becomes"]: entry["status"] for entry in entries}

    assert found(1) == {"return a / b": "caught"}
    entry = json.loads(results.read_text())
    assert entry["test"] == "tests/test_sums.py::test_area" and entry["line"] == 12
    capfd.readouterr()
    statuses = {"return a / b": "caught", "most = 1": "survived", "if one >= most:": "equivalent"}
    assert found(3) == statuses
    assert "a / b" not in capfd.readouterr().out  # What is known is not tried again.
    assert len(results.read_text().splitlines()) == 3
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_what_does_not_end_is_caught(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "tiny" / "sums.py").write_text(
        SOURCE.replace("    most = 0\n", "    most = 0\n    while most < 0:\n        pass\n")
    )
    source = (tree / "tiny" / "sums.py").read_bytes()
    (fault,) = (f for f in faults("tiny/sums.py", source)
                if f.lines(source)[2] == "while most <= 0:")  # fmt: skip
    monkeypatch.setattr("tests.mutate.sampled", lambda root, options: [fault])
    monkeypatch.setattr("tests.mutate.PATIENCE", 5.0)
    options = options_of(["1", "0", "--package", "tiny", "--results", str(tree / "build" / "r")])
    (entry,) = run(tree, options)
    assert entry["status"] == "timed out"
    assert summary([entry]).startswith("1 of 1 faults were caught, 1 of them by running too long")


def test_every_equivalent_fault_can_still_be_planted() -> None:
    """Where a line has moved or changed, it is open again whether its fault changes a result."""
    root = Path(__file__).parents[2]
    file = root / "tests/equivalent_faults.toml"
    for fault in tomllib.loads(file.read_text())["fault"]:
        assert fault["was"] in (root / fault["path"]).read_text(), fault
        assert fault["becomes"] != fault["was"] and fault["reason"]
