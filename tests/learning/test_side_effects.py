"""What training and measuring change on their way is put back, also after an exception."""

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn, Tensor
from torch._dynamo import config as dynamo

from ocnet import Control, Euler, Layers, NonFiniteCost, Problem, resnet, Sample, training
from ocnet.analysis import compare
from ocnet.analysis.growth import monotone
from ocnet.learning import Engine, measure
from ocnet.learning.norms import SyncedNorm, synchronise
from ocnet.learning.regions import compiled_regions, RECOMPILES
from tests.support.blobs import Drawn


LIMIT = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the generation of machine code, which takes a minute."""
    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: plain(f, backend="eager"))
    monkeypatch.setattr(
        nn.Module,
        "compile",
        lambda m: setattr(m, "_compiled_call_impl", plain(m._call_impl, backend="eager")),
    )


def classical() -> tuple[Problem, Control]:
    problem = Drawn()
    return problem, problem.initial_control(5)


def layered() -> tuple[Problem, Control]:
    network = resnet(20, (4,), channels=1, size=8)
    return network.problem, network.control


def own_cost() -> tuple[Problem, Control]:
    """With a stage cost that was put on the object itself."""
    problem, control = classical()
    problem.stage_cost = lambda t, x, u, target: u.square().sum(-1)
    return problem, control


def state(problem: Problem, control: Control) -> tuple[object, ...]:
    """What compilation changes."""
    layers = list(control.layers) if isinstance(control, Layers) else []
    return (
        vars(problem).get("dynamics"),
        vars(problem).get("stage_cost"),
        [layer._compiled_call_impl for layer in layers],
        getattr(dynamo, LIMIT),
    )


def steps_of(problem: Problem, control: Control) -> Iterator[object]:
    images = isinstance(control, Layers)
    sample = Sample(torch.randn(3, 1, 8, 8), torch.arange(3)) if images else problem.sample(3)
    parameters = [p for p in control.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    n = 20 if images else 5
    return training(
        problem, control, Euler(n), optimizer, [sample] * 9, engine=Engine("cpu", compile=True)
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("make", [classical, own_cost])
@pytest.mark.parametrize("end", ["closed", "exhausted", "broken"])
def test_a_training_leaves_problem_and_compiler_as_they_were(
    make: Callable[[], tuple[Problem, Control]], end: str
) -> None:
    problem, control = make()
    before = state(problem, control)
    steps: Any = steps_of(problem, control)
    next(steps)
    assert state(problem, control) != before
    if end == "closed":
        steps.close()
    elif end == "exhausted":
        list(steps)
    else:
        with torch.no_grad():
            next(iter(control.parameters())).fill_(torch.nan)
        with pytest.raises(NonFiniteCost):
            next(steps)
    assert state(problem, control) == before
    copy.deepcopy(problem)


def test_compiled_layers_are_plain_ones_afterwards() -> None:
    problem, control = layered()
    before = state(problem, control)
    with pytest.raises(KeyError), compiled_regions(problem, control):
        assert isinstance(control, Layers)
        compiled = [vars(layer)["_compiled_call_impl"] for layer in control.layers]
        assert len(compiled) == 20 and None not in compiled
        assert getattr(dynamo, LIMIT) >= RECOMPILES
        raise KeyError
    assert state(problem, control) == before
    assert not any("_compiled_call_impl" in vars(part) for part in control.modules())


def test_a_limit_that_the_user_has_set_is_theirs_again() -> None:
    problem, control = layered()
    with dynamo.patch(**{LIMIT: 3}):  # pyright: ignore
        with compiled_regions(problem, control):
            assert getattr(dynamo, LIMIT) == RECOMPILES
        assert getattr(dynamo, LIMIT) == 3
    with dynamo.patch(**{LIMIT: 1000}):  # pyright: ignore
        with compiled_regions(problem, control):
            assert getattr(dynamo, LIMIT) == 1000


@pytest.mark.parametrize("theirs", [None, "2"])
def test_measuring_memory_leaves_the_environment_alone(
    monkeypatch: pytest.MonkeyPatch, theirs: str | None
) -> None:
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    if theirs is not None:
        monkeypatch.setenv("KINETO_LOG_LEVEL", theirs)
    problem, control = classical()
    compare(problem, control, [Euler(5)], memory=True, repeats=1, fine_steps=50)
    assert os.environ.get("KINETO_LOG_LEVEL") == theirs


def test_evaluation_mode_ends_with_an_exception() -> None:
    """Of a measure whose problem fails, and of a descent that is broken off."""

    class Fails(Drawn):
        def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
            assert not self.training
            raise KeyError("mine")

    problem = Fails()
    control = problem.initial_control(3)
    control.eval()
    with pytest.raises(KeyError):
        measure(problem, control, Euler(3), problem.sample(2))
    assert problem.training and not control.training

    network = resnet(2, (4,), channels=1, size=8)
    network.control.layers[1].eval()
    steps: Any = monotone(network, Sample(torch.randn(2, 1, 8, 8), torch.arange(2)))
    next(steps)
    assert not network.training
    steps.close()
    assert network.training and not network.control.layers[1].training
    assert network.control.layers[0].training


def test_synchronised_norms_are_modules_of_their_own() -> None:
    """With the parameters and the statistics of those that they replace, under every name."""
    norm = nn.BatchNorm2d(3, eps=1e-3, momentum=0.2)
    norm.running_mean = torch.randn(3)
    inner = nn.Sequential(nn.Conv2d(2, 3, 1), norm)
    module = nn.ModuleDict({"a": inner, "b": norm, "c": nn.ModuleList([nn.BatchNorm1d(2).eval()])})
    plain = copy.deepcopy(module)
    parameters = dict(module.named_parameters())
    synchronise(module, torch.device("cpu"))
    assert type(norm) is nn.BatchNorm2d
    made: Any = module["b"]
    assert isinstance(made, SyncedNorm) and inner[1] is made and made.momentum == 0.2
    assert made.eps == 1e-3 and made.training
    assert isinstance(module["c"][0], SyncedNorm) and not module["c"][0].training  # pyright: ignore
    assert {name: id(p) for name, p in module.named_parameters()} == {
        name: id(p) for name, p in parameters.items()
    }
    assert made.running_mean is norm.running_mean
    x = torch.randn(4, 2, 5, 5)
    torch.testing.assert_close(inner(x), plain["a"](x))
    torch.testing.assert_close(dict(module.named_buffers()), dict(plain.named_buffers()))
