"""Wrong calls of every public function outside `ocnet` itself: one line with name and value."""

import functools
import importlib
import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, Tensor

import ocnet
from ocnet import Batch, Euler, PiecewiseConstant, Problem, RK4, Sample, Tableau, testing
from ocnet.analysis import bounds, depth, early_exit, growth as grow, measurement, pruning
from tests.support.plain import changed, loose, Plain


init: Any = importlib.import_module("ocnet.init")
nets: Any = importlib.import_module("ocnet.networks")
learning: Any = importlib.import_module("ocnet.learning")
direct: Any = importlib.import_module("ocnet.direct")
runs: Any = importlib.import_module("ocnet.run")
scaling: Any = importlib.import_module("ocnet.scaling")

plot: Any = importlib.import_module("ocnet.plot")
analysis: Any = importlib.import_module("ocnet.analysis")

PATH = torch.zeros(8, 3)
IID = init.Iid()
X0 = Sample(torch.zeros(4, 2))
IMAGES = Sample(torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
LOGITS, LABELS = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
SOLVERS = (Euler(4), ocnet.RK38(4))
HERE = Path(__file__).parent


class Costly(Plain):
    """`Plain` with the cost `|u|^2 + |x|^2`."""

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1) + (x**2).sum(-1)


@functools.cache
def net() -> Any:
    """A small network with statistics."""
    torch.manual_seed(0)
    network = nets.resnet(blocks=(1, 1), widths=(8, 8), channels=1, size=8, classes=3)
    nets.collect_statistics(network, [torch.rand(8, 1, 8, 8)])
    return network


def control() -> PiecewiseConstant:
    return PiecewiseConstant(0, 1, 4, 2)


def measured(**options: Any) -> Any:
    """A measurement in which one thing is wrong."""
    arguments = {"problem": Costly(), "control": control(), "solver": Euler(4), "sample": X0}
    return learning.measure(**{**arguments, **options})


def step(problem: Any = None, batches: Any = (X0,), **options: Any) -> Any:
    """A step of training in which one thing is wrong."""
    u = control()
    optimizer = torch.optim.SGD(u.parameters(), lr=0.1)
    problem = Costly() if problem is None else problem
    return next(learning.training(problem, u, Euler(4), optimizer, batches, **options))


def evaluated(problem: Any = None, solver: Any = None, sample: Any = X0) -> Any:
    """A cost in which one thing is wrong."""
    problem = Costly() if problem is None else problem
    return ocnet.evaluate(problem, control(), Euler(4) if solver is None else solver, sample)


def compared(problem: Any = None, u: Any = None, solvers: Any = SOLVERS, **options: Any) -> Any:
    """A comparison in which one thing is wrong."""
    problem = Costly() if problem is None else problem
    return measurement.compare(problem, control() if u is None else u, solvers, **options)


def config(**options: Any) -> Any:
    """A configuration in which one thing is wrong."""
    return runs.Config.of(**{"problem": "problems.lqr:LQR", **options})


def limits(
    problem: Any = None, u: Any = None, x0: Any = X0.x0, depths: Any = (2, 4), reference: Any = None
) -> Any:
    """An ODE limit in which one thing is wrong."""
    problem, u = Plain() if problem is None else problem, control() if u is None else u
    return scaling.ode_limit(problem, u, x0, depths, reference)


def spread(betas: Any = (0.5,), network: Any = None, **options: Any) -> Any:
    """A measurement of random networks in which one thing is wrong."""
    network = scaling.Res1(8) if network is None else network
    return scaling.measure(network, betas, **{"repeats": 2, **options})


def propagated(function: Any, network: Any, **options: Any) -> Any:
    """Propagation in which the network is wrong."""
    zeros = torch.zeros(1, 3)
    return function(network, torch.zeros(8, 3, 3), zeros, zeros, 0.5, **options)


def batch(problem: Any = None, x0: Any = X0.x0, target: Any = None, parameters: Any = None) -> Any:
    """A solve of a batch in which one thing is wrong."""
    problem = Costly() if problem is None else problem
    return ocnet.solve(Batch(problem, x0, target, {} if parameters is None else parameters))


Case = tuple[Callable[[], Any], str, str]

