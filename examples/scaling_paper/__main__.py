"""Draws the figures of the depth-scaling paper, each from a study that resumes where it stopped.

Run from the root of the repository:

    python -m examples.scaling_paper figure 7 --quick
    python -m examples.scaling_paper limit --quick

Picture, data and provenance go to `--out`. Expected (figure 6, one second):

    Fractional noise is drawn exactly; public samplers inflate its variance above H = 0.8, so the
    published picture differs there.
    picture: runs/scaling/figure-6-quick.png

Figures 8 and 9 train: `--dataset digits` needs nothing, `mnist` and `cifar10` are read from
`--data DIR`. Source: P. Marion, A. Fermanian, G. Biau, J.-P. Vert, "Scaling ResNets in the
Large-depth Regime", JMLR 26, 2025.
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch
from matplotlib.figure import Figure

from ocnet.learning import choose_device
from ocnet.origin import provenance
from ocnet.scaling import (
    Arrays,
    DATA,
    ode_limit_of_smooth_weights,
    run_study,
    save_arrays,
    sde_limit_of_random_weights,
    Study,
)

from . import pictures
from .classification import chosen, grid_study, TrainingSetting, weight_study
from .studies import (
    histogram_study,
    iid_depth_study,
    map_study,
    path_study,
    smooth_depth_study,
)


EXACT_NOISE = (
    "Fractional noise is drawn exactly; public samplers inflate its variance above H = 0.8, so the "
    "published picture differs there."
)
SMOOTH = (
    "Smooth weights are values of the Gaussian process, the authors' later definition; their "
    "first, its increments, is init.SmoothIncrements."
)
CHOICE = (
    "The learning rate is chosen on a validation part; the authors chose it on test accuracy, "
    "which flatters the published picture."
)


class Recipe(NamedTuple):
    """How a figure is made: its study, its picture, and what differs from the published one."""

    study: Callable[[bool, TrainingSetting], Study]
    picture: Callable[[Arrays, str], Figure]
    note: str = ""


def at_initialisation(study: Callable[[bool], Study]) -> Callable[[bool, TrainingSetting], Study]:
    """A study that needs neither data nor an accelerator."""
    return lambda quick, setting: study(quick)


def ratios(direction: str) -> Callable[[Arrays, str], Figure]:
    """The picture of a ratio, "forward" or "backward", against the depth."""
    return lambda arrays, data: pictures.depth_ratios(arrays, direction)


FIGURES = {
    1: Recipe(at_initialisation(iid_depth_study), ratios("forward")),
    2: Recipe(at_initialisation(histogram_study), lambda a, data: pictures.histograms(a)),
    3: Recipe(at_initialisation(iid_depth_study), ratios("backward")),
    4: Recipe(at_initialisation(smooth_depth_study), ratios("forward"), SMOOTH),
    5: Recipe(at_initialisation(smooth_depth_study), ratios("backward"), SMOOTH),
    6: Recipe(at_initialisation(path_study), lambda a, data: pictures.paths(a), EXACT_NOISE),
    7: Recipe(at_initialisation(map_study), lambda a, data: pictures.regime_map(a), EXACT_NOISE),
    8: Recipe(weight_study, pictures.trained_weights),
    9: Recipe(grid_study, lambda a, data: pictures.accuracy_map(chosen(a), data), CHOICE),
}


def main(arguments: list[str] | None = None) -> None:
    """Runs what the command line asks for."""
    parser = command_line()
    options = parser.parse_args(arguments)
    try:
        options.run(options, parser.error)
    except (ValueError, TypeError, OSError) as error:
        parser.error(" ".join(str(error).split()))


def command_line() -> argparse.ArgumentParser:
    """The two commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.scaling_paper", description="The figures of the paper."
    )
    commands = parser.add_subparsers(required=True)
    figure = commands.add_parser("figure", help="Draw a figure of the paper.")
    figure.add_argument("number", metavar="N", type=int, help="the figure, 1 to 9")
    figure.add_argument("--dataset", help="figures 8, 9: digits, mnist or cifar10")
    figure.add_argument("--data", metavar="DIR", type=Path, help="what holds mnist or cifar10")
    figure.add_argument("--device", default="cpu", help="figures 8, 9: cpu or cuda")
    figure.add_argument("--compile", action="store_true", help="figures 8, 9: compile a layer")
    figure.add_argument("--images", type=int, help="figures 8, 9: train on so many images only")
    figure.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler for the chunks")
    figure.set_defaults(run=draw)
    limit = commands.add_parser("limit", help="Compare ever deeper networks with their limits.")
    limit.add_argument("--seed", type=int, default=0, help="seed of everything random")
    limit.set_defaults(run=compare_limits)
    for command in (figure, limit):
        command.add_argument("--quick", action="store_true", help="a small version")
        command.add_argument(
            "--out", metavar="DIR", type=Path, default=Path("runs/scaling"),
            help="folder of the results; an unfinished study resumes",
        )  # fmt: skip
    return parser


