"""What scaling and initialisation do to a deep residual network, predicted and measured.

Run from the root of the repository:

    python -m examples.depth_scaling [--quick] [--out DIR]

Expected (two CPU cores, ten seconds; 200 networks of 100 layers, width 40):

    weights                 beta  predicted  measured  regime
    independent             0.25     11.424    11.769  explosion
    independent              0.5      0.804     0.813  SDE
    independent                1      0.071     0.071  identity
    smooth in depth          0.5          -    41.249  explosion
    smooth in depth            1      0.307     0.313  ODE
    smooth in depth            2      0.003     0.003  identity
    fractional, H = 0.8      0.5          -     4.281  explosion
    fractional, H = 0.8      0.8      0.501     0.510  SDE
    fractional, H = 0.8        1      0.192     0.195  identity

"predicted" is exact for independent weights and that of wide networks for the others, a dash where
that cannot be trusted. Writes a picture of the last network's norms to `regime.png`.
"""

import argparse
from pathlib import Path

import torch

from ocnet import init, plot
from ocnet.scaling import diagnose, measure, Res3, rms, Theory


CASES = (
    ("independent", init.Iid("uniform"), (0.25, 0.5, 1.0)),
    ("smooth in depth", init.SmoothValues(init.RBF(0.1)), (0.5, 1.0, 2.0)),
    ("fractional, H = 0.8", init.FractionalNoise(0.8), (0.5, 0.8, 1.0)),
)


def main() -> None:
    """Prints the table and diagnoses a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller networks")
    parser.add_argument("--out", type=Path, default=Path("runs/depth_scaling"))
    arguments = parser.parse_args()
    repeats, L, d = (20, 30, 20) if arguments.quick else (200, 100, 40)

    print(f"{'weights':22} {'beta':>5} {'predicted':>10} {'measured':>9}  regime")
    for name, kind, betas in CASES:
        generator = torch.Generator().manual_seed(0)
        # One draw of the weights serves every scaling.
        p = measure(Res3(L, kind=kind, d=d), betas, repeats=repeats, generator=generator)
        for beta, ratio in zip(betas, rms(p.log_forward[:, 0]).tolist(), strict=True):
            theory = Theory(Res3(L, beta, kind, d=d))
            predicted = f"{theory.forward:10.3f}" if theory.valid else f"{'-':>10}"
            print(f"{name:22} {beta:5g} {predicted} {ratio:9.3f}  {theory.regime}")

    network = Res3(L, 0.8, init.FractionalNoise(0.8), d=d)
    found = diagnose(network, generator=torch.Generator().manual_seed(0))
    print(f"\nThe last network, diagnosed without knowing its kind:\n\n{found.text()}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    plot.diagnosis(found).savefig(arguments.out / "regime.png", dpi=160)


if __name__ == "__main__":
    main()
