"""A pytest plugin that notes which functions each test calls: `-p tests.support.reach`.

`REACH_FILE` names the file that gets one JSON line a test, `REACH_PACKAGE` the package.
"""

import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import CodeType, FrameType

import pytest


FAILED: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Runs a test, then writes what it called, whether it passed and how long it took."""
    seen: set[CodeType] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    started = time.perf_counter()
    sys.setprofile(called)
    try:
        result = yield
    finally:
        sys.setprofile(None)
    seconds = time.perf_counter() - started
    root = f"{Path.cwd()}/"
    inside = root + os.environ["REACH_PACKAGE"] + "/"
    calls = {
        f"{code.co_filename.removeprefix(root)}:{code.co_qualname.split('.<locals>')[0]}"
        for code in seen if code.co_filename.startswith(inside)
    }  # fmt: skip
    line = {"test": item.nodeid, "passed": item.nodeid not in FAILED,
            "seconds": round(seconds, 3), "calls": sorted(calls)}  # fmt: skip
    with Path(os.environ["REACH_FILE"]).open("a") as file:
        file.write(json.dumps(line) + "\n")
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes a failure."""
    if report.failed:
        FAILED.add(report.nodeid)
