"""Signals that ask a job to stop, as one exception in the main thread."""

# Design: a signal raises, so the ordinary clean-up of the library (`with`, `finally`) removes temporary
# files and joins the workers; a second signal of the same haste (a terminal and `timeout` both send one) is
# ignored, so that it does not break off that clean-up. After a while it raises again: the first may have
# been lost in a callback, where Python drops exceptions. Turned down: a flag that loops ask for, which a
# long call into C never does.

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
PATIENCE = 2.0  # seconds in which a clean-up is left in peace


class Interrupted(BaseException):
    """A signal asked the process to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """What shells report for a process that this signal ended."""
        return 128 + self.signum


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise `Interrupted`; does nothing outside the main thread.

    Signals that the program was started to ignore (``nohup``, a job in the background) stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -PATIENCE

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PATIENCE:
            last = now
            raise Interrupted(signum)

    before = {}
    try:
        for signum in STOPPING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                before[signum] = signal.signal(signum, stop)
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
