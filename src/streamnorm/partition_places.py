"""Where the files of a Hive layout are made: a folder of this machine, or one of a store."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .atomic import SUFFIX, TargetExists, check_target, sync_directory
from .errors import DataError, StreamnormError
from .locations import StorePath, locate
from .s3_upload import PART
from .uploads import StoreFile

OPEN_FILES = 64
PART_NAME = re.compile(r"part-\d+(?:\.[a-z0-9]+)+")


def check_folder(sink: Any, overwrite: bool) -> set[Any]:
    """The files that are in a folder which parts are to be written to; none of one that is not there yet.

    Raises
    ------
    DataError
        If it is a file.
    TargetExists
        If it holds files that must not be replaced.
    """
    root = locate(sink)
    if root.is_file():
        raise DataError(f"{root}: is a file, and partition_by makes folders: name a directory", file=str(root))
    if isinstance(root, StorePath):
        check_target(root / "part", overwrite=True)
        there = {path for path, _ in root.files()} if root.exists() else set()
    else:
        if not root.exists() and root.parent.is_dir():
            check_target(root, overwrite=True)
        there = set(_visible(root))
    if there and not overwrite:
        raise TargetExists(f"{root}: holds files already; pass overwrite (--overwrite) to replace its parts")
    return there


class LocalFile:
    """A file that is appended to, and is open only now and then."""

    closed = False

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self.target = path, target
        self._file: IO[bytes] | None = None

    def write(self, data: Any) -> int:
        """Append it all."""
        view = memoryview(data).cast("B")
        try:
            if self._file is None:
                self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            done = 0
            while done < len(view):
                done += self._file.write(view[done:])
        except OSError as error:
            why = f"cannot be written ({error.strerror}); nothing was left behind"
            raise StreamnormError(f"{self.target}: {why}") from error
        return len(view)

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """Until there is more to write."""
        if self._file is not None:
            self._file.close()
        self._file = None


class LocalPlace:
    """A folder of this machine, whose files are made in a hidden one within it."""

    most_open = OPEN_FILES

    def __init__(self, root: Path, output: Any) -> None:
        self._root, self._overwrite = root, output.overwrite
        self._made: list[LocalFile] = []
        self._began = not root.is_dir()
        check_folder(root, self._overwrite)
        root.mkdir(parents=True, exist_ok=True)
        self._clear_stale()
        self._stage = root / f".{os.getpid()}{SUFFIX}"
        try:
            self._stage.mkdir()
            self._lock = open(self._stage / "lock", "xb")  # noqa: SIM115
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except FileExistsError:
            raise StreamnormError(f"{root}: another run of this process is writing it") from None
        except OSError as error:
            raise StreamnormError(f"{root}: cannot be written ({error.strerror})") from error

    def _clear_stale(self) -> None:
        """Remove what runs that died have left."""
        for found in self._root.glob(f".*{SUFFIX}"):
            with contextlib.suppress(OSError), open(found / "lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(found)

    def create(self, name: str) -> LocalFile:
        """A file for this name."""
        file = LocalFile(self._stage / str(len(self._made)), self._root / name)
        self._made.append(file)
        return file

    def set_aside(self, file: LocalFile) -> bool:
        """Close it for now."""
        file.close()
        return True

    def finish(self, file: LocalFile) -> None:
        """It is whole."""
        file.close()
        descriptor = os.open(file.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def commit(self) -> None:
        """Give the files their names, and remove the parts of an earlier run."""
        check_folder(self._root, self._overwrite)
        folders = set()
        try:
            for file in self._made:
                file.target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file.path, file.target)
                folders.add(file.target.parent)
        except OSError as error:
            for file in self._made:
                if not file.path.exists():
                    file.target.unlink(missing_ok=True)
            raise StreamnormError(f"{error.filename2 or self._root}: cannot be written ({error.strerror})") from error
        for folder in folders:
            sync_directory(folder)
        written = {file.target for file in self._made}
        for path in [path for path in _visible(self._root) if self._overwrite and PART_NAME.fullmatch(path.name)]:
            if path not in written:
                path.unlink()
                with contextlib.suppress(OSError):  # other files are in the folder
                    path.parent.rmdir()

    def discard(self) -> None:
        """Remove what is not in its place."""
        for file in self._made:
            file.close()
        shutil.rmtree(self._stage, ignore_errors=True)
        self._lock.close()
        if self._began:
            try:
                self._root.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                    raise


def _visible(root: Path) -> Iterator[Path]:
    """The files below that are not hidden."""
    for path in root.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


class StorePlace:
    """A folder of a store, where a file that is complete is visible."""

    def __init__(self, root: StorePath, output: Any) -> None:
        self._root, self._overwrite = root, output.overwrite
        self.most_open = max(2, min(OPEN_FILES, output.memory // 4 // PART))
        self._open: list[Any] = []
        self._done: list[StorePath] = []
        self._there = check_folder(root, output.overwrite)

    def create(self, name: str) -> Any:
        """A file for this name."""
        file = StoreFile(self._root / name, overwrite=True, in_flight=0)
        self._open.append(file)
        return file

    def set_aside(self, file: Any) -> bool:
        """Not possible: the end of a part has to be sent."""
        del file
        return False

    def finish(self, file: Any) -> None:
        """Complete it."""
        file.commit()
        self._open.remove(file)
        self._done.append(file.target)

    def commit(self) -> None:
        """Remove the parts of an earlier run."""
        written = set(self._done)
        for path in self._there:
            if PART_NAME.fullmatch(path.name) and path not in written:
                path.unlink(missing_ok=True)
        self._done = []

    def discard(self) -> None:
        """Give up what is under way, and remove what was completed of a job that failed."""
        for file in self._open:
            file.__exit__(None, None, None)
        self._open = []
        for path in self._done:
            with contextlib.suppress(StreamnormError):
                path.unlink(missing_ok=True)
        self._done = []