INIT: list[Case] = [
    (lambda: init.parse_kind("fbn:0.8"), "initialisation", "'fbn:0.8'"),
    (lambda: init.fbm_(PATH, 1.5), "H", "1.5"),
    (lambda: init.fbm_(PATH, "x"), "H", "'x'"),
    (lambda: init.fbm_(PATH, math.nan), "H", "nan"),
    (lambda: init.fbm_(PATH, 0.5, std=-1), "std", "-1"),
    (lambda: init.fbm_(PATH, 0.5, generator=3), "generator", "3"),
    (lambda: init.fbm_([1.5, 2], 0.5), "path", r"\[1.5, 2\]"),
    (lambda: init.fbm_(PATH.long(), 0.5), "path", "int64"),
    (lambda: init.iid_(PATH[0], 0.5), "path", r"\(3,\)"),
    (lambda: init.iid_(PATH, distribution="cauchy"), "distribution", "'cauchy'"),
    (lambda: init.iid_(PATH, generator="g"), "generator", "'g'"),
    (lambda: init.repeated_(PATH, std=math.inf), "std", "inf"),
    (lambda: init.smooth_(PATH, kernel=3), "kernel", "3"),
    (lambda: init.smooth_(PATH, of="slopes"), "of", "'slopes'"),
    (lambda: init.smooth_(None), "path", "None"),
    (lambda: init.spline_(PATH, 2), "n_knots", "2"),
    (lambda: init.spline_(PATH, std="a"), "std", "'a'"),
    (lambda: init.fill_(PATH, "fbm"), "kind", "'fbm'"),
    (lambda: init.Matern("x"), "length_scale", "'x'"),
    (lambda: init.Matern(0.1, nu=-1), "nu", "-1"),
    (lambda: init.RBF(-1), "length_scale", "-1"),
    (lambda: init.OrnsteinUhlenbeck(None), "length_scale", "None"),
    (lambda: init.FractionalNoise(2), "H", "2"),
    (lambda: init.Iid("cauchy"), "distribution", "'cauchy'"),
    (lambda: init.SmoothIncrements(5), "kernel", "5"),
    (lambda: init.SmoothValues(lambda r: 2 + 0 * r), "kernel", "2.0"),
    (lambda: init.Spline("n"), "n_knots", "'n'"),
    (lambda: init.fill_(PATH, init.Repeated(), std=[1]), "std", r"\[1\]"),
]

NETWORKS: list[Case] = [
    (lambda: nets.resnet(depth="deep"), "depth", "'deep'"),
    (lambda: nets.resnet(depth=7), "depth", "7"),
    (lambda: nets.resnet(widths=()), "widths", r"\(\)"),
    (lambda: nets.resnet(widths=16), "widths", "16"),
    (lambda: nets.resnet(widths=(16, -1, 64)), "widths", "-1"),
    (lambda: nets.resnet(blocks=3), "blocks", "3"),
    (lambda: nets.resnet(channels=0), "channels", "0"),
    (lambda: nets.resnet(size=(32, 32, 9)), "size", r"\(32, 32, 9\)"),
    (lambda: nets.resnet(size=2.5), "size", "2.5"),
    (lambda: nets.resnet(classes=1), "classes", "1"),
    (lambda: nets.resnet(heads="both"), "heads", "'both'"),
    (lambda: nets.resnet(loss=3), "loss", "3"),
    (lambda: nets.resnet(gamma=-1), "gamma", "-1"),
    (lambda: nets.resnet(gamma="g"), "gamma", "'g'"),
    (lambda: nets.resnet(generator=5), "generator", "5"),
    (lambda: nets.homogeneous(width=0), "widths", "0"),
    (lambda: nets.ResNet(3, control()), "problem", "3"),
    (lambda: nets.ResNet(net().problem, control()), "control", "PiecewiseConstant"),
    (lambda: nets.Architecture((1,), (4, 4)), "widths", r"\(4, 4\)"),
    (lambda: nets.Architecture((-1,), (4,)), "blocks", "-1"),
    (lambda: nets.stages(6, 0), "n", "0"),
    (lambda: nets.layers(3), "architecture", "3"),
    (lambda: nets.parts("small"), "architecture", "'small'"),
    (lambda: nets.Classifier(3, state_shape=(2,)), "parts", "3"),
    (lambda: nets.CrossEntropy(smoothing=1.5), "smoothing", "1.5"),
    (lambda: nets.CrossEntropy(smoothing="x"), "smoothing", "'x'"),
    (lambda: nets.CrossEntropy()(LOGITS, None), "labels", "None"),
    (lambda: nets.CrossEntropy()(LOGITS, LABELS + 1), "labels", "3"),
    (lambda: nets.CrossEntropy()(LOGITS, 0 * LABELS - 100), "labels", "-100"),
    (lambda: nets.CrossEntropy()(LOGITS, LABELS / 4), "labels", "0.25"),
    (lambda: nets.CrossEntropy()(LOGITS, LABELS[:3]), "labels", r"\(3,\)"),
    (lambda: nets.CrossEntropy()("x", LABELS), "logits", "'x'"),
    (lambda: nets.SquaredError()(LOGITS, LOGITS[:, :2]), "labels", r"\(4, 2\)"),
    (lambda: nets.SquaredError()(LOGITS, LOGITS[:1]), "labels", r"\(1, 3\)"),
    (lambda: nets.SquaredError()(LOGITS, LABELS - 1), "labels", "-1"),
    (lambda: nets.accuracy(LOGITS, LABELS[:2]), "target", r"\(2,\)"),
    (lambda: nets.accuracy(LOGITS, LABELS + 5), "labels", "7"),
    (lambda: nets.accuracy(LOGITS[:1], LABELS[:1] + 4), "labels", "4"),
    (lambda: nets.accuracy(LOGITS, [0, 1, 2, 0]), "target", r"\[0, 1, 2, 0\]"),
    (lambda: nets.wrap(3, torch.zeros(2, 3)), "network", "3"),
    (lambda: nets.wrap(nn.Linear(3, 3), torch.zeros(2, 3)), "wrap", "Linear"),
    (lambda: nets.wrap(nn.Linear(3, 3), (3, 32, 32)), "example_input", r"\(3, 32, 32\)"),
    (lambda: nets.wrap([nn.Identity()], LOGITS, head=nn.Identity()), "embedding", "None"),
    (lambda: nets.wrap([], torch.zeros(2, 2), head="head"), "head", "'head'"),
    (lambda: nets.original(3), "made by wrap", "original"),
    (lambda: nets.borrow_statistics(3), "network", "3"),
    (lambda: nets.attach_probes(3, []), "network", "3"),
    (lambda: nets.attach_probes(net(), [nn.Identity()]), "probes", "1"),
    (lambda: nets.attach_probes(net(), 3), "probes", "3"),
    (lambda: nets.load_network(3), "path", "3"),
    (lambda: nets.load_network(Path(__file__)), "test_wrong_calls_of_packages.py", "no network"),
    (lambda: nets.load_network("no/such/file"), "No such file", "no/such/file"),
    (lambda: nets.save_network(3, "x"), "network", "3"),
    (lambda: nets.save_network(net(), "no/such/x"), "folder", "no/such"),
    (lambda: nets.save_network(net(), HERE), "is there already", "tests"),
    (lambda: nets.exported(3), "network", "3"),
    (lambda: nets.to_onnx(3, "x"), "network", "3"),
    (lambda: nets.to_onnx(net(), "no/such/x.onnx"), "folder", "no/such"),
    (lambda: nets.collect_statistics(3, []), "network", "3"),
    (lambda: nets.collect_statistics(net(), 5), "batches", "5"),
    (lambda: nets.collect_statistics(net(), [3]), "images", "3"),
    (lambda: net()(torch.zeros(2, 1, 9, 9)), "images", r"\(2, 1, 9, 9\)"),
    (lambda: net()("x"), "images", "'x'"),
    (lambda: net().subresnet(9), "m", "9"),
]

