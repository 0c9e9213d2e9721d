"""Compiled problems on disk: which folders are trusted, and what happens to damaged files."""

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ocnet import Euler
from ocnet.direct import Solution, solve
from ocnet.direct.compiled import build, cache as disk, UnsafeCache
from ocnet.direct.compiled.kernel import known
from tests.support.ride import libraries, Ride


pytestmark = pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on the speed of what is compiled."""
    monkeypatch.setattr(build, "FLAGS", ("-std=c11", "-O0", "-fPIC", "-shared"))


def solved(compile: bool | None = True) -> Solution:
    """The ride's solution by a library that is read or made anew."""
    build.library.cache_clear()
    known.clear()
    found = solve(Ride(), solver=Euler(4), compile=compile)
    torch.testing.assert_close(found.cost, torch.tensor(0.5))
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's alone, which `OCNET_CACHE` names."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("OCNET_CACHE", str(folder))
    return folder


@pytest.mark.parametrize("variable, below", [("OCNET_CACHE", ""), ("XDG_CACHE_HOME", "ocnet")])
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702, 0o1777])
def test_a_folder_that_others_may_write_to(
    cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str, mode: int
) -> None:
    monkeypatch.delenv("OCNET_CACHE")
    monkeypatch.setenv(variable, str(cache))
    (cache / below / "solve").mkdir(parents=True, mode=0o700, exist_ok=True)
    for folder in (cache, cache / below, cache / below / "solve"):
        folder.chmod(mode)
        for compile in (None, True):
            with pytest.raises(UnsafeCache, match=f"{variable} leads to {folder}, .*nobody else"):
                solved(compile)
        assert solved(compile=False).backend == "torch, because compile=False"
        folder.chmod(0o700)
    assert libraries(cache) == []
    assert solved().backend == "machine code"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("below", ["", "solve"])
def test_a_folder_of_somebody_else(cache: Path, below: str) -> None:
    (cache / "solve").mkdir(mode=0o700)
    os.chown(cache / below, 4321, -1)
    with pytest.raises(UnsafeCache, match=f"OCNET_CACHE leads to {cache / below}.*user 4321"):
        solved()
    assert solved(compile=False).backend == "torch, because compile=False"


@pytest.mark.parametrize("path", [".", "cache", "../cache", "~/cache"])
@pytest.mark.parametrize("variable", ["OCNET_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OCNET_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, path)
    with pytest.raises(UnsafeCache, match=f"{variable} must be an absolute path, but got '{path}'"):
        solved()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["OCNET_CACHE", "XDG_CACHE_HOME"])
def test_an_empty_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """It had meant the working directory, whose libraries were loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OCNET_CACHE", raising=False)
    monkeypatch.setenv(variable, "")
    with pytest.raises(UnsafeCache, match=f"^{variable} must be an absolute path, but got ''"):
        solved()
    assert solved(compile=False).backend == "torch, because compile=False"
    assert list(tmp_path.iterdir()) == []


def test_without_variables_it_is_below_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir(mode=0o700)
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    for variable in ("OCNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    solved()
    assert list(work.iterdir()) == []
    (made,) = libraries(home)
    assert made.parent == home / ".cache" / "ocnet" / "solve"
    for folder in (home / ".cache", home / ".cache" / "ocnet", made.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert made.stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_our_folder(cache: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (cache / "solve").symlink_to(elsewhere)
    with pytest.raises(UnsafeCache, match=f"OCNET_CACHE leads to {cache}/solve, .*not a link"):
        solved()
    assert list(elsewhere.iterdir()) == []


def with_checksum(content: bytes) -> bytes:
    return content + hashlib.sha256(content).digest()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a byte less": lambda path: os.truncate(path, path.stat().st_size - 1),
    "zeros": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "a bit": lambda path: path.write_bytes(
        bytes([b ^ (i == 5000) for i, b in enumerate(path.read_bytes())])
    ),
    "not a library": lambda path: path.write_bytes(with_checksum(b"text")),
    "writable by others": lambda path: path.chmod(0o666),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link": lambda path: (path.rename(f"{path}.other"), path.symlink_to(f"{path}.other")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_library_is_made_anew(cache: Path, damage: str) -> None:
    solved()
    (path,) = libraries(cache)
    whole = path.read_bytes()
    DAMAGES[damage](path)
    assert solved().backend == "machine code"
    if damage != "a folder":
        assert not path.is_symlink() and path.stat().st_mode & 0o777 == 0o600
        content = path.read_bytes()
        assert hashlib.sha256(content[:-32]).digest() == content[-32:]
        assert len(content) == len(whole)


@pytest.mark.parametrize("bit", [0, 7, 100, 799, 800, 801, 1000, 1055])
def test_one_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path, bit: int) -> None:
    """In the content as in its checksum."""
    value = bytes(range(100))
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        disk.write(folder, "a.so", value)
        assert disk.read(folder, "a.so") == value
        content = bytearray((tmp_path / "a.so").read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.so").write_bytes(content)
        assert disk.read(folder, "a.so") is None
    finally:
        os.close(folder)


def test_a_library_of_something_else_is_made_anew(cache: Path, tmp_path: Path) -> None:
    solved()
    (path,) = libraries(cache)
    source, other = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text("int iterate(void) { return 7; }")
    command = build.compiler()
    assert command is not None
    subprocess.run([command, "-shared", "-fPIC", str(source), "-o", str(other)], check=True)
    path.write_bytes(with_checksum(other.read_bytes()))
    assert solved().backend == "machine code"


def test_what_cannot_be_loaded_is_computed_by_torch(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("failed to map segment from shared object")

    monkeypatch.setattr(build.ctypes, "CDLL", refuse)
    found = solved(compile=None)
    assert found.backend == (
        "torch, because Ride is not compiled: the machine code cannot be loaded: failed to map "
        "segment from shared object"
    )
    assert libraries(cache) == []


def test_without_memory_files_a_copy_is_loaded(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    assert solved().backend == "machine code"
    assert solved().backend == "machine code"


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv("OCNET_CACHE", str(file / "cache"))
    with caplog.at_level(logging.WARNING):
        assert solved().backend == "machine code"
    assert f"No compiled problem is kept in {file / 'cache'}" in caplog.text


AFTERWARDS = """
import os, sys
from pathlib import Path
import torch
from ocnet import Euler
from ocnet.direct import solve
from tests.support.ride import libraries, Ride

torch.set_default_dtype(torch.float64)
first = solve(Ride(), solver=Euler(4), compile=True)
for path in libraries(Path(os.environ["OCNET_CACHE"])):
    os.truncate(path, 0)
    path.unlink() if sys.argv[1] == "gone" else path.write_bytes(b"x" * 10_000)
again = solve(Ride(), solver=Euler(400), compile=True)
print(float(again.cost))
assert not any(str(os.environ["OCNET_CACHE"]) in line for line in open("/proc/self/maps"))
"""


@pytest.mark.parametrize("how", ["gone", "overwritten"])
def test_a_file_that_shrinks_after_it_was_loaded(cache: Path, how: str) -> None:
    """Nothing of it is mapped: pages read for the first time would end the process."""
    ran = subprocess.run(
        [sys.executable, "-c", AFTERWARDS, how], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("0.5")


def test_libraries_with_the_same_descriptor_are_told_apart(cache: Path) -> None:
    """The loader gives back an old library for an old path."""

    class Slower(Ride):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            return u * u.cos()

    for _ in range(2):
        solved()
        build.library.cache_clear()
        compiled, plain = (solve(Slower(), solver=Euler(4), compile=c) for c in (True, False))
        torch.testing.assert_close(compiled.cost, plain.cost)
