"""A discretised problem's compiled functions: iteration, derivatives, rollout and adjoint."""

import ctypes
import itertools
import math
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ..transcription.autograd import Autograd
from ..transcription.backend import Backend, Derivatives, Ended, Linearisation
from ..transcription.transcription import Transcription
from ..transcription.variables import Iterate
from .build import library
from .emit import header, Source, written
from .formulas import Unsupported
from .trace import Formulas, parameter_values, traced


class Setting(ctypes.Structure):
    """The data that all instances share, as C reads them."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("n", "max_iterations")),
        *((name, ctypes.c_double) for name in ("tolerance", "mu", "room")),
        *((name, ctypes.c_void_p) for name in "times lower upper end_lower end_upper free".split()),
    ]


class Kernel:
    """The backend in machine code: the functions of one problem and Runge-Kutta method.

    They are made for any number of steps, and compute in double precision, whatever the precision
    of the problem.

    Arguments:
        source: The C source.
    """

    def __init__(self, source: Source):
        self.library: ctypes.CDLL = library(source.text)
        self.numbers: Tensor = torch.tensor([source.numbers], dtype=torch.float64)
        self.has_steps: bool = source.has_steps

    by_autograd: bool = False

    def of(self, nlp: Transcription) -> Backend[Transcription]:
        """The kernel of another problem, or torch where there can be none."""
        try:
            return kernel_of(nlp)
        except Unsupported:
            return Autograd()

    def call(
        self, name: str, nlp: Transcription, its: Tensor, *outputs: Tensor, tolerance: float = 0.0,
        mu: float = 0.0, max_iterations: int = 0,
    ) -> None:  # fmt: skip
        """Runs a C function on all instances, on as many threads as torch uses.

        Arguments:
            name: The function's name.
            nlp: The discretised problem.
            its: The variables instance by instance, which the function may change.
            outputs: Further arrays, one row for each instance.
            tolerance, mu, max_iterations: The method's settings; the last is the largest
                number of any instance, so that there is room for that many.

        Raises:
            ValueError: If the instances are not as large as those that C reads.
            MemoryError: If there is not enough memory.
        """
        size = len(its)
        entries = (
            2 * (nlp.n + 1) * nlp.nz + nlp.n * (nlp.nu + 2 * len(nlp.along))
            + nlp.n_psi + 2 * len(nlp.end)
        )  # fmt: skip
        if its.shape[1] != entries:
            raise ValueError(
                f"An instance has {entries} variables and multipliers, but got {its.shape[1]}."
            )
        values = [*parameter_values(nlp).values(), self.numbers]
        params = torch.cat([v.to(its).reshape(len(v), -1).expand(size, -1) for v in values], 1)
        arrays = [nlp.s, nlp.along.lower, nlp.along.upper, nlp.end.lower, nlp.end.upper]
        arrays = [a.detach().double().contiguous() for a in arrays]
        free = None if nlp.free is None else nlp.free.contiguous()
        setting = Setting(
            nlp.n, max_iterations, tolerance, mu, nlp.room, *(a.data_ptr() for a in arrays),
            None if free is None else free.data_ptr(),
        )  # fmt: skip
        function: Any = getattr(self.library, name)
        whole = [params.contiguous(), its, *outputs]

        def run(first: int, last: int) -> None:
            pointers = [
                ctypes.c_void_p(a.data_ptr() + first * a.stride(0) * a.element_size())
                for a in whole
            ]
            if not function(ctypes.byref(setting), ctypes.c_int64(last - first), *pointers):
                raise MemoryError(f"There is not enough memory for {nlp.n} steps.")

        threads = torch.get_num_threads()
        if size == 1 or threads == 1:
            return run(0, size)
        # Instances differ in their iterations: small shares keep all threads busy to the end.
        cuts = [*range(0, size, max(1, size // (16 * threads))), size]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, cuts[:-1], cuts[1:]))

    def iterate(
        self, nlp: Transcription, start: Iterate, tolerance: float, mu: float, most: Tensor
    ) -> Ended | None:
        its = packed(start)
        codes, iterations, minimum = torch.empty(3, len(its), dtype=torch.int64).unbind()
        self.call(
            "iterate", nlp, its, most.contiguous(), codes, iterations, minimum,
            tolerance=tolerance, mu=mu, max_iterations=int(most.max()),
        )  # fmt: skip
        return Ended(unpacked(its, start), codes, iterations, minimum == 1)

    def rollout(self, nlp: Transcription, z: Tensor, u: Tensor) -> Tensor:
        it = Iterate.without_multipliers(nlp, z.expand(nlp.n + 1, -1, -1), u)
        its = packed(it)
        self.call("rollout", nlp, its)
        return unpacked(its, it).z

    def adjoint(self, nlp: Transcription, lin: Linearisation, it: Iterate) -> Tensor:
        its = packed(it)
        self.call("adjoint", nlp, its)
        return unpacked(its, it).costate

    def derivatives(self, nlp: Transcription, it: Iterate) -> tuple[Derivatives, Derivatives]:
        n, nx, d = nlp.n, nlp.nx, nlp.nz + nlp.nu
        rows, rows_end = (nx, 1, nlp.along.rows), (1, nlp.n_psi, nlp.end.rows)
        shapes = [(n, r) for r in rows] + [(n, r, d) for r in rows] + [(n, d, d)]
        shapes += [(1, r) for r in rows_end] + [(1, r, d) for r in rows_end] + [(1, d, d)]
        its = packed(it)
        out = its.new_empty(len(its), sum(map(math.prod, shapes)))
        self.call("derivatives", nlp, its, out)
        values = split(out.to(it.z.dtype), shapes)
        return tuple(
            Derivatives(tuple(v[:3]), tuple(v[3:6]), v[6]) for v in (values[:7], values[7:])
        )  # pyright: ignore[reportReturnType]


def packed(it: Iterate) -> Tensor:
    """The variables instance by instance, `(batch, variables)`, in double precision."""
    size = it.z.shape[1]
    return torch.cat([v.detach().transpose(0, 1).reshape(size, -1) for v in it], 1).double()


def split(values: Tensor, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """Arrays that lie side by side for each instance, each `(time, batch, ...)`."""
    parts = values.split([math.prod(shape) for shape in shapes], 1)
    return [
        part.reshape(len(values), *shape).transpose(0, 1)
        for part, shape in zip(parts, shapes, strict=True)
    ]


def unpacked(its: Tensor, like: Iterate) -> Iterate:
    """Variables with time first, from those instance by instance."""
    return Iterate(*split(its.to(like.z.dtype), [(v.shape[0], v.shape[2]) for v in like]))


known: OrderedDict[tuple[Any, ...], "Kernel"] = OrderedDict()
"""The kernels that were used last, by their formulas."""

MOST_KERNELS = 32


def kernel_of(nlp: Transcription, formulas: Formulas | None = None) -> Kernel:
    """The compiled functions of a discretised problem.

    A kernel is used again only for the very formulas that it was made of, whatever problem has
    them. The formulas are traced at each call; they are differentiated only if there is no kernel
    yet.

    Arguments:
        nlp: The discretised problem.
        formulas: Its formulas, if they were traced just now.

    Raises:
        Unsupported: With the reason why there can be none.
    """
    if nlp.x0.device.type != "cpu" or nlp.x0.dtype not in (torch.float32, torch.float64):
        raise Unsupported(f"{nlp.x0.dtype} on {nlp.x0.device.type}")
    check_size(nlp)
    formulas = traced(nlp) if formulas is None else formulas
    key = formulas.key(), header(nlp, 0)
    if key in known:
        known.move_to_end(key)
        return known[key]
    name = type(nlp.problem).__name__
    try:
        made = Kernel(written(nlp, formulas))
    except Unsupported as error:
        raise Unsupported(f"{name} is not compiled: {error}") from error
    if not agrees(made, nlp):
        raise Unsupported(f"{name}'s formulas change from call to call")
    known[key] = made
    if len(known) > MOST_KERNELS:
        known.popitem(last=False)
    return made


MOST_ENTRIES = 2**31 - 1
"""The most entries of an array that C can count."""

MOST_ON_STACK = 2**17
"""The most numbers that the functions may keep on a thread's own stack: 1 MiB."""


