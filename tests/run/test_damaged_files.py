"""A run's folder in which a file is damaged: one line names the file and what it holds."""

import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ocnet.cli import build
from ocnet.run import Config, execute, RunFolder


SPEC = "problems.linear_quadratic:ScalarLQR"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps."""
    path = tmp_path_factory.mktemp("damaged") / "run"
    torch.set_default_dtype(torch.float32)
    config = Config.of(SPEC, iterations=2, batch_size=4, steps=4, device="cpu")
    execute(RunFolder(path), config, progress=False)
    return path


def config(rest: str) -> tuple[str, str]:
    """A configuration in which one value is wrong."""
    return "config.json", f'{{"problem": "a:B", {rest}}}'


DAMAGED: dict[str, tuple[str, str | bytes, str]] = {
    "no JSON": ("config.json", "{", "Expecting"),
    "a list": ("config.json", "[1]", "'[1]'"),
    "bytes": ("config.json", b"\xff\xfe", "0xff"),
    "rate": (*config('"lr": "fast"'), "lr must be a number, but got 'fast'"),
    "switch": (*config('"compile": 1'), "compile must be a bool, but got 1"),
    "seed": (*config('"seed": -1'), "seed=-1"),
    "unknown": (*config('"sead": 1'), "'sead'"),
    "settings": (*config('"settings": [3]'), "settings must be a str, but got 3"),
    "origin": ("provenance.json", "[1]", "'[1]'"),
    "word": ("metrics.csv", "step,cost\n0,abc\n", "row 0 must hold numbers, but holds 'abc'"),
    "columns": ("metrics.csv", "step,kost\n0,1\n", "'step,kost'"),
    "no text": ("metrics.csv", b"\xff\xfe\x00", "not text"),
    "validation": ("validation.csv", "step,cost\n0,1\n1,-\n", "row 1 must hold numbers"),
    "result": ("result.json", "[1]", "'[1]'"),
    "half a result": ("result.json", '{"iterations": 2}', "'steps'"),
}


@pytest.mark.parametrize("how", DAMAGED)
@pytest.mark.parametrize("command", ["report", "resume"])
def test_a_damaged_file_is_named(run: Path, tmp_path: Path, how: str, command: str) -> None:
    torch.set_default_dtype(torch.float32)
    name, content, said = DAMAGED[how]
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = CliRunner().invoke(build(), [command, str(copy)])
    told = " ".join(done.stderr.split())
    assert done.exit_code == 1 and "Traceback" not in told, told
    assert str(copy / name) in told and said in told, told
