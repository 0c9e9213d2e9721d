"""`python -m tests.support.step_memory FILE`: what was predicted for a step, and what it took."""

import gc
import json
import sys
from pathlib import Path

from ocnet import training
from ocnet.analysis.memory import expected_memory, peak
from ocnet.run import Config, Job
from tests.support.blobs import Blobs


def status(name: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def one_step(path: Path) -> None:
    """Writes what was predicted for a step, and by how much the process grew in it."""
    config = Config.of("", steps=60, batch_size=2000, device="cpu")
    built = Job(config, Blobs(n=2000, width=128))
    peak(built, built.solver, 2)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of what went before
    before = status("VmRSS")
    built.problem.train()
    steps = training(built.problem, built.control, built.solver, built.optimizer, built.batches)
    next(steps)
    grown = status("VmHWM") - before
    memory = expected_memory(built)
    path.write_text(json.dumps([memory.total - memory.gradients, grown]))


if __name__ == "__main__":
    one_step(Path(sys.argv[1]))
