"""Take blocks out of all stages of a ResNet, in four orders, side by side.

    python -m examples.prune_inside [--quick]

Trains a network of three stages on handwritten digits and removes blocks one at a time: the one
whose removal was tried and raises the validation loss least; the one whose removal costs least to
first order by the costate, |p_{k+1} . F_k|; the last; a random one. A block that changes the stage
loses its branch and keeps its skip. After each removal the batch-norm statistics are renewed and
the test accuracy is measured. `--quick` trains for 4 epochs, too few for the order to mean much.
Otherwise it trains for 15, with this outcome (seed 0; the digits depend on the machine). In this
run both criteria give the same from the third removal on. They part from the random order at the
fourth removal and from the end at the fifth; at the fourth, taking the last is better. It is one
run of one seed:

      removed    tried    least cost    last    random
    ---------  -------  ------------  ------  --------
            0    97.50         97.50   97.50     97.50
            1    97.50         97.50   97.50     97.50
            2    96.67         97.22   96.67     96.67
            3    97.22         97.22   97.22     93.61
            4    95.00         95.00   97.22     85.00
            5    94.72         94.72   85.56     82.50
"""

import argparse

import torch

from ocnet.analysis import at_random, last, least_cost, remove_blocks, tried
from ocnet.plot import removal_table

from .stage_cost_digits import trained


def main() -> None:
    """Trains, removes blocks in four orders, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    epochs = 4 if parser.parse_args().quick else 15
    network, problem = trained(0, 0.0, epochs, depth=9, widths=(8, 16, 16))
    validation, test = problem.data("validation"), problem.data("test")
    choices = {
        "tried": tried(validation),
        "least cost": least_cost(validation),
        "last": last,
        "random": at_random(torch.Generator().manual_seed(0)),
    }
    images = problem.data("train").x0.split(256)
    removals = {
        name: remove_blocks(network.eval(), 5, choice, validation, images, test=test)
        for name, choice in choices.items()
    }
    print(removal_table(removals))


if __name__ == "__main__":
    main()
