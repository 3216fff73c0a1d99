"""CSV in blocks, no further ahead of the batches that are made of them than memory allows."""

# Design: Arrow's reader of CSV reads up to 32 blocks ahead on a thread of its own, 128 MB of them, and has no option
# for it. So the file makes that thread wait. Each block becomes one batch, empty or not, but for empty ones at the
# beginning, which the reader skips while it opens. It refuses rows that reach over two ends of blocks: a block is
# short where a row ends in it, going by newlines outside of quotes, and else longer. A quote in the midst of a value
# means nothing to Arrow and misleads that count, which makes blocks long, but no rows wrong. Turned down: blocks of
# whole rows, which have to be right about quotes.

from __future__ import annotations

import threading
from typing import Any

SHORT_BLOCK = 1 << 20
BLOCKS_AHEAD = 3


class PacedBlocks:
    """Bytes that were read before, and what follows them, as a file for Arrow's reader of CSV.

    Parameters
    ----------
    start : bytes
    rest : binary file
    """

    def __init__(self, start: bytes, rest: Any) -> None:
        self._start, self._rest = memoryview(start), rest
        self._changed = threading.Condition()
        self._room, self._opening, self._quoted = BLOCKS_AHEAD, True, False
        self.closed = self._ended = False

    def read(self, count: int) -> bytes:
        """The next block, of at most so many bytes; waits until it is time."""
        with self._changed:
            while self._room < 1 and not self.closed:
                if not self._changed.wait(0.05 if self._opening else None) and self._opening:
                    break
            self._room -= 1
        block = b""
        try:
            block = b"" if self.closed else self._block(count)
        finally:
            with self._changed:
                self._ended = not block
                self._changed.notify_all()
        return block

    def _block(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count > 0 and (part := self._next(min(count, SHORT_BLOCK))):
            parts.append(part)
            count -= len(part)
            if self._ends_a_row(part):
                break
        return b"".join(parts)

    def _next(self, count: int) -> bytes:
        if not len(self._start):
            return self._rest.read(count)
        part, self._start = bytes(self._start[:count]), self._start[count:]
        if not len(self._start):
            self._start = memoryview(b"")  # lets go of the bytes
        return part

    def _ends_a_row(self, part: bytes) -> bool:
        """Whether there is a newline outside of quotes."""
        pieces = part.split(b'"')
        outside = pieces[int(self._quoted) :: 2]
        self._quoted ^= len(pieces) % 2 == 0
        return any(b"\n" in piece or b"\r" in piece for piece in outside)

    def opened(self) -> None:
        """The reader has found its first batch."""
        with self._changed:
            self._opening, self._room = False, max(self._room, 0)

    def taken(self, batch: Any) -> Any:
        """Give the batch of a block on, and let another block be read."""
        with self._changed:
            self._room += 1
            self._changed.notify_all()
        return batch

    def readable(self) -> bool:
        """As files have it."""
        return True

    def close(self) -> None:
        """Let nobody wait, as at the end of the file."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Close the file, once the reader's thread has been told of its end: it must not outlive the interpreter.

        A pipe that the thread still waits for is left to it.
        """
        self.close()
        with self._changed:
            ended = self._changed.wait_for(lambda: self._ended, timeout=1)
        if ended:
            self._rest.close()
