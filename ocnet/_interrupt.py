"""Ctrl-C while the shell's command is still importing: an exit with 130, without a traceback.

Importing takes seconds. During that time an exception would be raised inside other packages, and
some of them swallow it or turn it into another one.
"""

import os
import signal
import sys
import threading
from itertools import pairwise
from pathlib import Path


def quiet() -> None:
    """Lets Ctrl-C end the process at once, if the process runs only the command `ocnet`."""
    is_command = Path(sys.argv[0]).name == "ocnet" if sys.argv else False
    if sys.argv[:1] == ["-m"]:
        is_command = ("-m", "ocnet") in pairwise(sys.orig_argv)
    in_main = threading.current_thread() is threading.main_thread()
    if is_command and in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def leave(number: int, frame: object) -> None:
    """Ends the process as the shell expects of one that a signal ended."""
    os._exit(128 + number)


def loud() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again, if `quiet` changed that."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


quiet()
