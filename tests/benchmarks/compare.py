"""How long `ocnet compare` takes on the cart of the README, next to another checkout.

    python -m tests.benchmarks.compare --other CHECKOUT [--rounds 3]

Both run the whole command in a process of their own, and take turns, so that a machine's moods hit
both alike. The time is that of the processor, user and system: what else runs does not count.
Target: at most half of what it took before there was one certificate (checkout c676e5c).
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


HERE = Path(__file__).resolve().parents[2]


def main() -> None:
    """Prints the seconds of each round, and the median of the ratios."""
    parser = argparse.ArgumentParser(description="Time `ocnet compare` on two checkouts.")
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    other = arguments.other.resolve()
    with tempfile.TemporaryDirectory() as folder:
        cart = Path(folder) / "cart.py"
        cart.write_text(readme_cart(), encoding="utf-8")
        ratios = []
        for k in range(arguments.rounds):
            order = (HERE, other) if k % 2 == 0 else (other, HERE)
            taken = {checkout: seconds(checkout, cart) for checkout in order}
            ratios.append(taken[HERE] / taken[other])
            print(
                f"round {k + 1}: here {taken[HERE]:.1f} s, other {taken[other]:.1f} s, "
                f"ratio {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"ratio: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def readme_cart() -> str:
    """The class of the README, without the lines that train it."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    return code.split("problem = Cart()")[0]


def seconds(checkout: Path, cart: Path) -> float:
    """The processor's seconds of `ocnet compare` from a checkout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "ocnet", "compare", f"{cart}:Cart"],
        check=True,
        cwd=cart.parent,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
