"""A folder from elsewhere runs no code unasked: neither a problem nor what git is told."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ocnet.cli import build
from ocnet.origin import git_revision
from ocnet.run import Config, RunFolder


EVIL = "from pathlib import Path\nPath({mark!r}).write_text('ran')\n"


@pytest.mark.parametrize("command", ["resume", "depth", "prune", "bounds", "compare"])
@pytest.mark.parametrize("way", ["inside", "outside", "link", "module"])
def test_foreign_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, way: str
) -> None:
    """A file in the run, one elsewhere, one that a link leads to, a module found in the run."""
    work, mark = tmp_path / "work", tmp_path / "mark"
    run = work / "run"
    run.mkdir(parents=True)
    monkeypatch.chdir(run if way == "module" else work)
    code = {"inside": run, "module": run}.get(way, tmp_path) / f"evil_{command}.py"
    spec = f"evil_{command}:X" if way == "module" else f"{code}:X"
    if way == "link":
        (work / "link.py").symlink_to(code)
        spec = "link.py:X"
    RunFolder(run).create(Config.of(spec), {})
    code.write_text(EVIL.format(mark=str(mark)))
    done = CliRunner().invoke(build(), [command, str(run)])
    told = " ".join(done.output.split())
    assert done.exit_code == 2 and "--trust" in told and not mark.exists(), told
    assert f"executes {code}" in told
    CliRunner().invoke(build(), [command, str(run), "--trust"])
    assert mark.exists() or way == "module"


def test_code_of_ones_own_is_named_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    RunFolder(tmp_path / "run").create(Config.of("mine.py:X"), {})
    (tmp_path / "mine.py").write_text(EVIL.format(mark=str(tmp_path / "mark")))
    done = CliRunner().invoke(build(), ["resume", "run"])
    assert f"executes {tmp_path / 'mine.py'}" in done.output and (tmp_path / "mark").exists()


@pytest.mark.parametrize("way", ["fsmonitor", "filter", "process", "hook", "external"])
def test_git_runs_nothing_that_a_repository_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.chdir(tmp_path)
    person = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    git = lambda *words: subprocess.run(["git", *person, *words], check=True, capture_output=True)
    git("init", "-q")
    Path("a.txt").write_text("one\n")
    Path(".gitattributes").write_text("*.txt filter=evil diff=evil\n")
    git("add", ".")
    git("commit", "-qm", "x")
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path / 'mark'}\ncat\n")
    evil.chmod(0o755)
    settings = {
        "fsmonitor": ["core.fsmonitor", str(evil)],
        "filter": ["filter.evil.clean", str(evil)],
        "process": ["filter.evil.process", str(evil)],
        "hook": ["core.hooksPath", str(tmp_path)],
        "external": ["diff.evil.command", str(evil)],
    }
    (tmp_path / "post-index-change").symlink_to(evil)
    git("config", *settings[way])
    # As if it had been touched: git looks at what it holds.
    Path("a.txt").write_text("two\n")
    revision = git_revision()
    assert revision is not None and revision.endswith("-dirty") and len(revision) == 46
    assert not (tmp_path / "mark").exists()
    Path("a.txt").write_text("one\n")
    os.utime("a.txt", (1, 1))
    revision = git_revision()
    assert revision is not None and len(revision) == 40
    assert not (tmp_path / "mark").exists()
