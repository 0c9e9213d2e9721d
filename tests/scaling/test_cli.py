"""The commands write what they say and name what is wrong in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from examples.scaling_paper.__main__ import main
from ocnet.cli import build


def ocnet(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(), words)
    return result.exit_code, result.output


def test_a_figure_comes_with_its_data_and_its_provenance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["figure", "6", "--quick", "--out", str(tmp_path)]
    main(words)
    output = capsys.readouterr().out
    assert "figure-6-quick.png" in output and "inflate its variance" in output
    with np.load(tmp_path / "figure-6-quick.npz") as arrays:
        assert arrays["motion"].shape == (3, 200)
    record = json.loads((tmp_path / "figure-6-quick.json").read_text())
    assert record["study"].startswith("PathStudy") and "torch" in record["versions"]
    chunks = {file: file.stat().st_mtime_ns for file in (tmp_path / "chunks").iterdir()}
    main(words)
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
def test_the_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["limit", "--quick", "--out", str(tmp_path)])
    ode, sde = map(float, re.findall(r"error ~ L\*\*(\S+)", capsys.readouterr().out))
    assert -1.1 <= ode <= -0.9 and -0.65 <= sde <= -0.35
    assert (tmp_path / "limit.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("figure 10", "N must be one of 1 to 9, but got 10."),
        ("figure 9", "--data DIR must say where mnist is stored."),
        ("figure 9 --dataset cats", "--dataset must be one of digits"),
        ("figure 9 --quick --device abacus", "but got 'abacus'"),
        ("figure 9 --quick --data nowhere --dataset mnist", "MNIST is not in nowhere"),
    ],
)
def test_bad_input_of_a_figure_is_named(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*words.split(), "--out", str(tmp_path)])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_bad_input_is_named() -> None:
    code, output = ocnet("regime", "problems.depth_scaling:Res4")
    assert code != 0 and "no class 'Res4'" in " ".join(output.replace("│", " ").split())
