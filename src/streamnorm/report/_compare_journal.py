"""The journal of a comparison: runs that are done, so that one that was killed goes on where it stopped."""

# Design: a line of JSON for each run, with a checksum, appended and synced when the run is done. A line that a kill has
# cut off is dropped, and so is whatever follows it. The first line says by a hash of sample and options what the runs
# are of; those of another job are of no use, and the journal begins anew. Turned down: one document that is replaced
# after every run, which writes all runs as often as there are runs.

from __future__ import annotations

import fcntl
import json
import logging
import os
import zlib
from collections.abc import Collection
from dataclasses import asdict
from types import TracebackType
from typing import Any

from ..errors import StreamnormError
from ..locations import StorePath
from ..masking import is_uri, masked
from ._compare_runs import Run, Task

VERSION = 1
logger = logging.getLogger("streamnorm")


def check_local(path: Any) -> None:
    """Raise StreamnormError if a journal would lie in a store, whose files cannot be appended to."""
    if isinstance(path, StorePath) or (isinstance(path, str) and is_uri(path)):
        raise StreamnormError(
            f"{masked(str(path))}: a journal is appended to, which stores cannot do: name a file of this machine"
        )


class Journal:
    """Runs in a file, which is locked while this is open.

    Parameters
    ----------
    path : path
    key : str
        What they are runs of.
    wanted : collection of Task
        Of the runs; others are left alone.

    Attributes
    ----------
    found : list of Run
        Those that were there.
    of_others : bool
        Whether there was a journal of other data or options.

    Raises
    ------
    StreamnormError
        If it cannot be written, or another process has it open.
    """

    def __init__(self, path: str | os.PathLike[str], key: str, wanted: Collection[Task]) -> None:
        self.path = os.fspath(path)
        self.found: list[Run] = []
        self.of_others = False
        try:
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise StreamnormError(f"{self.path}: cannot be written ({error.strerror})") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StreamnormError(f"{self.path}: another run is writing it: wait for that one") from None
        except OSError:
            pass  # a file system without locks
        try:
            self._read(key, set(wanted))
        except BaseException:
            self._file.close()
            raise

    def _read(self, key: str, wanted: set[Task]) -> None:
        self._file.seek(0)
        good = 0
        header = {"journal": "streamnorm compare", "version": VERSION, "key": key}
        for number, line in enumerate(self._file.readlines()):
            entry = _unpacked(line)
            if entry is None:
                break
            if number == 0:
                if entry != header:
                    if entry.get("journal") != header["journal"]:
                        break
                    self.of_others = True
                    break
            else:
                run = Run(**{**entry, "curve": tuple(entry["curve"])})
                if run.task in wanted:
                    wanted.discard(run.task)
                    self.found.append(run)
            good += len(line)
        else:
            if good:
                return
        if not good and not self.of_others and os.fstat(self._file.fileno()).st_size and not self._cut_off(header):
            raise StreamnormError(f"{self.path}: is no journal of a comparison: move it away, or name another output")
        if self.of_others:
            logger.warning(
                "%s", f"{self.path}: holds runs of other data or options, which go: starting anew",
                extra={"event": "journal", "path": self.path},
            )  # fmt: skip
        self._file.truncate(good)
        if not good:
            self._append(header)

    def _cut_off(self, header: dict[str, Any]) -> bool:
        """Whether all that there is is the beginning of a first line."""
        self._file.seek(0)
        start = self._file.read(1 << 16)
        begun = _packed(header)[9:40]
        return b"\n" not in start and begun.startswith(start[9:40])

    def add(self, run: Run) -> None:
        """One more run is done."""
        self._append(asdict(run))

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            data = memoryview(_packed(entry))
            while len(data):
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StreamnormError(f"{self.path}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Let others have it."""
        self._file.close()

    def remove(self) -> None:
        """The comparison is done and kept elsewhere."""
        if os.path.exists(self.path):
            os.unlink(self.path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _packed(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":"), allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _unpacked(line: bytes) -> dict[str, Any] | None:
    """The entry of a line; None if it is not whole."""
    check, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(text[:-1]):
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
