"""Wrong calls of the shell: each gets one clear line with the option or argument and its value."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ocnet.cli import build
from ocnet.run import Config, RunFolder


OWN = """
import torch
from ocnet import SupervisedProblem, Problem, Sample

class Decay(SupervisedProblem):
    state_shape = control_shape = (1,)
    depth = 4
    def __init__(self, weight: float = 1.0):
        super().__init__()
        if weight <= 0:
            raise ValueError(f"Must have weight > 0, but got {weight=}.")
    def dynamics(self, t, x, u):
        return -x + u
    def stage_cost(self, t, x, u, target):
        return x[..., 0] ** 2 + u[..., 0] ** 2
    def sample(self, batch_size, generator=None):
        return Sample(torch.ones(batch_size, 1))

class Misfit(Decay):
    def dynamics(self, t, x, u):
        return x @ torch.ones(3, 3)

class Late(Decay):
    def sample(self, batch_size, generator=None):
        return {}["nothing here"]

class Half:
    pass
"""

NUMBERS = {
    "train": {
        "--steps": ["0", "-3", "x", "1.5"],
        "--epochs": ["0", "-1", "two"],
        "--iterations": ["0", "-7", "1e3"],
        "--batch-size": ["0", "-8", "many"],
        "--lr": ["0", "-0.5", "nan", "inf", "fast"],
        "--weight-decay": ["-0.1", "nan", "inf", "none"],
        "--warmup": ["-1", "x"],
        "--gamma-warmup": ["-2", "0.5"],
        "--clip": ["0", "-1", "nan", "tight"],
        "--accumulate": ["0", "-4", "x"],
        "--ema": ["0", "1", "1.5", "nan", "x"],
        "--patience": ["0", "-1", "x"],
        "--evaluate-every": ["0", "x"],
        "--checkpoint-every": ["-1", "nan", "soon"],
        "--seed": ["-1", "x", "1e99"],
        "--depth": ["-1", "deep"],
        "--gamma": ["-1", "nan", "x"],
        "--optimizer": ["rmsprop", "Adam"],
        "--schedule": ["linear", ""],
        "--gamma-schedule": ["up"],
        "--precision": ["64", "fp8"],
        "--device": ["tpu", "cuda:99", "gpu"],
        "--data": ["no/such/folder"],
        "--set": ["weight", "=1", "a b=1"],
        "--solver": ["rk5", "Euler"],
        "--gradient": ["forward"],
    },
    "compare": {
        "--steps": ["0", "x"],
        "--methods": ["euler,rk5", "", "torchdiffeq:nope"],
        "--iterations": ["0", "-1", "x"],
        "--lr": ["0", "nan", "x"],
        "--batch-size": ["0", "x"],
        "--rtol": ["0", "-1e-3", "nan", "2", "x"],
        "--dtype": ["int8", "float16"],
        "--seed": ["-1", "x"],
        "--device": ["tpu9"],
        "--set": ["weight"],
    },
    "solve": {
        "--steps": ["0", "-1", "x"],
        "--solver": ["dopri5", "rk5"],
        "--method": ["newton", "ipopt"],
        "--device": ["abacus"],
        "--set": ["==", "weight"],
    },
    "regime": {
        "--steps": ["0", "x"],
        "--beta": ["nan", "inf", "x", "99"],
        "--draws": ["0", "-1", "x"],
        "--seed": ["-1"],
        "--depths": ["1", "x"],
        "--init": ["fbm", "fbm:2", "x"],
        "--set": ["x"],
    },
    "depth": {
        "--split": ["all", "Test"],
        "--batch-size": ["0", "-1", "x"],
        "--statistics": ["mine"],
    },
    "bounds": {"--split": ["val"], "--gamma": ["0", "-1", "inf", "nan", "x"]},
    "prune": {
        "--tolerance": ["-1", "nan", "101", "x"],
        "--tune": ["-1", "x"],
        "--criterion": ["x"],
        "--inside": ["-1", "x"],
        "--seed": ["-1", "x"],
    },
    "resume": {"--epochs": ["0", "-1", "x"], "--iterations": ["0", "x"]},
}
"""Wrong values of every option that takes one."""

SPECS = {
    "nonsense": "module:Class",
    "a:": "module:Class",
    ":B": "module:Class",
    "missing.py:Decay": "There is no file 'missing.py'",
    "nosuch.module:Class": "no module 'nosuch.module'",
    "problems.digits:Digit": "no class 'Digit'",
    "{own}:Half": "Half",
    "{own}:Nothing": "'Nothing'",
}
"""What does not name a problem."""

FLAGS = [
    ["train", "{own}:Decay", "--epochs", "2", "--iterations", "3"],
    ["train", "{own}:Decay", "--epochs=2"],
    ["train", "{own}:Decay", "--optimizer", "lbfgs", "--sharded"],
    ["train", "{own}:Decay", "--gamma-warmup", "2", "--capture"],
    ["train", "{own}:Decay", "--optimizer", "lbfgs", "--weight-decay", "0.5"],
    ["train", "{own}:Decay", "--schedule", "cosine", "--warmup", "9", "--iterations", "9"],
    ["train", "{own}:Decay", "--compiled"],
    ["train", "{own}:Decay", "--channels-last=3"],
    ["train", "{own}:Decay", "--sync-norms=2"],
    ["train", "{own}:Decay", "--tensorboard=x"],
    ["train", "{own}:Decay", "--set", "weight=-1"],
    ["train", "{own}:Decay", "--set", "wait=1"],
    ["train", "{own}:Decay", "--set", "weight=1", "--set", "weight=2"],
    ["compare", "{own}:Decay", "--open"],
    ["compare", "{own}:Decay", "--memory=2"],
    ["compare", "{run}", "--trust=1"],
    ["compare", "{own}:Decay", "--set", "weight=-1"],
    ["solve", "{own}:Decay", "--certificate"],
    ["solve", "{own}:Decay", "--no-certify=1"],
    ["resume", "{run}", "--epochs", "2", "--iterations", "3"],
    ["resume", "{run}", "--accept-changes=1"],
    ["resume", "{run}", "--trust=1"],
    ["report", "{run}"],
    ["report", "{run}", "{run}"],
    ["depth", "{run}", "{run}"],
    ["problems", "nosuchpackage"],
    ["nosuchcommand"],
]
"""Options that do not go together, that there are not, or that take no value."""


def ocnet(*words: str) -> tuple[int, str]:
    torch.set_default_dtype(torch.float32)
    done = CliRunner().invoke(build(), list(words))
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())
    assert "Traceback" not in done.output
    return done.exit_code, text


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A file with problems, a run that has not begun, a folder with a file in it."""
    root = tmp_path_factory.mktemp("wrong")
    (root / "own.py").write_text(OWN)
    RunFolder(root / "run").create(Config.of("problems.images:Digits", ["depth=2"]), {})
    (root / "full").mkdir()
    (root / "full" / "something").write_text("")
    return {name: str(root / name) for name in ("run", "full", "new")} | {
        "own": str(root / "own.py")
    }


