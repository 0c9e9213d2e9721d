"""Wrong calls of the Python API: one line, which names the argument and its value."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import ocnet
from ocnet import Euler, PiecewiseConstant, TorchDiffEq, train
from tests.support.plain import changed, loose, Plain


def solved(problem: Any = None, control: Any = None, x0: Any = None, solver: Any = None) -> Any:
    """A solve in which one thing is wrong."""
    problem = Plain() if problem is None else problem
    control = PiecewiseConstant(0, 1, 4, 2) if control is None else control
    x0 = torch.zeros(3, 2) if x0 is None else x0
    return (Euler(4) if solver is None else solver).solve(problem, control, x0)


def trained(**options: Any) -> Any:
    """A training in which one thing is wrong."""
    control = PiecewiseConstant(0, 1, 4, 2)
    arguments = {
        "problem": Plain(),
        "control": control,
        "solver": Euler(4),
        "optimizer": torch.optim.SGD(control.parameters(), lr=0.1),
        "n_steps": 1,
        "progress": False,
        **options,
    }
    return train(**arguments)


CONTROLS = [ocnet.PiecewiseConstant, ocnet.PiecewiseLinear, ocnet.CubicSpline]
SUMS = [ocnet.Fourier, ocnet.Chebyshev]
METHODS = [ocnet.Euler, ocnet.Heun, ocnet.RK4, ocnet.RK38]

CASES: list[tuple[Callable[[], Any], str]] = [
    *((lambda c=c: c(1, 0, 4, 2), "t0 < t1, but got t0=1.0 and t1=0.0") for c in CONTROLS + SUMS),
    *((lambda c=c: loose(c)("a", 1, 4, 2), "t0 must be a number, but got 'a'") for c in CONTROLS),
    *((lambda c=c: loose(c)(0, None, 4, 2), "t1 must be a number, but got None") for c in CONTROLS),
    *((lambda c=c: c(0, math.inf, 4, 2), "t1=inf") for c in CONTROLS + SUMS),
    *((lambda c=c: c(0, math.nan, 4, 2), "t1=nan") for c in CONTROLS + SUMS),
    *((lambda c=c: c(0, 1, 0, 2), "n_intervals=0") for c in CONTROLS),
    *((lambda c=c: loose(c)(0, 1, 2.5, 2), "n_intervals .* 2.5") for c in CONTROLS),
    *((lambda c=c: c(0, 1, 4, 0), "shape=0") for c in CONTROLS),
    *((lambda c=c: c(0, 1, 4, (2, -1)), "shape=-1") for c in CONTROLS),
    *((lambda c=c: c(0, 1, 0, 2), "n_basis=0") for c in SUMS),
    *((lambda c=c: loose(c)(0, 1, True, 2), "n_basis .* True") for c in SUMS),
    *(
        (lambda c=c: loose(c(0, 1, 4, 2))("now"), "t must be a number, but got 'now'")
        for c in CONTROLS
    ),
    (lambda: loose(ocnet.Layers)(0, 1, [3]), r"layers\[0\] is a int"),
    (lambda: ocnet.Layers(0, 1, []), "n_intervals=0"),
    (lambda: ocnet.Layers(2, 1, [nn.Identity()]), "t0=2.0 and t1=1.0"),
    (lambda: loose(ocnet.Feedback)(0, 1, "policy"), "policy must be .*Module, but got str"),
    (lambda: ocnet.Feedback(1, 1, nn.Identity()), "t0=1.0 and t1=1.0"),
    *((lambda m=m: m(0), "n=0") for m in METHODS),
    *((lambda m=m: m(-3), "n=-3") for m in METHODS),
    *((lambda m=m: loose(m)(1.5), "n must be an integer, but got 1.5") for m in METHODS),
    *((lambda m=m: loose(m)("4"), "n must be an integer, but got '4'") for m in METHODS),
    *((lambda m=m: loose(m)(4, gradient="magic"), "gradient .*'magic'") for m in METHODS),
    *((lambda m=m: loose(m)(4, compile=True), "compile") for m in METHODS),
    *((lambda m=m: loose(m)(4, gradient=ocnet.Costate), "gradient .*class") for m in METHODS),
    *(
        (lambda m=m: m(4, gradient=ocnet.Adjoint()), r"Costate\(\), but got Adjoint\(\)")
        for m in METHODS
    ),
    (lambda: ocnet.Reversible(Euler(4, gradient=ocnet.Costate())), "Reversible .*Costate"),
    (lambda: ocnet.Reversible(Euler(4, gradient=ocnet.Checkpoint())), "Reversible .*Checkpoint"),
    (lambda: loose(ocnet.Reversible)(4), "solver must be an ExplicitRungeKutta, but got 4"),
    (lambda: loose(ocnet.Reversible)(TorchDiffEq()), "ExplicitRungeKutta, but got torchdiffeq"),
    (lambda: loose(ocnet.Reversible)(ocnet.Reversible(Euler(4))), "but got Reversible"),
    (lambda: ocnet.Reversible(Euler(4)).with_steps(0), "n=0"),
    (lambda: ocnet.Reversible(Euler(4)).with_gradient(ocnet.Backprop()), "gradient must be"),
    (lambda: loose(ocnet.Costate)(compile=1), "compile must be True or False, but got 1"),
    *((lambda m=m: m(4).with_steps(0), "n=0") for m in METHODS),
    (lambda: TorchDiffEq("magic"), "method .*'magic'"),
    (
        lambda: loose(ocnet.Observation)([0.5, 0.4], abs),
        "times must increase, but got 0.4 after 0.5",
    ),
    (lambda: TorchDiffEq("euler"), "euler .*n=None"),
    (lambda: TorchDiffEq("rk4", 0), "n=0"),
    (lambda: TorchDiffEq(rtol=0), "rtol=0"),
    (lambda: TorchDiffEq(rtol=math.nan), "rtol=nan"),
    (lambda: TorchDiffEq(atol=-1), "atol=-1"),
    (lambda: TorchDiffEq(max_steps=0), "max_steps=0"),
    (lambda: TorchDiffEq(gradient=ocnet.Costate()), r"Adjoint\(\), but got Costate\(\)"),
    (lambda: loose(TorchDiffEq)(gradient="adjoint"), "gradient .*'adjoint'"),
    (lambda: loose(TorchDiffEq)(norm="max"), "norm .*'max'"),
    (lambda: solved(problem=3), "problem must be .*int"),
    (lambda: solved(control=3), "control must be .*int"),
    (lambda: solved(x0=torch.zeros(3, 5)), r"x0 must have shape .*\(3, 5\)"),
    (lambda: solved(control=PiecewiseConstant(0, 2, 4, 2)), r"control .*\[0.0, 2.0\]"),
    (lambda: solved(control=PiecewiseConstant(0, 1, 4, 3)), r"control .*\(3,\)"),
    (lambda: solved(control=ocnet.Layers(0, 1, [nn.Identity()])), "control must be a tensor"),
    (lambda: solved(changed(t1=-1.0)), "t1=-1.0"),
    (lambda: solved(changed(t1="late")), "t1 must be a number, but got 'late'"),
    (lambda: solved(changed(t0=math.nan)), "t0=nan"),
    (lambda: solved(changed(dynamics=lambda t, x, u: None)), "dynamics must return .*NoneType"),
    (lambda: solved(changed(dynamics=lambda t, x, u: x[0])), r"dynamics must return .*\(2,\)"),
    (
        lambda: solved(changed(dynamics=lambda t, x, u: x @ x)),
        r"dynamics \(.*wrong_calls.py:\d+\) fails:",
    ),
    (lambda: ocnet.Projection(1.0, 0.5, nn.Identity()), "start=1.0 and end=0.5"),
    (lambda: ocnet.Quadratic(torch.ones(2), torch.eye(1)), r"Q .*\(2,\)"),
    (lambda: ocnet.Quadratic(torch.eye(2), torch.ones(1, 3)), r"R .*\(1, 3\)"),
    (lambda: ocnet.TerminalQuadratic(torch.ones(3, 2)), r"Q .*\(3, 2\)"),
    (lambda: ocnet.ControlEnergy() * loose("2"), "number, but got str"),
    (lambda: ocnet.ControlEnergy() + loose(3), "cost, but got int"),
    (lambda: trained(problem=3), "problem must be a Problem, but got 3"),
    (lambda: trained(control="u"), "control must be a Control, but got 'u'"),
    (lambda: trained(solver="euler"), "solver must be a Solver, but got 'euler'"),
    (lambda: trained(optimizer="adam"), "optimizer must be an Optimizer, but got 'adam'"),
    (lambda: trained(n_steps=0), "n_steps=0"),
    (lambda: trained(n_steps=1.5), "n_steps must be an integer, but got 1.5"),
    (lambda: trained(batch_size=0), "batch_size=0"),
    (lambda: trained(constraints="never"), "constraints must be .*'never'"),
    (lambda: trained(data=5), "data must yield batches.*5"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_one_line_names_the_argument_and_its_value(case: int) -> None:
    call, said = CASES[case]
    with pytest.raises((TypeError, ValueError, RuntimeError), match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
