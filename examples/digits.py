"""The main job in Python: train a residual network on digits as an OCP, compare it with the ODE.

    python -m examples.digits [--quick] [--out DIR]

Writes runs/digits/report.html and its pictures. The test accuracy of the full size is about 96%;
`ocnet compare problems.digits:Digits` does the same from the shell. Expected output of the quick
size (CPU, a few seconds; times and memory left out):

    solver      cost J    |J - J_ref|    |x(T) - x_ref(T)|    order  ...  accuracy
    Euler(8)       ...
    ...
    At 8 steps this network behaves like an ODE: its cost differs from the ODE's by ...
"""

import argparse
from pathlib import Path

import torch

from ocnet import compare, Euler, Heun, plot, RK4, TorchDiffEq, train
from ocnet.report import Section, write_report
from problems.digits import Digits


def main() -> None:
    """Trains, compares and writes the report."""
    parser = argparse.ArgumentParser(description="A residual network on digits and its ODE.")
    parser.add_argument("--quick", action="store_true", help="a shallow network, few steps")
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    arguments = parser.parse_args()
    n, n_steps = (8, 60) if arguments.quick else (16, 500)

    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    problem = Digits(gamma=0.1)
    control = problem.initial_control(n, generator)
    parameters = [*control.parameters(), *problem.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    history = train(
        problem, control, Euler(n), optimizer, n_steps=n_steps, batch_size=128, generator=generator
    )

    comparison = compare(problem, control, [Euler(n), Heun(n), RK4(n), TorchDiffEq(rtol=1e-6)])
    print(comparison.text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_report(
        arguments.out / "report.html",
        "Digits: Euler against ODE solvers",
        [
            Section(table=comparison.table("html")),
            Section(figure=plot.trajectories(comparison), caption="States of the first scan."),
            Section(figure=plot.work_precision(comparison), caption="Accuracy and its price."),
            Section(figure=plot.histories({f"{n} steps": history}), caption="Training."),
        ],
        comparison.provenance,
    )


if __name__ == "__main__":
    main()
