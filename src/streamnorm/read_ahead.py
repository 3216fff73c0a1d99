"""The next batch while one is worked on."""

# Design: one thread goes through the source in its order, so the rows and their batches are the same with it and
# without, and it begins a batch only when the one before was taken: two are held at a time. Turned down: several
# readers, each with the pages of a row group of its own.

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from typing import Any

from .pipeline import join


def one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same batches, of which the next is made on a thread while one is in use.

    The generator behind `batches` is run and closed by that thread alone; what it raises is raised here.
    """
    shelf = _Shelf(batches)
    worker = threading.Thread(target=contextvars.copy_context().run, args=(shelf.fill,), daemon=True)
    try:
        worker.start()
        while (found := shelf.take()) is not None:
            yield found.pop()
    finally:
        shelf.cancel()
        join(worker)


class _Shelf:
    """Room for one batch; every field but the source is guarded by ``changed``."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._changed = threading.Condition()
        self._held: list[Any] = []
        self._error: BaseException | None = None
        self._ended = self._cancelled = False

    def fill(self) -> None:
        """What the thread does."""
        error: BaseException | None = None
        try:
            for batch in self._batches:
                if not self._put(batch):
                    break
                del batch
        except BaseException as raised:  # handed over, whatever it is
            error = raised
        finally:
            close = getattr(self._batches, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()
            error = None  # its traceback leads back to this frame

    def _put(self, batch: Any) -> bool:
        """Hand a batch over and wait until it was taken; False if nobody wants more."""
        with self._changed:
            self._held.append(batch)
            del batch
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._held or self._cancelled)
            return not self._cancelled

    def take(self) -> list[Any] | None:
        """The next batch, alone in a list so that nothing else holds it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._held or self._ended)
            if self._held:
                found, self._held = self._held, []
                self._changed.notify_all()
                return found
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def cancel(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._cancelled = True
            self._held = []
            self._changed.notify_all()
