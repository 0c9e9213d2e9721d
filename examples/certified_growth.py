"""Grow a deep ResNet from a shallow one, so that a bound on its cost holds for certain.

    python -m examples.certified_growth

Trains ResNet-3 on handwritten digits without stage cost, grows it to ResNet-9 by blocks that
start at zero, and trains that with stage cost by steps that never increase the objective: it
starts at its bound and stays below. Expected output, up to the digits:

    step 0: J_N = 2.178
    ...
    step 5: J_N = 2.061
      M    Lbar    bound on J_N    J_N    bound on mean L    mean L
    ---  ------  --------------  -----  -----------------  --------
      3   1.833           2.178  2.061              10.89     1.837
    J_N = 2.061 is below 1 of 1 bounds; they are certified: ...
"""

import itertools

import torch

from ocnet import Sample
from ocnet.analysis import grow, loss_bounds, monotone

from .stage_cost_digits import trained


GAMMA = 0.02


def main() -> None:
    """Trains, grows, trains on, prints the bound next to what it bounds."""
    shallow, problem = trained(0, 0.0, 4, depth=3, widths=(8,))
    images, labels = problem.data("train")
    assert labels is not None
    some = Sample(images[:200], labels[:200])
    deep = grow(shallow.eval(), 9, GAMMA, torch.Generator().manual_seed(0))
    for step, J in enumerate(itertools.islice(monotone(deep, some), 6)):
        print(f"step {step}: J_N = {J:.4g}")
    found = loss_bounds(deep, some, GAMMA, shallow={3: shallow}, certified=True)
    print(found.table())
    print(found.verdict)


if __name__ == "__main__":
    main()