LEARNING: list[Case] = [
    (lambda: learning.Average([PATH], decay=1.5), "decay", "1.5"),
    (lambda: learning.Average([PATH], decay="x"), "decay", "'x'"),
    (lambda: learning.Average(3, decay=0.5), "tensors", "3"),
    (lambda: learning.Average([3], decay=0.5), "tensors", "3"),
    (lambda: learning.Batches(3, 4), "problem", "3"),
    (lambda: learning.Batches(Plain(), 0), "batch_size", "0"),
    (lambda: learning.Batches(Plain(), "x"), "batch_size", "'x'"),
    (lambda: learning.Batches(Plain(), 4, generator=3), "generator", "3"),
    (lambda: learning.Batches(Plain(), 4, device="abacus"), "device", "'abacus'"),
    (lambda: learning.endless(5), "data", "5"),
    (lambda: next(learning.endless([3.5])), "data, batch 0", "float"),
    (lambda: next(learning.endless([(PATH, "y")])), "target", "str"),
    (lambda: learning.choose_device("abacus"), "device", "'abacus'"),
    (lambda: learning.choose_device(3.5), "device", "3.5"),
    (lambda: learning.Engine("gpu"), "device", "'gpu'"),
    (lambda: learning.Engine("cpu", precision="8"), "precision", "'8'"),
    (lambda: learning.Engine("cpu", accumulate=0), "accumulate", "0"),
    (lambda: learning.Engine("cpu", compile="yes"), "compile", "'yes'"),
    (lambda: learning.Engine("cpu", capture=1), "capture", "1"),
    (lambda: learning.Engine("cpu", sharded=None), "sharded", "None"),
    (lambda: learning.Engine("cpu", sync_norms="all"), "sync_norms", "'all'"),
    (lambda: learning.Engine("cpu", channels_last="x"), "channels_last", "'x'"),
    (lambda: learning.Penalty(-1), "weight", "-1"),
    (lambda: learning.Penalty("x"), "weight", "'x'"),
    (lambda: learning.ConstantSchedule(-1), "warmup", "-1"),
    (lambda: learning.CosineSchedule(0), "n_steps", "0"),
    (lambda: learning.CosineSchedule(10, 20), "warmup", "20"),
    (lambda: learning.StepSchedule([5, 3]), "milestones", r"\[5, 3\]"),
    (lambda: learning.StepSchedule(5), "milestones", "5"),
    (lambda: learning.StepSchedule(["a"]), "milestones", "'a'"),
    (lambda: learning.StepSchedule([5], factor=-1), "factor", "-1"),
    (lambda: learning.Stopping(0), "patience", "0"),
    (lambda: learning.Stopping("x"), "patience", "'x'"),
    (lambda: learning.GammaSchedule(Plain(), learning.ConstantSchedule()), "gamma", "Plain"),
    (lambda: learning.GammaSchedule(net().problem, 3), "schedule", "3"),
    (lambda: learning.History(3), "records", "3"),
    (lambda: learning.History([3]), "records", "3"),
    (lambda: measured(problem=3), "problem", "3"),
    (lambda: measured(control="u"), "control", "'u'"),
    (lambda: measured(solver=None), "solver", "None"),
    (lambda: measured(sample=3), "sample", "3"),
    (lambda: measured(sample=Sample(torch.zeros(0, 2))), "x0", r"\(0, 2\)"),
    (lambda: measured(batch_size=0), "batch_size", "0"),
    (lambda: measured(engine="fast"), "engine", "'fast'"),
    (lambda: step(problem=3), "problem", "3"),
    (lambda: step(problem=Plain()), "cost", "Plain"),
    (lambda: step(batches=3), "batches", "3"),
    (lambda: step(batches=[3]), "batches", "3"),
    (lambda: step(engine=3), "engine", "3"),
    (lambda: step(clip=-1), "clip", "-1"),
    (lambda: step(clip="x"), "clip", "'x'"),
    (lambda: step(start=-2), "start", "-2"),
    (lambda: step(constraints=0.5), "constraints", "0.5"),
    (lambda: evaluated(problem=3), "problem", "3"),
    (lambda: evaluated(solver="rk4"), "solver", "'rk4'"),
    (lambda: evaluated(sample=X0.x0), "sample", r"\(4, 2\)"),
    (lambda: ocnet.objective(loose(3), loose(None)), "problem", "3"),
    (lambda: ocnet.objective(Plain(), loose(7)), "trajectory", "7"),
]

