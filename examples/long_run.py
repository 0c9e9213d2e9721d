"""A run that is interrupted and resumed, with the parts of a long run in plain sight.

    python -m examples.long_run

Trains a Neural ODE on handwritten digits twice: by `ocnet.run`, in two sittings, and by a loop
written out with the same parts. Both end with the same parameters, bit by bit. Expected output
(CPU, some seconds):

    first sitting: 40 steps, then Ctrl-C
    second sitting: 64 steps, validation accuracy 0.933, test accuracy 0.914
    the loop written out ends with the same parameters: True
"""

import argparse
import os
import signal
from pathlib import Path

import torch

from ocnet import SupervisedProblem, training
from ocnet.learning import Average
from ocnet.run import Config, Interrupted, Job, run_job, RunFolder


CONFIG = Config.of(
    "problems.digits:Digits",
    epochs=4,
    batch_size=64,
    schedule="cosine",
    warmup=5,
    clip=1.0,
    ema=0.98,
    device="cpu",
)


def sittings(folder: RunFolder) -> Job:
    """The run: Ctrl-C comes in its 40th step, then it is resumed from its folder."""
    folder.create(CONFIG, {})
    job = Job(CONFIG)
    assert isinstance(job.problem, SupervisedProblem)
    augment = job.problem.augment

    def interrupting(*arguments: object) -> object:
        if job.step == 39:
            os.kill(os.getpid(), signal.SIGINT)
        return augment(*arguments)  # pyright: ignore[reportArgumentType]

    job.problem.augment = interrupting  # pyright: ignore[reportAttributeAccessIssue]
    try:
        run_job(job, folder)
    except Interrupted as stop:
        print(f"first sitting: {stop.step} steps, then Ctrl-C")

    job = Job(folder.config())
    result = run_job(job, folder)
    print(
        f"second sitting: {result['steps']} steps, validation accuracy "
        f"{result['validation']['accuracy']:.3f}, test accuracy {result['test']['accuracy']:.3f}"
    )
    return job


def written_out() -> tuple[Job, Average]:
    """The same training by a loop of one's own: schedule, clipping and average are objects."""
    job = Job(CONFIG)
    average = Average(job.parameters, 0.98)
    steps = training(
        job.problem,
        job.control,
        job.solver,
        job.optimizer,
        job.batches,
        engine=job.engine,
        clip=1.0,
    )
    for step in range(job.iterations):
        job.schedule.apply(job.optimizer, step)
        next(steps)
        average.update()
    return job, average


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/long_run"))
    folder = RunFolder(parser.parse_args().out)
    resumed = sittings(folder)
    job, average = written_out()
    resumed.load_state_dict(folder.latest()["job"])  # pyright: ignore[reportOptionalSubscript]
    assert resumed.average is not None
    ends = ((resumed.parameters, job.parameters), (resumed.average.average, average.average))
    same = all(torch.equal(a, b) for end in ends for a, b in zip(*end, strict=False))
    print(f"the loop written out ends with the same parameters: {same}")


if __name__ == "__main__":
    main()
