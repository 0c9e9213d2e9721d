"""`ocnet scaling` and `ocnet regime`: what initialisation and scaling do to deep networks."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer
from matplotlib.figure import Figure

from ..analysis.scaling.classification import chosen, grid_study, Setting, weight_study
from ..analysis.scaling.diagnosis import diagnose
from ..analysis.scaling.images import DATA
from ..analysis.scaling.limits import ode_limit_of_smooth_weights, sde_limit_of_random_weights
from ..analysis.scaling.studies import (
    histogram_study,
    iid_depth_study,
    map_study,
    path_study,
    smooth_depth_study,
)
from ..analysis.scaling.sweep import Arrays, run_study, save, Study
from ..plot import scaling as plot
from ..provenance import provenance
from ..train.engine import choose_device
from .options import (
    new_folder,
    OutOption,
    problem_from,
    reported,
    SeedOption,
    SetOption,
    SpecArgument,
    StepsOption,
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

    study: Callable[[bool, Setting], Study]
    picture: Callable[[Arrays, str], Figure]
    note: str = ""


def at_initialisation(
    study: Callable[[bool], Study],
) -> Callable[[bool, Setting], Study]:
    """A study that needs no data and no accelerator."""
    return lambda quick, setting: study(quick)


FIGURES = {
    1: Recipe(at_initialisation(iid_depth_study), lambda a, data: plot.depth_ratios(a, "forward")),
    2: Recipe(at_initialisation(histogram_study), lambda a, data: plot.histograms(a)),
    3: Recipe(at_initialisation(iid_depth_study), lambda a, data: plot.depth_ratios(a, "backward")),
    4: Recipe(
        at_initialisation(smooth_depth_study),
        lambda a, data: plot.depth_ratios(a, "forward"),
        SMOOTH,
    ),
    5: Recipe(
        at_initialisation(smooth_depth_study),
        lambda a, data: plot.depth_ratios(a, "backward"),
        SMOOTH,
    ),
    6: Recipe(at_initialisation(path_study), lambda a, data: plot.paths(a), EXACT_NOISE),
    7: Recipe(at_initialisation(map_study), lambda a, data: plot.regime_map(a), EXACT_NOISE),
    8: Recipe(weight_study, plot.trained_weights),
    9: Recipe(grid_study, lambda a, data: plot.accuracy_map(chosen(a), data), CHOICE),
}

WorkOption = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", help="Folder of the results; an unfinished run resumes."),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="A small version: seconds, for 8 and 9 minutes.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        help="Depth scaling: figures and limits of scaled residual networks.", no_args_is_help=True
    )
    group.command("figure")(reported(figure_command))
    group.command("limit")(reported(limit_command))
    app.add_typer(group, name="scaling")
    app.command("regime")(reported(regime_command))


def figure_command(
    number: Annotated[int, typer.Argument(metavar="N", help="The figure of the paper, 1 to 9.")],
    quick: QuickOption = False,
    out: WorkOption = Path("runs/scaling"),
    dataset: Annotated[
        str | None,
        typer.Option(help="Figures 8, 9: digits, mnist or cifar10; digits if --quick, else mnist."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What holds mnist or cifar10: torchvision's or npz."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Figures 8, 9: cpu, or cuda, where a step is one graph.")
    ] = "cpu",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Figures 8, 9: compile what a layer does.")
    ] = False,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Figures 8, 9, full size: train on so many images only."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers compute the chunks."),
    ] = None,
) -> None:
    """Draw a figure of the depth-scaling paper; picture, data and provenance go to --out.

    For example:  ocnet scaling figure 7 --quick
    """
    if number not in FIGURES:
        raise typer.BadParameter(f"N must be one of 1 to 9, but got {number}.")
    dataset = ("digits" if quick else "mnist") if dataset is None else dataset
    if dataset not in DATA:
        raise typer.BadParameter(f"--dataset must be one of {', '.join(DATA)}, but got {dataset}.")
    if number in (8, 9) and dataset != "digits" and data is None:
        raise typer.BadParameter(f"--data DIR must say where {dataset} is stored.")

    recipe, place = FIGURES[number], choose_device(device)
    study = recipe.study(quick, Setting(dataset, data, str(place), compiled, images))
    with workers(scheduler) as executor:
        arrays = run_study(study, out / "chunks", executor=executor)
    name = "-".join(["figure", str(number), *[dataset] * (number in (8, 9)), *["quick"] * quick])
    recipe.picture(arrays, dataset).savefig(out / f"{name}.png", dpi=160)
    save(out / f"{name}.npz", arrays)
    record = {"note": recipe.note, **origin(study, arrays, place)}
    (out / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for line in (overflow_line(arrays), recipe.note, f"picture: {out / f'{name}.png'}"):
        if line:
            typer.echo(line)


def origin(study: Study, arrays: Arrays, device: torch.device) -> dict[str, object]:
    """Where the arrays of a study come from, and how long they took."""
    return {
        "study": repr(study),
        "seconds": round(float(arrays["seconds"].sum()), 1),
        **provenance(device),
        "command": " ".join(["ocnet", *sys.argv[1:]]),
    }


def workers(scheduler: str | None) -> AbstractContextManager[Executor | None]:
    """The executor of a Dask cluster, or nobody."""
    if scheduler is None:
        return nullcontext()
    try:
        from dask.distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise typer.BadParameter("--scheduler needs the extra: pip install ocnet[dask].") from None
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


def limit_command(
    quick: QuickOption = False, seed: SeedOption = 0, out: WorkOption = Path("runs/scaling")
) -> None:
    """Compare ever deeper networks with their limits: an ODE (slope -1) and an SDE (slope -1/2).

    For example:  ocnet scaling limit --quick
    """
    deepest = 128 if quick else 1024
    comparisons = {
        r"ODE, smooth weights, $\beta = 1$": ode_limit_of_smooth_weights(deepest, seed),
        r"SDE, independent weights, $\beta = 1/2$": sde_limit_of_random_weights(deepest // 2, seed),
    }
    out.mkdir(parents=True, exist_ok=True)
    for label, comparison in comparisons.items():
        typer.echo(f"{label.split(',')[0]}: error ~ L**{comparison.slope:.2f}")
    plot.limit(comparisons).savefig(out / "limit.png", dpi=160)
    typer.echo(f"picture: {out / 'limit.png'}")


def regime_command(
    spec: SpecArgument,
    settings: SetOption = None,
    steps: StepsOption = None,
    beta: Annotated[
        float | None,
        typer.Option(help="How the step shrinks with depth, L**-beta; from the step if not given."),
    ] = None,
    draws: Annotated[int, typer.Option(help="Controls to draw at each depth.")] = 4,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """Name the regime of a network (identity, ODE, SDE, explosion), and say what to change.

    For example:  ocnet regime problems.depth_scaling:Res3 --set beta=1.0
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    problem = problem_from(spec, settings)
    if steps is not None:
        problem.n_steps = steps
    found = diagnose(problem, beta=beta, draws=draws, generator=generator)
    typer.echo(found.text())
    if out is not None:
        folder = new_folder(out)
        plot.diagnosis(found).savefig(folder / "regime.png", dpi=160)
        (folder / "regime.txt").write_text(found.text() + "\n", encoding="utf-8")
        typer.echo(f"\npicture: {folder / 'regime.png'}")
