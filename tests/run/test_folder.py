"""The folder of a run: what it refuses, who owns it, and how many checkpoints it keeps."""

import os
import re
import time
from pathlib import Path

import pytest

from ocnet.origin import library
from ocnet.run import Config, FolderInUse, RunFolder
from ocnet.run.checkpoint import PART
from ocnet.run.job import iterations
from ocnet.run.lock import owned


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "config.json", "checkpoints/"])
def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "run"
    path.mkdir()
    if name.endswith("/"):
        (path / name).mkdir()
    else:
        (path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{path} is not empty"):
        RunFolder(path).create(Config.of("", device="cpu"), {})
    assert [other.name for other in path.iterdir()] == [name.rstrip("/")]
    if not name.endswith("/"):
        assert (path / name).read_text() == "mine"


def test_what_a_write_left_unfinished_is_nothing(tmp_path: Path) -> None:
    (tmp_path / f"config.json{PART}").write_text("{")
    RunFolder(tmp_path).create(Config.of("", device="cpu"), {})
    assert RunFolder(tmp_path).config() == Config.of("", device="cpu")
    with pytest.raises(FileExistsError, match="is not empty"):
        RunFolder(tmp_path).create(Config.of("", device="cpu"), {})


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (9, 10, 100, 1000):
        folder.save(step, {"step": step})
    assert [int(path.stem) for path in folder.saved()] == [100, 1000]
    assert folder.latest() == {"step": 1000}


def test_a_folder_in_use_is_refused_at_once(tmp_path: Path) -> None:
    with owned(tmp_path, print):
        began = time.perf_counter()
        with pytest.raises(FolderInUse, match=rf"{tmp_path} is in use by .*{os.getpid()}"):
            with owned(tmp_path, print):
                pass
        assert time.perf_counter() - began < 0.9
    with owned(tmp_path, pytest.fail):
        pass


def test_what_the_library_was_is_noted_in_sixteen_digits() -> None:
    assert re.fullmatch("[0-9a-f]{16}", library())


@pytest.mark.parametrize("there", [True, False])
def test_a_run_without_a_checkpoint_starts_over(tmp_path: Path, there: bool) -> None:
    folder = RunFolder(tmp_path)
    folder.create(Config.of("", device="cpu"), {"was": 1})
    if there:
        folder.best.write_bytes(b"of the last attempt")
    folder.start_over(Config.of("", device="cpu", seed=1), {"was": 2})
    assert not folder.best.exists() and folder.config().seed == 1
    assert folder.read_json("provenance.json") == {"was": 2}


def test_a_run_that_is_asked_for_no_length_has_a_thousand_iterations() -> None:
    assert iterations(Config.of("a:B"), None) == iterations(Config.of("a:B"), 7) == 1000
    assert iterations(Config.of("a:B", epochs=3), 7) == 21
    assert iterations(Config.of("a:B", iterations=5), 7) == 5
