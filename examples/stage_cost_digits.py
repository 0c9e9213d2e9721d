"""Stage cost makes a ResNet settle early: handwritten digits, three seeds.

    python -m examples.stage_cost_digits [--quick] [--out DIR]

Trains a homogeneous ResNet (18 blocks of 16 filters) for 40 epochs with and without stage cost,
from the same start, and prints for each seed the test accuracy of the whole network and of its
SubResNet at the plateau, from where on no output is 0.5 points worse than the last on the
validation data. `--quick` trains one seed for 4 epochs, too short to reach a plateau.
Measured in full size (six CPU minutes; examples/results/stage_cost_digits.json): with stage cost
pruning to 3, 7 and 5 blocks of 18 costs no accuracy (99.4% after, or more), without it 64.7, 3.9
and 21.4 points; in the deeper half |y^_{k+1} - y^_k| is 0.30 against 0.79. The settings were chosen
after a first run of the same seeds, which the file tells, so fresh seeds would be the proof.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tabulate import tabulate

from ocnet import Sample, training
from ocnet.analysis.depth import depth_profile, DepthProfile
from ocnet.plot import depth as plot
from ocnet.provenance import provenance
from ocnet.resnet import collect_statistics, ResNet
from problems.images import Digits


DEPTH, BATCH = 18, 64
DECAY = 5e-3
"""The weight decay: over these few steps about as much as 1e-4 over the paper's 165 epochs."""


@dataclass(frozen=True)
class Outcome:
    """One trained network.

    Attributes:
        seed, gamma: How it was trained.
        cpu_seconds: How long that took, on one core.
        accuracy: Its test accuracy.
        plateau: The depth at which stage-cost training of the same seed reaches its plateau.
        pruned: The test accuracy of its SubResNet of that depth.
        late_change: The mean of `|y^_{k+1} - y^_k|` over the second half of the depth.
        late_weights: The mean of `|w_F,k|` there.
        rate: The rate at which the states approach the turnpike.
    """

    seed: int
    gamma: float
    cpu_seconds: float
    accuracy: float
    plateau: int
    pruned: float
    late_change: float
    late_weights: float
    rate: float


def trained(
    seed: int, gamma: float, epochs: int, depth: int = DEPTH, widths: tuple[int, ...] = (16,)
) -> tuple[ResNet, Digits]:
    """A network trained by SGD with the learning rate divided by ten after 1/2 and 3/4."""
    torch.manual_seed(seed)
    problem = Digits(depth, gamma, widths)
    network = ResNet(problem, problem.initial_control(depth))
    parameters = network.parameters()
    optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=DECAY)
    images, labels = problem.data("train")
    assert labels is not None
    steps = epochs * (len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4])
    epoch = (torch.randperm(len(labels)).split(BATCH)[:-1] for _ in range(epochs))
    batches = (Sample(images[i], labels[i]) for order in epoch for i in order)
    for _ in training(problem, network.control, network.solver, optimizer, batches):
        schedule.step()
    collect_statistics(network, images.split(256))
    return network, problem


def outcomes(seed: int, epochs: int) -> tuple[list[Outcome], dict[str, DepthProfile]]:
    """Both trainings of one seed, and the networks along their depth."""
    results, profiles, plateau = [], {}, DEPTH
    for name, gamma in (("stage cost", 0.02), ("standard", 0.0)):
        start = time.process_time()
        network, problem = trained(seed, gamma, epochs)
        seconds = time.process_time() - start
        validation = depth_profile(network, problem.data("validation"))
        profile = depth_profile(network, problem.data("test"))
        if gamma:
            good = validation.accuracy >= validation.accuracy[-1] - 0.005
            plateau = int(DEPTH + 1 - good[::-1].argmin()) if not good.all() else 0
        late = slice(DEPTH // 2, None)
        results.append(
            Outcome(
                seed,
                gamma,
                seconds,
                accuracy=100 * float(profile.accuracy[-1]),
                plateau=plateau,
                pruned=100 * float(profile.accuracy[plateau]),
                late_change=float(profile.change[late].mean()),
                late_weights=float(profile.weights[late].mean()),
                rate=profile.turnpike.rate,
            )
        )
        profiles[name] = profile
    return results, profiles


def main() -> None:
    """Trains, prints the table and writes results and pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/stage_cost_digits"))
    options = parser.parse_args()
    seeds, epochs = ([0], 4) if options.quick else ([0, 1, 2], 40)
    options.out.mkdir(parents=True, exist_ok=True)
    results, profiles = [], {}
    for seed in seeds:
        found, profiles = outcomes(seed, epochs)
        results += found
    rows = [asdict(result) for result in results]
    print(tabulate(rows, headers="keys", floatfmt=".4g"))
    record = {"epochs": epochs, "outcomes": rows, "provenance": provenance(torch.device("cpu"))}
    (options.out / "stage_cost_digits.json").write_text(json.dumps(record, indent=2) + "\n")
    for name in ("outputs", "changes", "turnpike"):
        getattr(plot, name)(profiles).savefig(options.out / f"{name}.png", dpi=160)


if __name__ == "__main__":
    main()
