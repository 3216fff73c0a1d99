"""A generator's items made by a background thread, a few ahead of whoever takes them."""

# Design: one thread and a bounded queue. Closing the generator ends the thread, and what goes wrong in it is raised
# where the items are taken. Turned down: the pool of pipeline.py, whose workers hand over results in task order and
# which here would have a single task.

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Generator
from typing import Any, TypeVar

from .errors import StreamnormError
from .pipeline import join

QUEUED = 2  # items that wait

T = TypeVar("T")


def ahead(made: Generator[T, None, None], stop: threading.Event) -> Generator[T, None, None]:
    """The same items, made by a background thread from when the first is asked for.

    Parameters
    ----------
    made : generator
    stop : Event
        Set when no more items are wanted, for `made` to look at in long work.

    Raises
    ------
    StreamnormError
        If another process than the one that began goes on, which has no such thread.
    """
    ready: queue.Queue[Any] = queue.Queue(QUEUED)
    process = os.getpid()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for piece in made:
                if not put((piece, None)) or stop.is_set():
                    break
            else:
                put((None, None))
        except BaseException as error:  # handed over to whom it concerns
            put((None, error))
        finally:
            made.close()

    worker = threading.Thread(target=work, name="streamnorm-ahead", daemon=True)
    worker.start()
    try:
        while True:
            if os.getpid() != process:
                raise StreamnormError("these batches were begun in another process: iterate anew in this one")
            piece, error = ready.get()
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its traceback leads back to this frame
            if piece is None:
                return
            yield piece
    finally:
        stop.set()
        # A cycle of references may be collected by the worker itself, which ends soon after.
        if os.getpid() == process and threading.current_thread() is not worker:
            with contextlib.suppress(queue.Empty):
                ready.get_nowait()  # wakes a worker that waits for room
            join(worker)
