"""How fast the depth-scaling studies are, each against the plain way to do the same.

Run from the root of the repository:

    python -m tests.benchmarks.scaling [--full]

Ratios come from one run, medians of repeats. The plain ways are those of public code: one path of
fractional noise per call (Davies and Harte's method in a loop over coefficients, as in the `fbm`
package: its functions compute the eigenvalues anew at each call, its objects keep them), and one
network at a time by autograd. They are timed on a share of the work and scaled up. --full also
times figures 1 and 3 at full size, and three of the 51 rows of figure 7, which take the same work
and memory each, with the peak of the resident memory.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from tabulate import tabulate

from examples.scaling_paper.studies import iid_depth_study, map_study
from ocnet import Euler, init
from ocnet.scaling import measure, Res3


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The median wall time of a piece of work, after one run to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def eigenvalues(n: int, H: float) -> np.ndarray:
    """Those of the circulant matrix, by a loop for the covariances and an FFT."""
    gamma = lambda k: (abs(k - 1) ** (2 * H) - 2 * abs(k) ** (2 * H) + abs(k + 1) ** (2 * H)) / 2
    row = [gamma(i) for i in range(n + 1)]
    return np.fft.fft(row + row[n - 1 : 0 : -1]).real


def one_path(spectrum: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One path of fractional noise, its Fourier coefficients one after the other."""
    n = len(spectrum) // 2
    w = np.zeros(2 * n, dtype=complex)
    z = rng.normal(size=(2, n))
    for i in range(2 * n):
        if i == 0 or i == n:
            w[i] = np.sqrt(spectrum[i] / (2 * n)) * z[0, i % n]
        elif i < n:
            w[i] = np.sqrt(spectrum[i] / (4 * n)) * (z[0, i] + 1j * z[1, i])
        else:
            w[i] = np.conj(w[2 * n - i])
    return np.fft.fft(w).real[:n]


def noise_rows() -> list[list[object]]:
    """fBm weights of a width-40, depth-1000 res-3: 3,200 paths, against both ways of one path."""
    L, H, paths, share = 1000, 0.7, 3200, 10
    network = Res3(L, kind=init.FractionalNoise(H), d=40)
    rng, kept = np.random.default_rng(0), eigenvalues(L, H)
    ours = seconds(lambda: network.draw(1), repeats=9)
    rows = []
    for name, path in (
        ("eigenvalues anew", lambda: one_path(eigenvalues(L, H), rng)),
        ("eigenvalues kept", lambda: one_path(kept, rng)),
    ):
        plain = seconds(lambda path=path: [path() for _ in range(share)], 9) * paths / share
        rows.append([f"fBm weights, d = 40, L = 1000, {name}", ours, plain, plain / ours])
    return rows


def ratio_row() -> list[object]:
    """Forward and backward ratios of 50 networks, L = 300, three scalings each."""
    L, repeats, betas = 300, 50, (0.25, 0.5, 1.0)
    network = Res3(L, d=40)
    ours = seconds(lambda: measure(network, betas, repeats=repeats))

    def one_network() -> None:
        deep = Res3(L, 0.5, d=40)
        x0, target = deep.sample(1)
        h = Euler(L).solve(deep, deep.initial_control(L), deep.embed(x0)).states
        torch.autograd.grad(deep.terminal_cost(h[-1], target).sum(), h)

    plain = seconds(one_network) * repeats * len(betas)
    return ["ratios of 150 networks, L = 300", ours, plain, plain / ours]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="time the figures 1, 3 and 7 as well")
    arguments = parser.parse_args()
    rows = [*noise_rows(), ratio_row()]
    print(tabulate(rows, ["work", "batched (s)", "one by one (s)", "ratio"], floatfmt=".3g"))
    if arguments.full:
        for name, study, chunks in (
            ("figures 1 and 3, all depths", iid_depth_study(False), range(13)),
            ("figure 7, rows 1, 26 and 51 of 51", map_study(False), (0, 25, 50)),
        ):
            start, cpu = time.perf_counter(), time.process_time()
            for chunk in chunks:
                study.compute(chunk)
            wall = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{name}: {wall:.1f} s, {time.process_time() - cpu:.1f} s of CPU, peak so far "
                f"{peak:.2f} GiB"
            )
    print(f"{torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