RUNS: list[Case] = [
    (lambda: config(problem=3), "problem", "3"),
    (lambda: config(settings="x"), "settings", "'x'"),
    (lambda: config(steps=0), "steps", "0"),
    (lambda: config(epochs="two"), "epochs", "'two'"),
    (lambda: config(iterations=-1), "iterations", "-1"),
    (lambda: config(epochs=1, iterations=2), "epochs", "iterations=2"),
    (lambda: config(batch_size=1.5), "batch_size", "1.5"),
    (lambda: config(optimizer="x"), "optimizer", "'x'"),
    (lambda: config(lr="fast"), "lr", "'fast'"),
    (lambda: config(lr=-1), "lr", "-1"),
    (lambda: config(weight_decay=math.nan), "weight_decay", "nan"),
    (lambda: config(schedule="up"), "schedule", "'up'"),
    (lambda: config(warmup=-1), "warmup", "-1"),
    (lambda: config(gamma_schedule=3), "gamma_schedule", "3"),
    (lambda: config(clip=0), "clip", "0"),
    (lambda: config(ema=1.0), "ema", "1.0"),
    (lambda: config(patience=0), "patience", "0"),
    (lambda: config(checkpoint_every=-1), "checkpoint_every", "-1"),
    (lambda: config(compile="yes"), "compile", "'yes'"),
    (lambda: config(accumulate=0), "accumulate", "0"),
    (lambda: config(seed=1.5), "seed", "1.5"),
    (lambda: config(seed=-1), "seed", "-1"),
    (lambda: config(seed=2**70), "seed", str(2**70)),
    (lambda: config(device=0), "device", "0"),
    (lambda: config(channels_last=1), "channels_last", "1"),
    (lambda: config(solver="rk5"), "solver", "'rk5'"),
    (lambda: config(gradient="x"), "gradient", "'x'"),
    (lambda: config(warmup=9).descent.course.over(9), "warmup", "9"),
    (lambda: config(problem="nosuch:B").make_problem(), "nosuch", "module"),
    (lambda: runs.Course(warmup=9).over(9), "warmup", "9"),
    (lambda: runs.Config("a:B", gamma=3), "gamma", "3"),
    (lambda: runs.Descent(lr=0), "lr", "0"),
    (lambda: runs.Descent(course=3), "course", "3"),
    (lambda: runs.Discretisation(steps=0), "steps", "0"),
    (lambda: runs.Execution(capture=3), "capture", "3"),
    (lambda: runs.Keeping(tensorboard=3), "tensorboard", "3"),
    (lambda: runs.Length(batch_size=0), "batch_size", "0"),
    (lambda: runs.Validation(ema=2), "ema", "2"),
    (lambda: runs.RunFolder(3), "path", "3"),
    (lambda: runs.RunFolder(HERE).config(), "tests", "config.json"),
    (lambda: runs.execute(3), "folder", "3"),
    (lambda: runs.execute(runs.RunFolder("no/such")), "no/such", "config.json"),
    (lambda: runs.execute(runs.RunFolder("no/such"), 3), "config", "3"),
    (lambda: runs.load_checkpoint(3), "path", "3"),
    (lambda: runs.load_checkpoint(Path("no/such")), "checkpoint", "no/such"),
    (lambda: runs.load_checkpoint(Path(__file__)), "safetensors", "test_wrong_calls_of"),
    (lambda: runs.save_checkpoint("x", {}), "path", "'x'"),
    (lambda: runs.save_checkpoint(Path("no/such"), {"a": {1}}), "checkpoint", "set"),
    (lambda: runs.Job(3), "config", "3"),
    (lambda: runs.run_job(3, runs.RunFolder("no/such")), "job", "3"),
]

