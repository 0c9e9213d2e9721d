"""The committed text of the public API agrees with the sources, and every change shows in it."""

from pathlib import Path

import pytest

from tests import public_api
from tests.support.source import Sources


CODE = '''"""A package."""

from .inner import Cart, steer


__all__ = ["Cart", "LIMIT", "steer"]

LIMIT = 3.0
'''

INNER = '''"""An inner module."""


class Base:
    def brake(self, force: float) -> float: ...


@dataclass
class Cart(Base):
    speed: float
    mass: float = 1.0

    @property
    def momentum(self) -> float: ...

    def _hidden(self) -> None: ...


def steer(cart: Cart, *, angle: float = 0.0) -> Cart: ...


def hidden() -> None: ...
'''

TEXT = """# ocnet
@dataclass class Cart(Base)
    speed: float
    mass: float = 1.0
    brake(force: float) -> float
    momentum: float (property)
LIMIT = 3.0
steer(cart: Cart, *, angle: float=0.0) -> Cart
"""


def text(tmp_path: Path, code: str = CODE, inner: str = INNER) -> str:
    """The public API of a package of one inner module."""
    package = tmp_path / "ocnet"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(code)
    (package / "inner.py").write_text(inner)
    return public_api.PublicApi(Sources(tmp_path)).text()


def test_the_committed_file_agrees() -> None:
    written = public_api.PublicApi(Sources(public_api.ROOT)).text()
    assert public_api.FILE.read_text(encoding="utf-8") == written, "python -m tests.public_api"


def test_names_signatures_and_members_are_written(tmp_path: Path) -> None:
    assert text(tmp_path) == TEXT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("angle: float = 0.0", "angle: float = 0.1"),
        ("cart: Cart, *", "cart: Cart"),
        ("speed: float\n    mass: float = 1.0", "mass: float = 1.0\n    speed: float = 0.0"),
        ("force: float", "force: int"),
        ("@property", "@cached"),
        ("@dataclass", "@dataclass(frozen=True)"),
    ],
)
def test_every_change_shows(tmp_path: Path, old: str, new: str) -> None:
    assert old in INNER
    assert text(tmp_path, inner=INNER.replace(old, new)) != TEXT


def test_what_is_not_public_does_not_show(tmp_path: Path) -> None:
    changed = INNER.replace("hidden() -> None", "hidden(x: int) -> int").replace(
        "_hidden", "_other"
    )
    assert text(tmp_path, inner=changed) == TEXT