def check_size(nlp: Transcription) -> None:
    """Raises Unsupported if an instance has more entries than C counts or has room for."""
    nx, nz, d = nlp.nx, nlp.nz, nlp.nz + nlp.nu
    rows, rows_end = nlp.along.rows, nlp.end.rows
    state = nz + 1 + nlp.n_psi
    local = nx * (state + nlp.nu) + 2 * nlp.nu * (state + nlp.nu) + 2 * nz**2 + state**2
    if local + 4 * (len(nlp.along) + len(nlp.end)) + 8 * d > MOST_ON_STACK:
        raise Unsupported(f"{nx} states, {nlp.nu} controls and {nlp.n_psi} rows are too many")
    variables = 2 * (nz + len(nlp.along)) + nlp.nu
    derivatives = (nx + 1 + rows) * (1 + d) + d * d
    entries = (nlp.n + 1) * (variables + derivatives) + (nlp.n_psi + rows_end + nz) * (nz + 2)
    if entries > MOST_ENTRIES:
        raise Unsupported(f"{nlp.n} steps make more than {MOST_ENTRIES} numbers")


def agrees(kernel: Kernel, nlp: Transcription) -> bool:
    """Whether the compiled functions agree with the problem's own at a few points."""
    part = nlp.take(torch.arange(min(2, len(nlp.x0))))
    z, u = part.constant_start(nlp.n)
    aside = lambda v: v + 0.1 * (1 + v.abs()) * wave(v)
    it = Iterate.without_multipliers(part, aside(z), aside(u))
    along, end = kernel.derivatives(part, it)
    at = torch.tensor([0, nlp.n // 3, nlp.n - 1])
    expected = part.stages(it.z[at], it.u[at], part.s[at])
    found = [value[at] for value in along.values]
    pairs = itertools.chain(
        zip(found, expected, strict=True),
        zip(end.values, part.ends(it.z[-1:], it.u[-1:]), strict=True),
    )
    tolerance = 1e-9 if nlp.x0.dtype == torch.float64 else 1e-3
    return all(
        torch.allclose(a, b.detach(), rtol=tolerance, atol=tolerance, equal_nan=True)
        for a, b in pairs
    )


def wave(like: Tensor) -> Tensor:
    """Numbers between -1 and 1 without a pattern that a formula could share."""
    return torch.arange(1, like.numel() + 1).to(like).mul(0.7310585).cos().reshape(like.shape)