SCALING: list[Case] = [
    (lambda: scaling.diagnose(3), "subject", "3"),
    (lambda: scaling.diagnose(Costly(), "u"), "control", "'u'"),
    (lambda: scaling.diagnose(Costly(), depths=3), "depths", "3"),
    (lambda: scaling.diagnose(Costly(), depths=[1, 4]), "depths", "1"),
    (lambda: scaling.diagnose(Costly(), draws=0), "draws", "0"),
    (lambda: scaling.diagnose(Costly(), samples=0), "samples", "0"),
    (lambda: scaling.diagnose(Costly(), beta=math.nan), "beta", "nan"),
    (lambda: scaling.diagnose(Costly(), generator=3), "generator", "3"),
    (lambda: limits(problem=3), "problem", "int"),
    (lambda: limits(u=3), "control", "int"),
    (lambda: limits(depths=3), "depths", "3"),
    (lambda: limits(depths=(3, 4)), "depth", r"\[3, 4\]"),
    (lambda: limits(reference=3), "reference", "3"),
    (lambda: scaling.ode_limit_of_smooth_weights(deepest="x"), "deepest", "'x'"),
    (lambda: scaling.ode_limit_of_smooth_weights(seed=-1), "seed", "-1"),
    (lambda: scaling.sde_limit_of_random_weights(d=0), "d", "0"),
    (lambda: scaling.sde_limit(3, PATH, [4, 8]), "network", "3"),
    (lambda: scaling.sde_limit(scaling.Res1(8, d=4), PATH, [4, 8]), "x0", r"\(8, 3\)"),
    (lambda: scaling.power_law([1, 2], [1]), "values", r"\[1\]"),
    (lambda: scaling.power_law([1, 2], [-1, 2]), "values", "-1"),
    (lambda: scaling.power_law("ab", [1, 1]), "depths", "'ab'"),
    (lambda: spread(network=3), "network", "3"),
    (lambda: spread(0.5), "betas", "0.5"),
    (lambda: spread(["x"]), "betas", "'x'"),
    (lambda: spread([]), "betas", r"\[\]"),
    (lambda: spread(repeats=0), "repeats", "0"),
    (lambda: spread(inputs=0), "inputs", "0"),
    (lambda: spread(generator=3), "generator", "3"),
    (lambda: spread(dtype=torch.int64), "dtype", "torch.int64"),
    (lambda: spread(device="abacus"), "device", "'abacus'"),
    (lambda: spread(memory=0), "memory", "0"),
    (lambda: scaling.rms(torch.zeros(0, 2)), "log_ratio", r"\(0, 2\)"),
    (lambda: scaling.Res1("x"), "n_layers", "'x'"),
    (lambda: scaling.Res2(8, math.nan), "beta", "nan"),
    (lambda: scaling.Res3(8, 0.5, "iid"), "kind", "'iid'"),
    (lambda: scaling.Linear(8, 0.5, d=0), "d", "0"),
    (lambda: scaling.Linear(8, 0.5, generator=3), "generator", "3"),
    (lambda: scaling.Theory("res-3"), "network", "'res-3'"),
    (lambda: scaling.Theory(scaling.Res1(8, d=4)).contour(0.0), "level", "0.0"),
    (lambda: scaling.S_h(IID), "network", "Iid"),
    (lambda: scaling.S_p(8), "network", "8"),
    (lambda: scaling.critical_exponent("iid"), "network", "'iid'"),
    (lambda: scaling.backward_critical_exponent(None), "network", "None"),
    (lambda: scaling.regime(3), "network", "3"),
    (lambda: scaling.Res1(8, sigma="tanh"), "sigma", "'tanh'"),
    (lambda: scaling.OneMatrix("x"), "n_layers", "'x'"),
    (lambda: scaling.sample_sde(scaling.Res1(8, d=4), torch.ones(2, 4), 0), "steps", "0"),
    (lambda: scaling.sample_network("res-1", torch.ones(2, 4)), "network", "'res-1'"),
    (lambda: scaling.compare_laws(torch.zeros(0), torch.ones(2)), "first", r"\(0,\)"),
    (lambda: scaling.ode_limit_of_smooth_weights(32, model="res-1"), "model", "'res-1'"),
    (lambda: scaling.layer_weights(3), "control", "3"),
    (lambda: scaling.weight_profile(torch.zeros(3, 2)), "weights", r"\(3, 2\)"),
    (lambda: scaling.training_effect(3, 4), "before", "3"),
    (lambda: scaling.TwoMatrices(8, d=0), "d", "0"),
    (lambda: scaling.load_images("cifar"), "data", "'cifar'"),
    (lambda: scaling.load_images("digits", count=0), "count", "0"),
    (lambda: scaling.run_study(3, HERE), "study", "3"),
    (lambda: scaling.save_arrays(3, {}), "file", "3"),
    (lambda: scaling.save_arrays(HERE / "none", {"a": 3}), "arrays", "3"),
    (lambda: scaling.log_norm_limit(0), "d", "0"),
    (lambda: scaling.displacement_limit(8, "x"), "beta", "'x'"),
    (lambda: scaling.SideBySide(4, [0.5, math.nan], [IID, IID]), "betas", "nan"),
    (lambda: scaling.SideBySide(4, [0.5], ["iid"]), "kinds", "'iid'"),
    (lambda: scaling.train_side_by_side(3, control(), 4, 0.1), "problem", "3"),
    (lambda: scaling.bytes_per_network(4, 3, 2, 1, 0), "batch_size", "0"),
    (lambda: scaling.networks_at_once(0, torch.device("cpu")), "per_network", "0"),
    (lambda: propagated(scaling.propagate, 3), "network", "3"),
    (lambda: propagated(scaling.propagate, "res1", log_domain=False), "network", "'res1'"),
    (lambda: scaling.states(3, PATH, PATH, 0.5), "network", "3"),
    (lambda: scaling.costates(3, PATH, [], PATH, 0.5), "network", "3"),
]

