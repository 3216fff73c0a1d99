"""A file far away, read by ranges."""

# Design: what is read next is asked for ahead, and the further a reader goes on without a jump, the more of it: the
# window doubles from 64 kB to 4 MB, as an operating system does with disks. So a footer takes one request, a walk over
# page headers reads little of what lies between, and a file that is read to its end takes a request every 4 MB.
# Turned down: fetching in a thread of its own, as the workers read several columns at once in any case.

from __future__ import annotations

import io
import threading
from typing import Any

FIRST_WINDOW = 1 << 16
LAST_WINDOW = 1 << 22


class RangedFile(io.RawIOBase):
    """A file of which ranges are read, with read-ahead; several threads may use one.

    Parameters
    ----------
    file : object with ``seek``, ``read`` and ``close``
        Of which every read costs a request.
    size : int
    """

    def __init__(self, file: Any, size: int) -> None:
        self._file, self.size = file, size
        self._lock = threading.Lock()
        self._window, self._start, self._length = b"", 0, FIRST_WINDOW
        self._at = 0

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes from a position on; fewer at the end."""
        count = max(0, min(count, self.size - offset))
        with self._lock:
            have = self._cut(offset, count)
            if len(have) < count:
                self._fetch(offset + len(have), count - len(have))
                have += self._cut(offset + len(have), count - len(have))
            return have

    def _cut(self, offset: int, count: int) -> bytes:
        """What the window has of these bytes, from the first on."""
        at = offset - self._start
        return self._window[at : at + count] if 0 <= at <= len(self._window) else b""

    def _fetch(self, offset: int, count: int) -> None:
        """Make a window that holds so many bytes from there on, and perhaps more."""
        start = offset
        if not self._window and self.size - offset <= FIRST_WINDOW:
            start = max(0, self.size - FIRST_WINDOW)  # who begins at the end goes backwards from there
        goes_on = bool(self._window) and offset == self._start + len(self._window)
        self._length = min(2 * self._length, LAST_WINDOW) if goes_on else FIRST_WINDOW
        wanted = min(offset + max(count, self._length), self.size) - start
        self._file.seek(start)
        parts = []
        while wanted > 0 and (part := self._file.read(wanted)):
            parts.append(bytes(part))
            wanted -= len(part)
        self._window, self._start = b"".join(parts), start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def read(self, count: int | None = -1) -> bytes:
        """Bytes from here on."""
        wanted = self.size - self._at if count is None or count < 0 else count
        data = self.read_at(self._at, wanted)
        self._at += len(data)
        return data

    def readinto(self, target: Any) -> int:
        """Fill a buffer from here on."""
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Close what is read."""
        if not self.closed:
            self._file.close()
        super().close()