TAKES = {"depth": "{run}", "bounds": "{run}", "prune": "{run}", "resume": "{run}"}
VALUES = [(c, o, v) for c, options in NUMBERS.items() for o, vs in options.items() for v in vs]


@pytest.mark.parametrize("command, option, value", VALUES)
def test_a_wrong_value_is_named(
    places: dict[str, str], command: str, option: str, value: str
) -> None:
    first = TAKES.get(command, "{own}:Decay").format(**places)
    code, text = ocnet(command, first, f"{option}={value}")
    said = text.partition("Error: ")[2]
    assert code == 2, text
    assert option in said or option.strip("-").replace("-", "_") in said, text
    shown = {value, repr(value)}
    try:
        shown.add(str(float(value)))
    except ValueError:
        pass
    assert any(one in said for one in shown), text


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("command", ["train", "compare", "solve", "regime"])
def test_a_wrong_spec_is_named(places: dict[str, str], command: str, spec: str) -> None:
    code, text = ocnet(command, spec.format(**places))
    assert code == 2 and SPECS[spec] in text, text
    place, _, name = spec.format(**places).rpartition(":")
    assert (name or place) in text or place in text
    assert "SPEC" in text, text


@pytest.mark.parametrize("words", FLAGS, ids=" ".join)
def test_what_does_not_go_together_is_named(places: dict[str, str], words: list[str]) -> None:
    code, text = ocnet(*[word.format(**places) for word in words])
    said = text.partition("Error: ")[2]
    assert code == 2, text
    last = words[-1].format(**places)
    names = {last, last.partition("=")[0], last.strip("-").partition("=")[0].replace("-", "_")}
    assert any(name in said for name in names), text


@pytest.mark.parametrize(
    "command", ["train", "compare", "solve", "regime", "depth", "bounds", "prune"]
)
def test_a_folder_that_is_not_usable_is_named_first(places: dict[str, str], command: str) -> None:
    """Full, a file, below a file, and where nobody may write: before the problem is looked at."""
    first = TAKES.get(command, "{own}:Late").format(**places)
    for out in (places["full"], places["own"], f"{places['own']}/below", "/proc/nowhere"):
        code, text = ocnet(command, first, "--out", out)
        assert code == 2 and "--out" in text and out in text, text


@pytest.mark.parametrize("command", ["resume", "report", "depth", "bounds", "prune"])
def test_a_folder_that_is_not_a_run_is_named(places: dict[str, str], command: str) -> None:
    for run in (places["full"], places["new"], places["own"]):
        code, text = ocnet(command, run)
        assert code == 2 and "RUN" in text and run in text, text


@pytest.mark.parametrize("command", ["train", "compare", "solve", "regime"])
def test_an_error_in_the_users_code_names_their_line(
    places: dict[str, str], command: str, tmp_path: Path
) -> None:
    for kind, line in (("Misfit", "x @ torch.ones(3, 3)"), ("Late", 'return {}["nothing here"]')):
        code, text = ocnet(command, f"{places['own']}:{kind}")
        assert code in (1, 2), text
        assert f"own.py:{1 + OWN[: OWN.index(line)].count(chr(10))}" in text, text
        assert line in text or command == "solve", text


def test_every_option_of_every_command_is_called_wrongly() -> None:
    """What takes a value is in the tables above; options such as `--trust` take none."""
    import typer.main

    application = typer.main.get_command(build())
    called = {o for w in FLAGS for word in w if (o := word.partition("=")[0]).startswith("--")}
    for name, command in application.commands.items():  # pyright: ignore
        for parameter in command.params:
            if parameter.param_type_name != "option" or parameter.name in ("help", "out"):
                continue
            options = set(parameter.opts) | set(parameter.secondary_opts)
            wrong = set(NUMBERS.get(name, {})) | called
            bare = {"--compile", "--trust", "--no-certify", "--compare"}
            assert options & (wrong | bare), (name, options)
    assert len(VALUES) + 4 * len(SPECS) + len(FLAGS) + 4 * 7 + 3 * 5 >= 150


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, code, message",
    [
        (["train", "problems.digits:Digits", "--lr", "-1"], 2, "--lr"),
        (["solve", "nosuch:Problem"], 2, "nosuch"),
        (["resume", "nowhere"], 2, "nowhere"),
    ],
)
def test_a_wrong_call_in_a_process_of_its_own(words: list[str], code: int, message: str) -> None:
    command = [sys.executable, "-m", "ocnet", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
