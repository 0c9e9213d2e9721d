"""The signals that ask a run to end, and how a run receives them."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import OcnetError
from ..learning.processes import world_size


SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What asks a run to end: Ctrl-C, a scheduler, a terminal that is closed."""


class Interrupted(OcnetError):
    """A run that a signal ended early, after its state was saved.

    Attributes:
        step: How many iterations were done.
        exit_code: 128 and the signal's number, as in the shell: 130 for Ctrl-C.
    """

    def __init__(self, step: int, number: int):
        name = signal.Signals(number).name
        super().__init__(f"{name} at step {step}; the run is saved, and `ocnet resume` goes on.")
        self.step = step
        self.exit_code: int = 128 + number


@contextmanager
def signals(receive: Callable[[int], None]) -> Iterator[None]:
    """Hands over the signals that ask the run to end, for as long as the context lasts.

    Outside the main thread, where Python receives no signals, it does nothing. A SIGHUP that is
    ignored, as under nohup, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = lambda number, frame: receive(number)
    heeded = [n for n in SIGNALS if n.name != "SIGHUP" or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    except BaseException:
        if world_size() > 1:
            # torchrun asks the others to end as soon as one is lost: each first says why it ends.
            before[signal.SIGTERM] = signal.SIG_IGN
        raise
    finally:
        for number, old in before.items():
            # What was not set from Python cannot be set back from there.
            signal.signal(number, signal.SIG_DFL if old is None else old)
