"""The options of `ocnet train` that no other command has, each under the name of its value."""

from pathlib import Path
from typing import Annotated

import typer

from ..registry import GRADIENTS, OPTIMIZERS, SCHEDULES, SOLVERS
from . import checks


Solver = Annotated[
    str,
    typer.Option(
        callback=checks.one_of(*SOLVERS),
        help="euler, heun, rk4, rk38 or a method of torchdiffeq.",
    ),
]
Gradient = Annotated[
    str,
    typer.Option(
        callback=checks.one_of(*GRADIENTS),
        help="backprop; costate; to save memory checkpoint, reversible or adjoint (torchdiffeq).",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="Passes over the data set.",
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="Optimiser steps [1000].",
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="Samples of one optimiser step.",
    ),
]
Optimizer = Annotated[
    str, typer.Option(callback=checks.one_of(*OPTIMIZERS), help="sgd, adam, adamw or lbfgs.")
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        parser=checks.number,
        metavar="NUMBER",
        callback=checks.between(0),
        help="Learning rate [sgd 0.1, adam 0.01, adamw 0.001, lbfgs 1].",
    ),
]
WeightDecay = Annotated[
    float,
    typer.Option(
        parser=checks.number,
        metavar="NUMBER",
        callback=checks.between(0, low_itself=True),
        help="Weight decay; of a residual network, that of its branches.",
    ),
]
Schedule = Annotated[
    str, typer.Option(callback=checks.one_of(*SCHEDULES), help="constant, cosine or step.")
]
Warmup = Annotated[
    int,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(0),
        help="Iterations over which the rate first grows.",
    ),
]
GammaSchedule = Annotated[
    str,
    typer.Option(
        callback=checks.one_of(*SCHEDULES),
        help="Of the weight of the stage cost: constant, cosine or step.",
    ),
]
GammaWarmup = Annotated[
    int,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(0),
        help="Iterations over which gamma first grows.",
    ),
]
Clip = Annotated[
    float | None,
    typer.Option(
        parser=checks.number,
        metavar="NUMBER",
        callback=checks.between(0),
        help="Largest norm of the gradient.",
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="Parts in which a batch is computed, to save memory.",
    ),
]
Precision = Annotated[
    str, typer.Option(callback=checks.one_of("32", "bf16", "16"), help="32, bf16 or 16.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the layers.")]
Capture = Annotated[
    bool, typer.Option("--capture", help="Record the steps as CUDA graphs and replay them.")
]
ChannelsLast = Annotated[
    bool | None,
    typer.Option(
        "--channels-last/--channels-first", help="Layout of images in memory [last on a GPU]."
    ),
]
Sharded = Annotated[
    bool, typer.Option("--sharded", help="Share the parameters among the processes (FSDP2).")
]
SyncNorms = Annotated[bool, typer.Option("--sync-norms", help="Batch norm over all processes.")]
Ema = Annotated[
    float | None,
    typer.Option(
        parser=checks.number,
        metavar="NUMBER",
        callback=checks.between(0, 1),
        help="Decay of the moving average of the weights.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="Stop after so many validations without improvement.",
    ),
]
EvaluateEvery = Annotated[
    int | None,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(1),
        help="Iterations between validations [an epoch].",
    ),
]
CheckpointEvery = Annotated[
    float,
    typer.Option(
        parser=checks.number,
        metavar="NUMBER",
        callback=checks.between(0, low_itself=True),
        help="Seconds between checkpoints.",
    ),
]
Depth = Annotated[
    int | None,
    typer.Option(
        parser=checks.whole,
        metavar="INTEGER",
        callback=checks.at_least(0),
        help="Short for --set depth=...",
    ),
]
Gamma = Annotated[
    float | None,
    typer.Option(
        parser=checks.number,
        metavar="NUMBER",
        callback=checks.between(0, low_itself=True),
        help="Short for --set gamma=...",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(callback=checks.image_folder, help="Short for --set data=..., a folder."),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write the metrics for TensorBoard, too.")
]
