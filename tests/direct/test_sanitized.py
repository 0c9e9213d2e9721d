"""Compiled problems under AddressSanitizer and UBSan: the short form of `tests.sanitize`."""

import re

import pytest

from tests import sanitize


PLANTED = """
__attribute__((constructor)) static void planted(void) {
  volatile real *p = malloc(4 * sizeof(real));
  p[4] = 1;
}
"""


@pytest.fixture(scope="module", autouse=True)
def sanitizers() -> None:
    reason = sanitize.supported()
    if reason:
        pytest.skip(reason)


@pytest.mark.slow
def test_random_problems_are_clean() -> None:
    done = sanitize.run(problems=2, seed=1)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.endswith("clean\n")


@pytest.mark.slow
def test_a_planted_overflow_is_found() -> None:
    done = sanitize.run(problems=0, seed=0, source=PLANTED)
    assert done.returncode != 0 and "clean" not in done.stdout
    assert re.search("kernel.c:.*insufficient space|heap-buffer-overflow", done.stderr)
