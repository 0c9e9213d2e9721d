"""The shape of the package, read from its sources: names, imports, and what importing it takes."""

from pathlib import Path

import pytest

from .house import import_times
from .support.source import Sources


ROOT = Path(__file__).parents[1]


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


@pytest.mark.slow
def test_importing_it_adds_little_to_importing_torch() -> None:
    # 0.01 s were measured where 0.1 s is the aim; a machine that others use may be slower.
    (seconds,) = import_times([ROOT], rounds=3)
    assert seconds < 0.1
