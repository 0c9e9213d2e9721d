"""The benchmarks of a training step, at a small size: that they compare like with like."""

import pytest
import torch

from tests.benchmarks import overhead, resnet54_step
from tests.benchmarks.resnet54_step import by_hand, by_ocnet, covered, Size, work


CPU = torch.device("cpu")
TINY = Size(depth=3, batch=4, pixels=8, steps=1, rounds=1)


@pytest.fixture(autouse=True)
def single_precision() -> None:
    torch.set_default_dtype(torch.float32)


def test_both_loops_take_the_same_steps() -> None:
    hand, ocnet = (make("eager", TINY, CPU) for make in (by_hand, by_ocnet))
    costs = [(next(hand), next(ocnet)) for _ in range(4)]
    assert len(set(costs)) == 4
    for by_the_one, by_the_other in costs:
        assert by_the_one == pytest.approx(by_the_other, rel=1e-2)


def test_so_do_the_loops_whose_overhead_is_compared() -> None:
    loops = [make() for make in (overhead.by_hand, overhead.bare, overhead.loop)]
    for _ in range(4):
        hand, bare, training = map(next, loops)
        assert hand == pytest.approx(bare, rel=1e-5) == pytest.approx(training, rel=1e-5)


def test_operations_are_those_of_its_convolutions() -> None:
    """Forward 2 m n k each; backward twice that, but for the first, whose images need none."""
    wide, narrow = (work(TINY._replace(batch=n), CPU) for n in (8, 4))
    assert wide[0] == 2 * narrow[0] > 0
    forward, convolutions = 0, [(3, 16, 8, 3), (16, 16, 8, 3), (16, 16, 8, 3)]
    convolutions += [(16, 32, 4, 3), (32, 32, 4, 3), (16, 32, 4, 1)]
    convolutions += [(32, 64, 2, 3), (64, 64, 2, 3), (32, 64, 2, 1)]
    each = [2 * 4 * a * b * pixels**2 * k**2 for a, b, pixels, k in convolutions]
    forward = sum(each) + 2 * 4 * 64 * 10
    assert narrow[0] == 3 * forward - each[0]
    assert wide[1] > narrow[1] > 0


def test_overlapping_kernels_count_once() -> None:
    assert covered([(0, 2), (1, 3), (4, 5), (4.5, 4.6), (7, 10)]) == pytest.approx(0.7)


def test_it_runs_in_one_command_and_says_what_it_cannot_measure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resnet54_step, "SMALL", TINY)
    resnet54_step.main(["--device", "cpu", "--forms", "eager", "captured"])
    out = capsys.readouterr().out
    assert "hand eager" in out and "ocnet eager" in out and "images/s" in out
    assert "of the matrix ceiling" in out and "ocnet captured" not in out
    assert "Not measured here: GPU figures" in out