ANALYSIS: list[Case] = [
    (lambda: compared(problem=3), "problem", "3"),
    (lambda: compared(u=3), "control", "3"),
    (lambda: compared(solvers=Euler(4)), "solvers", r"Euler\(4\)"),
    (lambda: compared(solvers=[]), "solvers", "none"),
    (lambda: compared(solvers=["euler"]), "solvers", "'euler'"),
    (lambda: compared(sample=3), "sample", "3"),
    (lambda: compared(reference="exact"), "reference", "'exact'"),
    (lambda: compared(coarse_costs=1.0), "coarse_costs", "1.0"),
    (lambda: compared(coarse_costs=["x"]), "coarse_costs", "'x'"),
    (lambda: compared(repeats=0), "repeats", "0"),
    (lambda: compared(fine_steps=0), "fine_steps", "0"),
    (lambda: compared(generator=3), "generator", "3"),
    (lambda: depth.depth_profile(loose(3), IMAGES), "network", "3"),
    (lambda: depth.depth_profile(net(), loose(3)), "sample", "3"),
    (lambda: depth.depth_profile(net(), IMAGES, 0), "batch_size", "0"),
    (lambda: depth.depth_profile(net(), Sample(IMAGES.x0)), "target", "None"),
    (lambda: depth.depth_profile(net(), Sample(IMAGES.x0, LABELS + 7)), "labels", "9"),
    (lambda: depth.depth_profile(net(), Sample(IMAGES.x0, LABELS[:3])), "labels", "3"),
    (lambda: depth.depth_profile(net(), Sample(IMAGES.x0, LABELS / 4)), "labels", "0.25"),
    (lambda: pruning.prune(net(), IMAGES, IMAGES, -1), "tolerance", "-1"),
    (lambda: pruning.prune(net(), IMAGES, IMAGES, loose("x")), "tolerance", "'x'"),
    (lambda: pruning.prune(net(), IMAGES, IMAGES, tune=loose(3)), "tune", "3"),
    (lambda: analysis.remove_blocks(loose(3), 1, analysis.last, IMAGES), "network", "3"),
    (lambda: analysis.remove_blocks(net(), 9, analysis.last, IMAGES), "count", "9"),
    (lambda: analysis.remove_blocks(net(), 1, loose("last"), IMAGES), "next_block", "'last'"),
    (lambda: pruning.accuracy(net(), Sample(IMAGES.x0, LABELS[:, None] - 1)), "labels", "-1"),
    (lambda: early_exit.calibrate(loose(3), IMAGES), "network", "3"),
    (lambda: early_exit.calibrate(net(), Sample(IMAGES.x0, LOGITS + 1)), "labels", r"\(4, 3\)"),
    (lambda: early_exit.check_confidence(1.5), "confidence", "1.5"),
    (lambda: bounds.loss_bounds(net(), IMAGES, -1), "gamma", "-1"),
    (lambda: bounds.loss_bounds(net(), IMAGES, 0.1, -2), "weight_decay", "-2"),
    (lambda: bounds.objective_bound([1.0], [1.0], 1.0, math.inf, 4), "gamma", "inf"),
    (lambda: bounds.average_bound([1.0], 1.0, 0.0, 4), "gamma", "0"),
    (lambda: analysis.read_run(3), "path", "3"),
    (lambda: analysis.smallest_depth(3, 0.5), "profile", "3"),
    (lambda: analysis.at_random(3), "generator", "3"),
    (lambda: analysis.least_cost(3), "sample", "3"),
    (lambda: analysis.least_angle(3), "sample", "3"),
    (lambda: analysis.least_distance("x"), "sample", "'x'"),
    (lambda: analysis.least_readout(3), "sample", "3"),
    (lambda: analysis.tried(None), "sample", "None"),
    (lambda: analysis.expected_memory(3), "job", "3"),
    (lambda: analysis.EarlyExit(3, torch.ones(3)), "network", "3"),
    (lambda: analysis.EarlyExit(net(), torch.ones(9)), "temperatures", "9"),
    (lambda: grow.grow(loose(3), 4), "network", "3"),
    (lambda: grow.grow(net(), loose("deep")), "blocks", "'deep'"),
    (lambda: grow.grow(net(), 1), "M", "2"),
    (lambda: grow.grow(net(), 4, gamma=-1), "gamma", "-1"),
    (lambda: next(grow.monotone(net(), IMAGES, rate=0)), "rate", "0"),
    (lambda: next(grow.monotone(net(), loose(3))), "sample", "3"),
]

