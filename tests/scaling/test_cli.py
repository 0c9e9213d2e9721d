"""The commands write what they say and name what is wrong in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ocnet.cli import build


def ocnet(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(), words)
    return result.exit_code, result.output


def test_a_figure_comes_with_its_data_and_its_provenance(tmp_path: Path) -> None:
    code, output = ocnet("scaling", "figure", "6", "--quick", "--out", str(tmp_path))
    assert code == 0 and "figure-6-quick.png" in output and "inflate its variance" in output
    with np.load(tmp_path / "figure-6-quick.npz") as arrays:
        assert arrays["motion"].shape == (3, 200)
    record = json.loads((tmp_path / "figure-6-quick.json").read_text())
    assert record["study"].startswith("PathStudy") and "torch" in record["versions"]
    chunks = {file: file.stat().st_mtime_ns for file in (tmp_path / "chunks").iterdir()}
    assert ocnet("scaling", "figure", "6", "--quick", "--out", str(tmp_path))[0] == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "chunks").iterdir()} == chunks


def test_the_regime_of_a_problem(tmp_path: Path) -> None:
    code, output = ocnet(
        "regime", "problems.depth_scaling:Res3", "--set", "n_layers=16", "--set", "beta=0.5",
        "--set", "d=12", "--draws", "1", "--out", str(tmp_path / "new"),
    )  # fmt: skip
    assert code == 0 and output.startswith("regime: SDE")
    assert (tmp_path / "new" / "regime.png").exists()
    code, output = ocnet("regime", "problems.depth_scaling:Res3", "--out", str(tmp_path))
    assert code != 0 and "not empty" in output


@pytest.mark.slow
def test_the_limits(tmp_path: Path) -> None:
    code, output = ocnet("scaling", "limit", "--quick", "--out", str(tmp_path))
    ode, sde = (float(slope) for slope in re.findall(r"error ~ L\*\*(\S+)", output))
    assert code == 0 and -1.1 <= ode <= -0.9 and -0.65 <= sde <= -0.35
    assert (tmp_path / "limit.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scaling", "figure", "10"), "N must be one of 1 to 9, but got 10."),
        (("scaling", "figure", "9"), "--data DIR must say where mnist is stored."),
        (("scaling", "figure", "9", "--dataset", "cats"), "--dataset must be one of digits"),
        (("scaling", "figure", "9", "--quick", "--device", "abacus"), "but got 'abacus'"),
        (
            ("scaling", "figure", "9", "--quick", "--data", "nowhere", "--dataset", "mnist"),
            "MNIST is not in nowhere",
        ),
        (("regime", "problems.depth_scaling:Res4"), "no class 'Res4'"),
    ],
)
def test_bad_input_is_named(words: tuple[str, ...], message: str) -> None:
    code, output = ocnet(*words)
    assert code != 0 and message in " ".join(output.replace("│", " ").split())
