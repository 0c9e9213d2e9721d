"""The options of `ocnet train` that no other command has, each under the name of its value."""

from pathlib import Path
from typing import Annotated

import typer


Solver = Annotated[str, typer.Option(help="euler, heun, rk4, rk38 or a method of torchdiffeq.")]
Gradient = Annotated[
    str,
    typer.Option(
        help="backprop; costate; to save memory checkpoint, reversible or adjoint (torchdiffeq)."
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the data set.")]
Iterations = Annotated[int | None, typer.Option(help="Optimiser steps [1000].")]
BatchSize = Annotated[int, typer.Option(help="Samples of one optimiser step.")]
Optimizer = Annotated[str, typer.Option(help="sgd, adam, adamw or lbfgs.")]
LearningRate = Annotated[
    float | None, typer.Option(help="Learning rate [sgd 0.1, adam 0.01, adamw 0.001, lbfgs 1].")
]
WeightDecay = Annotated[
    float, typer.Option(help="Weight decay; of a residual network, that of its branches.")
]
Schedule = Annotated[str, typer.Option(help="constant, cosine or step.")]
Warmup = Annotated[int, typer.Option(help="Iterations over which the rate first grows.")]
GammaSchedule = Annotated[
    str, typer.Option(help="Of the weight of the stage cost: constant, cosine or step.")
]
GammaWarmup = Annotated[int, typer.Option(help="Iterations over which gamma first grows.")]
Clip = Annotated[float | None, typer.Option(help="Largest norm of the gradient.")]
Accumulate = Annotated[
    int, typer.Option(help="Parts in which a batch is computed, to save memory.")
]
Precision = Annotated[str, typer.Option(help="32, bf16 or 16.")]
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
Ema = Annotated[float | None, typer.Option(help="Decay of the moving average of the weights.")]
Patience = Annotated[
    int | None, typer.Option(help="Stop after so many validations without improvement.")
]
EvaluateEvery = Annotated[
    int | None, typer.Option(help="Iterations between validations [an epoch].")
]
CheckpointEvery = Annotated[float, typer.Option(help="Seconds between checkpoints.")]
Depth = Annotated[int | None, typer.Option(help="Short for --set depth=...")]
Gamma = Annotated[float | None, typer.Option(help="Short for --set gamma=...")]
Data = Annotated[Path | None, typer.Option(help="Short for --set data=..., a folder.")]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write the metrics for TensorBoard, too.")
]
