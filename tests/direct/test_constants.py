"""Constants that the iteration has in Python and in C stand once, in `ocnet.direct.constants`."""

import re
from pathlib import Path

import pytest

from ocnet.direct import constants


DIRECT = Path(constants.__file__).parent
NAMES = [name for name in vars(constants) if name.isupper() and name != "FIXED"]
C = "".join(path.read_text() for path in sorted((DIRECT / "compiled").glob("*.[ch]")))


def without_comments(code: str) -> str:
    return re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)


def test_c_has_no_numbers_of_its_own() -> None:
    found = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])", without_comments(C))
    # Small whole numbers count vectors; the last two only keep a product from overflow.
    assert {float(number) for number in found} <= {0, 1, 2, 4, 5, 1e-100, 1e100}


def test_a_number_in_c_would_be_found() -> None:
    assert "0.99" in re.findall(r"\d+\.\d+", without_comments("x = 0.99; /* 1.5 */"))


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_read_each_constant(name: str) -> None:
    python = [path for path in DIRECT.rglob("*.py") if path.name != "constants.py"]
    assert re.search(rf"\b{name}\b", without_comments(C))
    assert any(re.search(rf"\b{name}\b", path.read_text()) for path in python)


def test_the_header_holds_each_constant_once() -> None:
    header = constants.c_header()
    for name in NAMES:
        assert len(re.findall(rf"(?:#define |real ){name}\b", header)) == 1, name
    assert "PENALTIES[] = {100.0, 100000.0, 100000000.0}" in header
    assert "#define SCALE 2\n" in header and "CONVERGED = 1" in header