def draw(options: argparse.Namespace, refuse: Callable[[str], NoReturn]) -> None:
    """Computes a figure's study and writes picture, data and provenance."""
    number, quick, out = options.number, options.quick, options.out
    if number not in FIGURES:
        refuse(f"N must be one of 1 to 9, but got {number}.")
    trains = number in (8, 9)
    dataset = options.dataset or ("digits" if quick else "mnist")
    if dataset not in DATA:
        refuse(f"--dataset must be one of {', '.join(DATA)}, but got {dataset}.")
    if trains and dataset != "digits" and options.data is None:
        refuse(f"--data DIR must say where {dataset} is stored.")
    recipe, device = FIGURES[number], choose_device(options.device)
    setting = TrainingSetting(dataset, options.data, str(device), options.compile, options.images)
    study = recipe.study(quick, setting)
    with workers(options.scheduler, refuse) as executor:
        arrays = run_study(study, out / "chunks", executor=executor)
    name = "-".join(["figure", str(number), *[dataset] * trains, *["quick"] * quick])
    picture = out / f"{name}.png"
    recipe.picture(arrays, dataset).savefig(picture, dpi=160)
    save_arrays(out / f"{name}.npz", arrays)
    record = {"note": recipe.note, **origin(study, arrays, device)}
    (out / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for line in (overflow_line(arrays), recipe.note, f"picture: {picture}"):
        if line:
            print(textwrap.fill(line, 99))


def compare_limits(options: argparse.Namespace, refuse: Callable[[str], NoReturn]) -> None:
    """Measures the distance to the limits, an ODE (slope -1) and an SDE (slope -1/2)."""
    deepest = 128 if options.quick else 1024
    seed = options.seed
    comparisons = {
        r"ODE, smooth weights, $\beta = 1$": ode_limit_of_smooth_weights(deepest, seed),
        r"SDE, independent weights, $\beta = 1/2$": sde_limit_of_random_weights(deepest // 2, seed),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for label, comparison in comparisons.items():
        print(f"{label.split(',')[0]}: error ~ L**{comparison.slope:.2f}")
    pictures.limit(comparisons).savefig(options.out / "limit.png", dpi=160)
    print(f"picture: {options.out / 'limit.png'}")


def origin(study: Study, arrays: Arrays, device: torch.device) -> dict[str, object]:
    """Where the arrays of a study come from, and how long they took."""
    return {
        "study": repr(study),
        "seconds": round(float(arrays["seconds"].sum()), 1),
        **provenance(device),
        "command": " ".join(["python -m examples.scaling_paper", *sys.argv[1:]]),
    }


def workers(
    scheduler: str | None, refuse: Callable[[str], NoReturn]
) -> AbstractContextManager[Executor | None]:
    """The executor of a Dask cluster, or None."""
    if scheduler is None:
        return nullcontext()
    try:
        from dask.distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError:
        refuse("--scheduler needs the extra: pip install ocnet[dask].")
    return Client(scheduler).get_executor()


def overflow_line(arrays: Arrays) -> str:
    """How many of the networks single precision could not hold."""
    if "beyond_float32" not in arrays:
        return ""
    share = arrays["beyond_float32"]
    if not share.any():
        return "No network leaves the range of float32."
    return (
        f"{share.mean():.1%} of the networks leave the range of float32 (at most {share.max():.0%} "
        "at one setting); all are computed in the log domain."
    )


if __name__ == "__main__":
    main()
