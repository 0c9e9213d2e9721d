"""Checkpoints: what is written is read back, and nothing else is read."""

import errno
import io
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ocnet.run import (
    CheckpointError,
    Config,
    execute,
    Job,
    load_checkpoint,
    RunFolder,
    save_checkpoint,
)
from ocnet.run.folder import Table
from tests.support.blobs import Blobs


def test_every_kind_of_value_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    state = {
        "number": {3: [1, 2.5, -math.inf, True, None, "text"]},
        "tensors": [shared[:3], shared[1:], torch.tensor(7), torch.empty(0)],
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    save_checkpoint(tmp_path / "a.safetensors", state)
    back = load_checkpoint(tmp_path / "a.safetensors")
    assert back["number"] == state["number"]
    for there, here in zip(back["tensors"], state["tensors"], strict=True):
        torch.testing.assert_close(there, here, rtol=0, atol=0)
    assert back["half"].dtype == torch.bfloat16


def test_the_state_of_lbfgs_comes_back(tmp_path: Path) -> None:
    def after(steps: int, state: dict | None = None, x0: float = 3.0) -> tuple[list, dict]:
        x = torch.nn.Parameter(torch.tensor([x0, -1.0]))
        optimizer = torch.optim.LBFGS([x], lr=0.1, max_iter=3)
        if state is not None:
            x.data.copy_(state["x"])
            optimizer.load_state_dict(state["optimizer"])

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            cost = (x[0] ** 4 + 2 * (x[1] - x[0]) ** 2).sum()
            cost.backward()
            return cost

        for _ in range(steps):
            optimizer.step(closure)
        return x.tolist(), {"x": x, "optimizer": optimizer.state_dict()}

    unbroken, _ = after(6)
    _, state = after(3)
    save_checkpoint(tmp_path / "a", state)
    assert after(3, load_checkpoint(tmp_path / "a"))[0] == unbroken


def test_other_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not set"):
        save_checkpoint(tmp_path / "a", {"names": {"x"}})


class Crafted:
    """A pickle that would run code when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_crafted_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zipped = io.BytesIO()
    torch.save(Crafted(), zipped)
    for content in (pickle.dumps(Crafted()), zipped.getvalue(), b"", b"\0" * 100):
        Path("evil.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="evil.safetensors is not a whole"):
            load_checkpoint(Path("evil.safetensors"))
    assert not Path("ran").exists()


def test_a_part_of_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.ones(100)})
    content = path.read_bytes()
    for size in (4, 100, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load_checkpoint(path)


def test_a_file_of_another_program_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="is not a checkpoint of ocnet"):
        load_checkpoint(path)
    header = json.dumps({"format": 99, "state": None})
    save_file({"x": torch.ones(1)}, path, metadata={"ocnet": header})
    with pytest.raises(CheckpointError, match="checkpoint format 99, but this version reads 2"):
        load_checkpoint(path)
    for text in ("{", "[]", "{}", '{"format": 2, "sha256": "", "state": {"tensor": "5"}}'):
        save_file({"x": torch.ones(1)}, path, metadata={"ocnet": text})
        with pytest.raises(CheckpointError, match="a header that is not one of a checkpoint"):
            load_checkpoint(path)


def test_another_architecture_is_refused() -> None:
    config = Config.of("", iterations=1, device="cpu")
    state = Job(config, Blobs(width=4)).state_dict()
    with pytest.raises(CheckpointError, match=r"layers.0.0.bias of the control has shape \(4,\)"):
        Job(config, Blobs(width=5)).load_state_dict(state)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = RunFolder(tmp_path)
    folder.save(1, {"x": 1})

    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=r"000000002.safetensors could not be written: .* step 1"):
        folder.save(2, {"x": 2})
    assert folder.latest() == {"x": 1}
    assert [path.name for path in folder.checkpoints.iterdir()] == ["000000001.safetensors"]


FILL = """
import resource, signal, sys
from pathlib import Path
import torch
from ocnet.run import RunFolder

folder, large = RunFolder(Path(sys.argv[1])), torch.zeros(2**18)
folder.save(1, {"x": torch.ones(3)})
if sys.argv[2] == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
try:
    folder.save(2, {"x": large})
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("way", ["disk", "limit"])
def test_a_disk_that_is_really_full(tmp_path: Path, way: str) -> None:
    """The system itself refuses: on a disk of 256 kB, or beyond the largest size of a file."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    mounted = way == "disk" and run_quietly(mount) == 0
    if way == "disk" and not mounted:
        pytest.skip("mounting a file system is not allowed here")
    try:
        told = subprocess.run(
            [sys.executable, "-c", FILL, str(path), way],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        reason = os.strerror(errno.ENOSPC if way == "disk" else errno.EFBIG)
        assert f"000000002.safetensors could not be written: {reason}. The last good" in told
        assert "is of step 1." in told
        folder = RunFolder(path)
        torch.testing.assert_close(folder.latest()["x"], torch.ones(3, dtype=torch.float32))  # pyright: ignore
        assert [p.name for p in folder.checkpoints.iterdir()] == ["000000001.safetensors"]
    finally:
        if mounted:
            run_quietly(["umount", str(path)])


def test_a_disk_that_fills_up_while_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the tables: their rows stay in memory until a checkpoint puts them on the disk."""
    torch.set_default_dtype(torch.float32)
    genuine = Table.size

    def full(table: Table) -> int:
        if len(list(tmp_path.glob("checkpoints/*"))) == 2:
            table.file.close()
            table.file = open("/dev/full", "w")
            table.file.write("1")
        return genuine(table)

    monkeypatch.setattr(Table, "size", full)
    config = Config.of(
        "tests.support.blobs:Blobs", iterations=5, batch_size=8, device="cpu", checkpoint_every=0
    )
    line = "could not be written: No space left on device. The last good checkpoint is of step 2."
    with pytest.raises(OSError, match=line):
        execute(RunFolder(tmp_path), config, progress=False)
    monkeypatch.undo()
    result = execute(RunFolder(tmp_path), progress=False)
    assert result is not None and result["steps"] == 5


def run_quietly(command: list[str]) -> int:
    """The exit status of a command, 127 if there is no such command."""
    try:
        return subprocess.run(command, capture_output=True).returncode
    except FileNotFoundError:
        return 127


def test_old_checkpoints_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in range(5):
        folder.save(step, {"step": step})
    assert [path.stem for path in folder.saved()] == ["000000003", "000000004"]
    assert folder.latest() == {"step": 4}