SOLVING: list[Case] = [
    (lambda: ocnet.solve(loose(3)), "problem", "int"),
    (lambda: ocnet.solve(Costly(), method=loose("newton")), "method", "'newton'"),
    (lambda: ocnet.solve(Costly(), solver=loose("euler")), "solver", "str"),
    (lambda: ocnet.solve(Costly(), start=loose(3)), "start", "3"),
    (lambda: ocnet.solve(Costly(), starts=0), "starts", "0"),
    (lambda: ocnet.solve(Costly(), seed=loose("x")), "seed", "'x'"),
    (lambda: batch(problem=3), "problem", "3"),
    (lambda: batch(parameters=[1]), "parameters", r"\[1\]"),
    (lambda: batch(x0=3), "x0", "3"),
    (lambda: batch(target=3), "target", "3"),
    (lambda: batch(parameters={"nope": torch.zeros(4)}), "parameter", "'nope'"),
    (lambda: direct.InteriorPoint(tolerance=-1), "tolerance", "-1"),
    (lambda: direct.InteriorPoint(sweep="up"), "sweep", "'up'"),
    (lambda: direct.Adam(lr=0), "lr", "0"),
    (lambda: direct.Adam(steps_per_round=0), "steps_per_round", "0"),
    (lambda: direct.LBFGS(tolerance=math.nan), "tolerance", "nan"),
    (lambda: direct.SuccessiveApproximation(rho=-1), "rho", "-1"),
    (lambda: direct.SuccessiveApproximation(memory="x"), "memory", "'x'"),
    (lambda: direct.certify(loose(3)), "solution", "3"),
    (lambda: direct.refine(loose(3)), "solution", "3"),
    (lambda: direct.refine(ocnet.solve(Costly(), solver=RK4(2)), -1), "times", "-1"),
    (lambda: direct.continue_in(loose(3), "mass", [1.0]), "solution", "3"),
    (lambda: direct.save_solution(loose(3), "path"), "solution", "3"),
    (lambda: direct.load_solution("gone.safetensors", Costly()), "file|directory", "gone"),
    (lambda: direct.load_solution("path", loose(3)), "problem", "3"),
    (lambda: testing.check_problem(loose(3)), "problem", "3"),
    (lambda: testing.check_problem(Costly(), n_steps=0), "n_steps", "0"),
    (lambda: testing.check_problem(Costly(), rtol=-1), "rtol", "-1"),
    (lambda: ocnet.Projection(loose("a"), 0.5, nn.Identity()), "start", "'a'"),
    (lambda: ocnet.Projection(0.0, 0.5, loose(3)), "map", "3"),
    (lambda: ocnet.Quadratic(loose(3), torch.eye(1)), "Q", "3"),
    (lambda: ocnet.Quadratic(torch.eye(2), torch.eye(1), torch.zeros(3)), "x_ref", r"\(3,\)"),
    (lambda: ocnet.TerminalQuadratic(loose("x")), "Q", "'x'"),
    (lambda: ocnet.TerminalQuadratic(torch.eye(2), loose(5)), "x_ref", "5"),
    (lambda: ocnet.ControlEnergy(-1), "ndim", "-1"),
    (lambda: ocnet.ControlEnergy(loose("x")), "ndim", "'x'"),
    (lambda: ocnet.PredictionLoss(loose(3), nn.MSELoss()), "readout", "3"),
    (lambda: ocnet.TerminalLoss(nn.Identity(), loose("mse")), "loss", "'mse'"),
    (lambda: ocnet.ExplicitRungeKutta(loose("euler"), 4), "tableau", "'euler'"),
    (lambda: ocnet.ExplicitRungeKutta(Tableau(((),), (0.5,), (0.0,), 1), 4), "b", r"\(0.5,\)"),
    (lambda: ocnet.ExplicitRungeKutta(Tableau(((0.5,),), (1.0,), (0.5,), 1), 4), "a", "0.5"),
    (lambda: ocnet.ExplicitRungeKutta(Tableau(((),), (1.0,), (0.5,), 1), 4), "c", "0.5"),
    (lambda: ocnet.ExplicitRungeKutta(Tableau(((),), (1.0,), (0.0,), 0), 4), "order", "0"),
    (lambda: RK4(4).solve(changed(projections=[3]), control(), X0.x0), "projections", "3"),
    (lambda: ocnet.solve(loose(Problem)), "problem", "ABCMeta|type"),
]

