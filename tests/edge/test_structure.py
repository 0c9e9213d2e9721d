"""The shape of the package, read from its sources: names, imports, and what importing it takes."""

import re
from pathlib import Path

import pytest

from tests.house import import_times
from tests.support.source import Sources, UPWARD


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(ROOT)


def test_no_class_name_stands_twice(sources: Sources) -> None:
    assert not sources.classes_twice()


def test_a_class_name_that_stands_twice_is_found(tmp_path: Path) -> None:
    package = tmp_path / "ocnet"
    package.mkdir()
    for name in ("a", "b"):
        (package / f"{name}.py").write_text("class Point:\n    pass\n")
    assert Sources(tmp_path).classes_twice() == {"Point": ["ocnet.a", "ocnet.b"]}


def test_inheritance_is_counted_within_the_package(tmp_path: Path) -> None:
    package = tmp_path / "ocnet"
    package.mkdir()
    (package / "a.py").write_text(
        "class A(nn.Module): ...\nclass B(A): ...\nclass C(x.B[int]): ...\n"
    )
    assert Sources(tmp_path).inheritance() == {"A": 0, "B": 1, "C": 2}


def test_no_import_circle(sources: Sources) -> None:
    assert not sources.circles(skip=UPWARD)


def test_the_exception_is_what_would_make_a_circle(sources: Sources) -> None:
    (importing, imported) = next(iter(UPWARD))
    (circle,) = sources.circles()
    assert importing in circle and imported in circle


@pytest.mark.parametrize(
    "back",
    [
        "from .b import B",
        "def f():\n    from .b import B",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import b",
        'import importlib\ndef f():\n    return importlib.import_module("ocnet.b")',
        "import ocnet.b",
    ],
)
def test_a_circle_is_found_however_it_is_imported(tmp_path: Path, back: str) -> None:
    package = tmp_path / "ocnet"
    package.mkdir()
    (package / "a.py").write_text(back + "\n")
    (package / "b.py").write_text("from .c import C\n")
    (package / "c.py").write_text("from .a import A\n")
    assert Sources(tmp_path).circles() == [["ocnet.a", "ocnet.b", "ocnet.c"]]


@pytest.mark.slow
def test_importing_it_adds_little_to_importing_torch() -> None:
    # 0.01 s were measured where 0.1 s is the aim; a machine that others use may be slower.
    (seconds,) = import_times([ROOT], rounds=3)
    assert seconds < 0.1


def test_no_test_module_is_imported_by_another() -> None:
    """What tests share is in `tests.support`."""
    found = re.compile(r"\bfrom [\w.]*\btest_\w+ import|\bimport [\w.]*\btest_\w+")
    files = [f for f in (ROOT / "tests").rglob("*.py") if f != Path(__file__)]
    assert [str(f) for f in files if found.search(f.read_text())] == []
