"""Seven walks through the package: `python -m tests.walks [CHECKOUT ...]`, one column for each.

A walk is what lies between a user's call and the place where the value that was given arrives: the
files of ocnet on the stack when it was last reached, in order. How many files a reader opens who
follows the value is what counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate


START = """
import json, sys, traceback
from pathlib import Path
import torch
import ocnet
from ocnet import Euler, PiecewiseConstant, Problem, Sample, TorchDiffEq
try:
    from ocnet import compare, solve, train
except ImportError:
    from ocnet import solve, train
    from ocnet.analysis.compare import compare
torch.set_default_dtype(torch.float64)
HOME, STACK = Path(ocnet.__file__).parent, []

def arrived():
    files = (Path(frame.filename) for frame in traceback.extract_stack())
    inside = [str(file.relative_to(HOME)) for file in files if file.is_relative_to(HOME)]
    STACK[:] = list(dict.fromkeys(inside))

class Plain(Problem):
    state_shape, control_shape, t1 = (1,), (1,), 1.0

    def dynamics(self, t, x, u):
        if WATCHED == "dynamics": arrived()
        return u - x

    def stage_cost(self, t, x, u, target):
        return (u**2).sum(-1) + (x**2).sum(-1)

    def sample(self, batch_size, generator=None):
        return Sample(torch.ones(batch_size, 1))

class Held(Plain):
    def path_constraint(self, t, x, u):
        if WATCHED == "path": arrived()
        return x - 2

def control(n=4):
    return PiecewiseConstant(0.0, 1.0, n, 1)

def shell(*words):
    from typer.testing import CliRunner
    from typer.main import get_command
    import ocnet.cli as cli
    app = getattr(cli, "app", None) or cli.build()
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, (result.output, result.exception)

def trained(problem, n_steps=2):
    u = control()
    optimizer = torch.optim.SGD(u.parameters(), lr=0.1)
    train(problem, u, Euler(4), optimizer, n_steps=n_steps, batch_size=2, progress=False)
"""

WALKS = {
    "an initial state through `train`": ("dynamics", "trained(Plain())"),
    "a control value to the dynamics, `Euler`": (
        "dynamics", "Euler(4).solve(Plain(), control(), torch.ones(2, 1))"
    ),
    "a control value to the dynamics, `TorchDiffEq`": (
        "dynamics", "TorchDiffEq().solve(Plain(), control(), torch.ones(2, 1))"
    ),
    "a control value to the dynamics, `solve`": (
        "dynamics", "solve(Plain(), solver=Euler(4), compile=False)"
    ),
    "gamma from the shell to the loss": (
        "loss",
        """
import torch.nn.functional as F
plain = F.cross_entropy
def watched(*args, **how):
    arrived()
    return plain(*args, **how)
F.cross_entropy = watched
torch.nn.functional.cross_entropy = watched
for module in list(sys.modules.values()):
    if getattr(module, "cross_entropy", None) is plain: module.cross_entropy = watched
shell("train", "problems.images:Digits", "--depth", "3", "--gamma", "0.1", "--iterations", "1",
      "--set", "widths=(8,)", "--out", OUT)
""",
    ),
    "`n` of `Euler(n)` in `compare`": (
        "dynamics", "compare(Plain(), control(), [Euler(4)])"
    ),
    "an image batch with stage cost to the gradient": (
        "loss",
        """
def loss(logits, labels):
    arrived()
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
network = ocnet.resnet(2, (8,), channels=1, size=8, classes=3, gamma=0.1, loss=loss)
optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
batches = [Sample(torch.randn(4, 1, 8, 8), torch.randint(3, (4,)))]
next(iter(ocnet.training(network.problem, network.control, network.solver, optimizer, batches)))
""",
    ),
    "a Hurst index to the weights": (
        "draw",
        """
from ocnet.init import FractionalNoise
plain = FractionalNoise.draw
def draw(self, *args, **how):
    arrived()
    return plain(self, *args, **how)
FractionalNoise.draw = draw
path = torch.empty(8, 3, 3)
ocnet.init.fbm_(path, 0.8)
""",
    ),
    "a path constraint through `solve`, compiled": (
        "path", "solve(Held(), solver=Euler(4), compile=True)"
    ),
    "a path constraint through `solve`, by torch": (
        "path", "solve(Held(), solver=Euler(4), compile=False)"
    ),
}  # fmt: skip


def walk(checkout: Path, name: str) -> list[str] | str:
    """The files of one walk in a checkout, or the last line of what went wrong."""
    watched, code = WALKS[name]
    with tempfile.TemporaryDirectory() as folder:
        head = f"WATCHED, OUT = {watched!r}, {folder + '/out'!r}\n"
        script = head + START + code + "\nprint(json.dumps(STACK))\n"
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OCNET_CACHE": folder + "/cache"}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=checkout, env=environment, capture_output=True,
            text=True,
        )  # fmt: skip
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Prints the walks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[Path()])
    options = parser.parse_args()
    rows = []
    for name in WALKS:
        found = [walk(path.resolve(), name) for path in options.checkouts]
        shown = [one if isinstance(one, str) else f"{len(one)}: {' > '.join(one)}" for one in found]
        rows.append([name, *shown])
    headers = ["", *map(str, options.checkouts)]
    print(tabulate(rows, headers, tablefmt="github"))


if __name__ == "__main__":
    main()