PLOT: list[Case] = [
    (lambda: plot.training_effect(3), "effect", "3"),
    (lambda: plot.bounds(3), "found", "3"),
    (lambda: plot.controls("x"), "comparison", "'x'"),
    (lambda: plot.trajectories(3), "comparison", "3"),
    (lambda: plot.work_precision(None), "comparison", "None"),
    (lambda: plot.differences([3]), "comparison", r"\[3\]"),
    (lambda: plot.histories(3), "histories", "3"),
    (lambda: plot.histories({"a": 4}), "histories", "4"),
    (lambda: plot.depth_outputs(3), "profiles", "3"),
    (lambda: plot.depth_changes({"a": 4}), "profiles", "4"),
    (lambda: plot.turnpike({"a": None}), "profiles", "None"),
    (lambda: plot.diagnosis(3), "found", "3"),
    (lambda: plot.solution(3), "found", "3"),
    (lambda: plot.states_and_controls(3), "trajectory", "3"),
    (lambda: plot.training(3), "runs", "3"),
    (lambda: plot.validation(["run"]), "runs", "'run'"),
    (lambda: plot.pruning_depths(3), "pruning", "3"),
    (lambda: plot.removals({"a": 3}), "found", "3"),
    (lambda: plot.removal_table(7), "found", "7"),
    (lambda: plot.look(-1), "index", "-1"),
    (lambda: plot.axes(3), "figure", "3"),
    (lambda: plot.legend_below(3), "figure", "3"),
]

TABLES = {
    "init": INIT, "networks": NETWORKS, "learning": LEARNING, "run": RUNS, "scaling": SCALING,
    "analysis": ANALYSIS, "direct": SOLVING, "plot": PLOT,
}  # fmt: skip
CASES = [(table, i) for table, cases in TABLES.items() for i in range(len(cases))]

ERRORS = (TypeError, ValueError, OSError)
"""What a wrong call may raise; a checkpoint that cannot be read is a ValueError."""

RESULTS = {
    "Arrays", "BACKWARD", "Bound", "Bounds", "COLORS", "Certificate", "Changed",
    "CheckpointError", "Comparison", "ConfigError", "Covariance", "CovarianceKernel", "Curve",
    "DATA", "DepthProfile", "Diagnosis", "Difference", "ExitPrediction", "FORWARD", "FolderInUse",
    "Gamma", "Heads", "Images", "Interrupted", "Kind", "LimitComparison", "LiveMemory", "MODELS",
    "Memory", "Method", "NonFiniteCost", "OcnetError", "Overflow", "Point", "Prediction",
    "ProblemError",
    "Propagation", "Pruning", "Record", "Regime", "Removal", "Repeated", "Residual",
    "ResidualProblem", "Row", "RunRecord", "RunWarning", "ScaledNetwork", "Schedule", "Size",
    "Solution", "SolverError", "Split", "Stationary", "Study", "SupervisedProblem",
    "Trained", "Trajectory", "WorkPoint",
    "LawComparison", "TrainingEffect", "WeightProfile",
    "Turnpike", "UnsafeCache", "Unsupported", "Validated",
}  # fmt: skip
"""What nobody calls: errors, results, base classes, and what takes nothing or any module."""


@pytest.mark.parametrize("table, i", CASES)
def test_one_line_names_the_argument_and_its_value(table: str, i: int) -> None:
    call, name, value = TABLES[table][i]
    with pytest.raises(ERRORS, match=rf"(?s){name}.*{value}|{value}.*{name}") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_every_public_function_is_called_wrongly() -> None:
    both = Path(__file__).read_text() + (HERE / "test_wrong_calls.py").read_text()
    for package in (
        "ocnet",
        "init",
        "networks",
        "learning",
        "direct",
        "run",
        "scaling",
        "analysis",
        "plot",
    ):
        module = importlib.import_module("ocnet" if package == "ocnet" else f"ocnet.{package}")
        for name in set(module.__all__) - RESULTS:
            if package == "ocnet" and inspect.isabstract(getattr(module, name)):
                continue
            assert re.search(rf"\.{name}\b", both) or f"{name}(" in both, (package, name)
