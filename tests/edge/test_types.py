"""The types of what is public are known to type checkers, without a guess of theirs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


OPTIONS = ("--verifytypes", "ocnet", "--ignoreexternal", "--outputjson")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_public_type_is_known() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *OPTIONS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    unknown = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in report["symbols"]
        for diagnostic in symbol["diagnostics"]
        if "docstring" not in diagnostic["message"]
    ]
    assert not unknown[:20]
    assert report["completenessScore"] == 1.0
