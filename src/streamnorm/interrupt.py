"""Signals that ask a job to stop, as one exception in the main thread."""

# Design: a signal raises, so the ordinary clean-up of the library (`with`, `finally`) removes temporary
# files and joins the workers. A second signal of the same haste (a terminal and `timeout` both send one)
# is ignored, so that it does not break off that clean-up. An exception that a signal raises may be lost,
# in a callback or in an `except:` of somebody's import; so the progress callback asks again, and after a
# while a further signal raises again. Turned down: only a flag that loops ask for, which a long wait
# never does.

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


class Watch:
    """The signals of one run."""

    def __init__(self) -> None:
        self._signum: int | None = None
        self._last = -PATIENCE

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """The handler."""
        self._signum = signum
        now = time.monotonic()
        if now - self._last >= PATIENCE:
            self._last = now
            raise Interrupted(signum)

    def check(self) -> None:
        """Raise `Interrupted` if a signal came and work goes on all the same."""
        if self._signum is not None:
            raise Interrupted(self._signum)


@contextmanager
def interruptible() -> Iterator[Watch]:
    """Let SIGINT, SIGTERM and SIGHUP raise `Interrupted`; does nothing outside the main thread.

    Signals that the program was started to ignore (``nohup``, a job in the background) stay ignored.
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    before = {}
    try:
        for signum in STOPPING:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                before[signum] = signal.signal(signum, watch.stop)
        yield watch
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def ignore_signals() -> None:
    """The work is done and its outcome is known: nothing is left to stop."""
    for signum in STOPPING:
        signal.signal(signum, signal.SIG_IGN)
