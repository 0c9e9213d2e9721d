"""Every example runs in its quick size, and writes nowhere but to its folder."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.stem != "__init__")
PAPERS = [("scaling_paper", "figure", "1", "--quick"), ("scaling_paper", "limit", "--quick")]


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    quick = ["--quick"] if "--quick" in path.read_text() else []
    check_runs([path.stem, *quick], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("words", PAPERS, ids=" ".join)
def test_paper_runs(words: tuple[str, ...], tmp_path: Path) -> None:
    check_runs(words, tmp_path)


def check_runs(words: Sequence[str], folder: Path) -> None:
    """Runs an example in a folder of its own, and looks at what it leaves there."""
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{words[0]}", *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert {written.name for written in folder.iterdir()} <= {"runs"}
