"""The shell's words: each means an object, in one place, and saved configurations keep theirs."""

import ast
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ocnet import Adjoint, Backprop, Checkpoint, Costate, Euler, init, Reversible, TorchDiffEq
from ocnet.catalogue import load_problem, parse_setting
from ocnet.networks import CrossEntropy, SquaredError
from ocnet.registry import GRADIENTS, named_solver, OPTIMIZERS, SCHEDULES, SOLVERS, STEPS
from ocnet.run import Config


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "word, gradient, expected",
    [
        ("euler", "backprop", "Euler(4)"),
        ("rk4", "checkpoint", "RK4(4, gradient=Checkpoint())"),
        ("heun", "costate", "Heun(4, gradient=Costate())"),
        ("rk38", "reversible", "Reversible(RK38(4))"),
        ("midpoint", "adjoint", "torchdiffeq midpoint(4, gradient=Adjoint())"),
        ("torchdiffeq:euler", "backprop", "torchdiffeq euler(4)"),
        ("torchdiffeq:rk4", "adjoint", "torchdiffeq rk4(4, gradient=Adjoint())"),
    ],
)
def test_a_word_means_an_object(word: str, gradient: str, expected: str) -> None:
    found = named_solver(word, 4, gradient)
    assert repr(found) == expected and found.n == 4
    saved = Config.of("problems.nonlinear:VanDerPol", solver=word, gradient=gradient, steps=4)
    assert repr(Config.from_json(saved.to_json()).discretisation.make(9)) == expected


def test_objects_read_as_they_are_written() -> None:
    for solver in (
        Euler(4, gradient=Costate(compile=True)),
        Euler(4, gradient=Checkpoint()),
        Reversible(Euler(4)),
    ):
        names = {k.__name__: k for k in (Euler, Costate, Checkpoint, Reversible)}
        again = eval(repr(solver), names)
        assert repr(again) == repr(solver) and again.gradient == solver.gradient
    assert Costate() == Costate() != Costate(compile=True) and Backprop() != Adjoint()
    assert TorchDiffEq(gradient=Adjoint()).with_gradient(Backprop()).gradient == Backprop()


def test_a_configuration_of_an_earlier_version_still_loads() -> None:
    """One that named every word, as files on disk do."""
    for gradient in ("backprop", "checkpoint", "costate", "reversible"):
        text = json.dumps({"problem": "a:B", "solver": "euler", "gradient": gradient})
        found = Config.from_json(text).discretisation.make(3)
        assert found.n == 3
        assert {"reversible": "Reversible"}.get(gradient, gradient.title()) in repr(
            found
        ) or gradient == "backprop"


@pytest.mark.parametrize(
    "word, gradient, said",
    [
        ("rk5", "backprop", "solver must be one of euler, heun, rk4, rk38, .*'rk5'"),
        ("euler", "magic", "gradient must be one of backprop, .*'magic'"),
        ("euler", "adjoint", r"but got Adjoint\(\)"),
        ("dopri5", "costate", r"but got Costate\(\)"),
        ("dopri5", "reversible", "ExplicitRungeKutta, but got torchdiffeq dopri5"),
    ],
)
def test_words_that_do_not_fit_say_so_in_one_line(word: str, gradient: str, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        named_solver(word, 4, gradient)
    assert "\n" not in str(caught.value)


def test_optimisers_and_schedules() -> None:
    weights = [nn.Parameter(torch.ones(2))]
    kinds = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "lbfgs": "LBFGS"}
    assert {*OPTIMIZERS} == {*kinds}
    for word, kind in kinds.items():
        made = OPTIMIZERS[word].make([{"params": weights, "lr": 7.0}], 0.5)
        assert type(made).__name__ == kind
        # A group's own rate makes up for a factor of its gradient, which only SGD feels.
        assert made.param_groups[0]["lr"] == (7.0 if word == "sgd" else 0.5)
    for word, ends in (("constant", 1.0), ("cosine", 0.0), ("step", 0.01)):
        schedule = SCHEDULES[word](100, 0)
        assert schedule(99) == pytest.approx(ends, abs=1e-3)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a=FractionalNoise(0.8)", init.FractionalNoise(0.8)),
        ("a=SmoothValues(kernel=RBF(0.2))", init.SmoothValues(kernel=init.RBF(0.2))),
        ("a=Iid(distribution='gaussian')", init.Iid(distribution="gaussian")),
        ("a=CrossEntropy(smoothing=0.1)", CrossEntropy(smoothing=0.1)),
        ("a=SquaredError()", SquaredError()),
        ("a=(1, 2)", (1, 2)),
        ("a=cosine(0.1)", "cosine(0.1)"),
        ("a=runs/a(1)", "runs/a(1)"),
        ("a=FractionalNoise", "FractionalNoise"),
        ("a=os.system('x')", "os.system('x')"),
    ],
)
def test_a_setting_may_be_an_initialisation_or_a_loss(text: str, expected: object) -> None:
    assert parse_setting(text) == ("a", expected)


@pytest.mark.parametrize(
    "text, said",
    [
        ("kind=FractionalNoise(x)", "'x' must be a number, a text or one of Iid"),
        ("kind=FractionalNoise(open('x'))", "must be a number, a text or one of Iid"),
        ("kind=FractionalNoise(1.5)", "0 < H < 1, but got H=1.5"),
        ("kind=Spline(n_knots=1)", "n_knots"),
        ("kind=Iid(shape=3)", "Iid: .*shape"),
        ("kind=Spline(**{})", "must be a number, a text"),
    ],
)
def test_what_it_does_not_take_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        parse_setting(text)
    assert "\n" not in str(caught.value)


def test_an_initialisation_goes_from_the_shell_to_the_weights() -> None:
    settings = ["n_layers=8", "kind=Repeated()"]
    problem = load_problem("problems.depth_scaling:Res3", settings)
    control = problem.initial_control(8, torch.Generator().manual_seed(0))
    (path,) = control.parameters()
    torch.testing.assert_close(path, path[:1].expand_as(path))


def test_no_word_picks_an_algorithm_inside_the_library() -> None:
    """The words of solvers and gradients stand in the registry, and as defaults of the shell."""
    words = {*GRADIENTS, *STEPS} - {"adam"}
    places = {"registry.py", "config.py", "memory.py", "ode.py", "path.py", "train.py", "solve.py"}
    found = []
    for path in (ROOT / "ocnet").rglob("*.py"):
        if path.name in places:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(
                isinstance(side, ast.Constant) and side.value in words
                for side in (node.left, *node.comparators)
            ):
                found.append(f"{path.name}:{node.lineno}")
    assert not found
    assert "dopri5" in SOLVERS
