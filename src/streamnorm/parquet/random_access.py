"""Positioned reads from whatever a Parquet file may come as.

# Design: reads name their position and leave the file's own alone, so that several threads can read one open
# file. Turned down: memory maps (their pages count as resident memory) and ``os.copy_file_range`` (it needs
# two real files and an output without a buffer of its own, and took as long as reading and writing).
"""

import io
import os
import threading

import pyarrow as pa

from streamnorm.errors import DataError


class RandomAccess:
    """Reads at positions of an open binary file, a path, a pyarrow file, or bytes in memory.

    Parameters
    ----------
    source : path, file object, pyarrow.NativeFile, bytes-like or RandomAccess
        A path is opened, and closed with the object or its ``with`` block; anything else stays its owner's.
    name : str, optional
        What errors call it; by default the file's own name.
    """

    def __init__(self, source, name: str | None = None):
        self._owned = self._fd = self._view = None
        self._lock = threading.Lock()
        if isinstance(source, str | os.PathLike) and not hasattr(source, "open_ranged"):
            name = os.fspath(source) if name is None else name
            source = self._owned = open(source, "rb", buffering=0)  # noqa: SIM115 (closed by close)
        elif hasattr(source, "open_ranged"):  # a name in a store
            name = str(source) if name is None else name
            source = self._owned = source.open_ranged()
        self._file = source
        if isinstance(source, pa.Buffer | bytes | bytearray | memoryview):
            self._view = memoryview(source).cast("B")
            self.size = len(self._view)
        elif isinstance(source, pa.NativeFile):
            self.size = source.size()
        else:
            try:
                self._fd = source.fileno()
                self.size = os.fstat(self._fd).st_size
            except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
                self._fd = None
                self.size = source.seek(0, io.SEEK_END)
        found = getattr(source, "name", None)
        self.name = name if name is not None else found if isinstance(found, str) else "<stream>"

    @classmethod
    def of(cls, source) -> "RandomAccess":
        """The source itself if it already is one."""
        return source if isinstance(source, cls) else cls(source)

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly these bytes.

        Raises
        ------
        DataError
            If the file ends before.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise self._short(offset, size)
        out = bytearray(size)
        self.read_into(out, offset)
        return bytes(out)

    def read_into(self, target, offset: int) -> None:
        """Fill a writable buffer from a position on."""
        view = memoryview(target)
        if offset < 0 or offset + len(view) > self.size:
            raise self._short(offset, len(view))
        done = 0
        while done < len(view):
            got = self._some(view[done:], offset + done)
            if not got:
                raise self._short(offset, len(view))
            done += got

    def _some(self, view: memoryview, offset: int) -> int:
        if self._view is not None:
            view[:] = self._view[offset : offset + len(view)]
            return len(view)
        if self._fd is not None:
            return os.preadv(self._fd, [view], offset)
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _short(self, offset: int, size: int) -> DataError:
        return DataError(
            f"{self.name}: bytes {offset} to {offset + size} are beyond its end ({self.size} bytes)",
            file=self.name,
        )

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> "RandomAccess":
        return self

    def __exit__(self, *exc) -> None:
        self.close()
