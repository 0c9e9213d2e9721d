"""Where memory or the numbers that C counts with do not suffice, one line says so."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from ocnet import Euler, Problem, Sample
from ocnet.direct import solve
from ocnet.direct.compiled import build, Unsupported


compiles = pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler")


class Wide(Problem):
    """`x' = u` in 40 dimensions, `int u^2`."""

    state_shape = control_shape = (40,)

    def dynamics(self, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return u

    def stage_cost(self, t: Tensor, x: Tensor, u: Tensor, target: Tensor | None) -> Tensor:
        return (u**2).sum(-1)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 40))


class Larger(Wide):
    """With more rows than a thread has room for."""

    state_shape = control_shape = (200,)

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Sample:
        return Sample(torch.ones(batch_size, 200))


@compiles
def test_more_numbers_than_c_counts() -> None:
    """With 300,000 steps of 40 states an instance has more than 2^31 numbers."""
    with pytest.raises(Unsupported, match="300000 steps make more than 2147483647 numbers"):
        solve(Wide(), solver=Euler(300_000), compile=True)


@compiles
def test_more_than_a_thread_has_room_for() -> None:
    with pytest.raises(Unsupported, match="200 states, 200 controls and 0 rows are too many"):
        solve(Larger(), solver=Euler(2), compile=True)


CHILD = """
import resource
import torch
from ocnet import Euler, Problem, Sample, solve
from ocnet.direct.compiled.kernel import Kernel

class Line(Problem):
    state_shape = control_shape = (2,)
    def dynamics(self, t, x, u):
        return u
    def stage_cost(self, t, x, u, target):
        return (u**2).sum(-1) + (x**2).sum(-1)
    def sample(self, batch_size, generator=None):
        return Sample(torch.ones(batch_size, 2))

call = Kernel.call

def limited(kernel, name, *arguments, **settings):
    if name == NAME:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**21, resource.RLIM_INFINITY))
    return call(kernel, name, *arguments, **settings)

Kernel.call = limited
try:
    print(solve(Line(), solver=Euler(40_000), compile=True).status)
except MemoryError as error:
    print(error)
"""


@compiles
@pytest.mark.parametrize("name", ["iterate", "adjoint"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits a process's memory")
def test_no_memory_for_what_c_needs(name: str) -> None:
    """It had written to address zero."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.replace("NAME", repr(name))],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "There is not enough memory for 40000 steps."
