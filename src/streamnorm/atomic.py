"""Files that appear whole or not at all."""

# Design: a run writes to `.<target>.<pid>.streamnorm-tmp` beside the target, syncs it and renames it over the target;
# a rename within one folder is atomic. While it writes, it holds a lock (flock) on the temporary file, which the
# kernel drops with the process however that ends, so a later run knows what is stale. Turned down: asking whether the
# pid in the name is alive, which is wrong across containers and after the number is used again.

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import logging
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from . import dry_run
from ._core import write_all
from .errors import StreamnormError
from .locations import StorePath, file_version, locate, version_of

logger = logging.getLogger("streamnorm")

SUFFIX = ".streamnorm-tmp"
SPOOL = ".spool"  # of what is kept for the time of a run
EARLY_WRITEBACK = 32 << 20  # bytes between requests to start writing back, so that the final sync finds little to do


class TargetExists(StreamnormError, FileExistsError):
    """The target of a run exists and ``overwrite`` was not given."""


class AtomicFile:
    """A binary file under a temporary name, which `commit` gives its real one.

    Leaving the ``with`` block without `commit` removes it.

    Parameters
    ----------
    target : Path
    overwrite : bool
        Whether an existing target may be replaced.

    Raises
    ------
    TargetExists
        If the target exists and must not be replaced.
    StreamnormError
        If the folder is missing or cannot be written to.
    """

    def __init__(self, target: str | os.PathLike[str], *, overwrite: bool) -> None:
        self.target = Path(target)
        self._overwrite = overwrite
        check_target(self.target, overwrite=overwrite)
        dry_run.stop()
        if self.target.is_symlink():
            self.target = self.target.resolve()  # replace the file, not the link to it
        remove_stale(self.target)
        self._pid = os.getpid()
        self.path = self.target.with_name(f".{self.target.name}.{self._pid}{SUFFIX}")
        self._written = self._unsynced = 0
        try:
            self.file: IO[bytes] = open(self.path, "xb", buffering=0)  # noqa: SIM115
            fcntl.flock(self.file, fcntl.LOCK_EX)
            while not self._is_there():
                self.file.close()
                self.file = open(self.path, "xb", buffering=0)  # noqa: SIM115
                fcntl.flock(self.file, fcntl.LOCK_EX)
            self._keep_mode()
        except FileExistsError:
            raise StreamnormError(f"{self.target}: another run of this process is writing it") from None
        except OSError as error:
            with contextlib.suppress(OSError):  # a name that is too long, or a read-only disk, has no file to remove
                self.path.unlink()
            raise StreamnormError(f"{self.target}: cannot be written ({error.strerror})") from error
        except BaseException:  # a signal, which may come when the file is there and nobody knows of it yet
            self.path.unlink(missing_ok=True)
            raise

    def _is_there(self) -> bool:
        """Whether the file still has its name: another run may have cleared it away before it was locked."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno()))
        except FileNotFoundError:
            return False

    def _keep_mode(self) -> None:
        """The permissions of the file that will be replaced."""
        with contextlib.suppress(OSError):  # there is none, or it is somebody else's
            os.fchmod(self.file.fileno(), stat.S_IMODE(os.stat(self.target).st_mode))

    def write(self, data: bytes | memoryview) -> int:
        """Write all of `data`.

        Raises
        ------
        StreamnormError
            If the disk is full, or the file is larger than the system allows.
        """
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view):
                done += write_all(self.file.fileno(), view[done:])
        except OSError as error:
            raise StreamnormError(
                f"{self.target}: cannot be written ({error.strerror}); make room and run again, nothing was left behind"
            ) from error
        self._unsynced += done
        if self._unsynced >= EARLY_WRITEBACK:
            start_writeback(self.file.fileno(), self._written, self._unsynced)
            self._written += self._unsynced
            self._unsynced = 0
        return done

    def tell(self) -> int:
        """Bytes written."""
        return self.file.tell()

    def fileno(self) -> int:
        """The descriptor."""
        return self.file.fileno()

    @property
    def closed(self) -> bool:
        """Whether it can no longer be written."""
        return self.file.closed

    def flush(self) -> None:
        """Nothing is buffered here."""

    def commit(self) -> None:
        """Make the contents durable and give them the target's name.

        Raises
        ------
        TargetExists
            If the target has appeared meanwhile and must not be replaced.
        StreamnormError
            If the disk reports an error.
        """
        try:
            os.fsync(self.file.fileno())
            if self._overwrite or not self._linked():
                os.replace(self.path, self.target)
        except TargetExists:
            raise
        except OSError as error:
            raise StreamnormError(
                f"{self.target}: cannot be written ({error.strerror}); nothing was left behind"
            ) from error
        logger.info(
            "%s: written, %s bytes",
            self.target,
            f"{self.tell():,}",
            extra={"event": "written", "target": str(self.target), "bytes": self.tell()},
        )
        self.file.close()
        sync_directory(self.target.parent)

    def _linked(self) -> bool:
        """Give the file its real name unless there is one of that name, which a rename would replace; False where the
        file system has no second names."""
        try:
            os.link(self.path, self.target)
        except OSError:
            check_target(self.target, overwrite=False)
            return False
        self.path.unlink()
        return True

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()

    def __del__(self) -> None:
        # A signal may come between the making of this object and the `with` that would clean up. A process that was
        # forked meanwhile has a copy, but no say.
        if hasattr(self, "file") and os.getpid() == self._pid:
            self._discard()

    def _discard(self) -> None:
        """Remove the file unless it has its real name."""
        if not self.file.closed:
            self.path.unlink(missing_ok=True)
            self.file.close()


def atomic_file(target: str | os.PathLike[str], *, overwrite: bool) -> Any:
    """An `AtomicFile`, or its like in a store where the target lies in one."""
    path = locate(target)
    if isinstance(path, StorePath):
        from .uploads import StoreFile

        return StoreFile(path, overwrite=overwrite)
    return AtomicFile(path, overwrite=overwrite)


def check_target(target: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Find out before the work begins whether a file of this name may be written.

    Raises
    ------
    TargetExists
        If it exists and must not be replaced.
    StreamnormError
        If it is no ordinary file, or its folder is missing or may not be written in.
    """
    path = locate(target)
    if isinstance(path, StorePath):
        from .uploads import check_store_target

        check_store_target(path, overwrite=overwrite)
        return
    if path.is_dir():
        raise StreamnormError(f"{path}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise StreamnormError(f"{path}: there is no directory {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        why = os.strerror(errno.EACCES)
        raise StreamnormError(f"{path}: cannot be written ({why}); name a file in a directory that you may write in")
    if path.exists() and not path.is_file():
        raise StreamnormError(f"{path}: is a device or a pipe; name an ordinary file")
    if not overwrite and os.path.lexists(path):
        raise exists_already(path)
    if path.suffix != SPOOL:
        dry_run.note_output(path)


def exists_already(path: Any) -> TargetExists:
    """The error of a target that is there."""
    return TargetExists(f"{path}: exists already; pass overwrite (--overwrite) to replace it")


def start_writeback(descriptor: int, start: int, length: int) -> None:
    """Ask the system to begin writing these dirty bytes to the disk, without waiting for it.

    Linux does so when it is told that they are not needed; as they are dirty then, they stay in its cache. A no-op
    where there is no such call.
    """
    advise = getattr(os, "posix_fadvise", None)
    if advise is not None:
        advise(descriptor, start, length, os.POSIX_FADV_DONTNEED)


def remove_stale(target: Path) -> None:
    """Remove what runs that died have left beside `target`."""
    for found in target.parent.glob(f".{glob.escape(target.name)}.*{SUFFIX}"):
        try:
            with open(found, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.unlink(missing_ok=True)
        except OSError:
            continue  # a live run holds it, or it is gone


def sync_directory(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems cannot sync a directory
    finally:
        os.close(descriptor)


class Claim:
    """The right to replace a file that is read now and written later: one process at a time has it.

    Parameters
    ----------
    path : path
        A file that exists; a link stands for what it leads to.

    Raises
    ------
    StreamnormError
        If it cannot be read, or another process has claimed it.
    """

    # Design: the lock is on the file itself, not on one beside it that would stay behind; it goes with the process.
    # A rename puts another file in its place, and so who waits for the lock would get that of a file that is no more:
    # nobody waits. Who writes without a claim, as `save` does, or over a network without locks, is noticed before the
    # file is replaced.

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = locate(path)
        self._file: Any = None
        if isinstance(self.path, StorePath):  # stores have no locks
            self._found = version_of(self.path)
            return
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115
        except OSError as error:
            raise StreamnormError(f"{self.path}: cannot be read ({error.strerror})") from error
        self._found = file_version(os.fstat(self._file.fileno()))
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StreamnormError(f"{self.path}: another run is updating it: run again when that one is done") from None
        except OSError:
            pass  # a file system without locks

    def check(self) -> None:
        """Raise StreamnormError unless the file is the one that was claimed, as it was then."""
        try:
            same = version_of(self.path) == self._found
        except OSError:
            same = False
        if not same:
            raise StreamnormError(
                f"{self.path}: was changed by another run since this one read it: run again, on top of what that wrote"
            )

    def __enter__(self) -> Claim:
        try:
            self.check()  # the path may have got another file before this one was locked
        except StreamnormError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def write_atomically(target: str | os.PathLike[str], data: bytes, claim: Claim | None = None) -> None:
    """Write a small file whole, over an old one if there is one; only if that is as it was claimed, if it was."""
    with atomic_file(target, overwrite=True) as file:
        file.write(data)
        if claim is not None:
            if isinstance(file, AtomicFile):
                os.fsync(file.fileno())  # so that nothing slow comes between the check and the rename
            claim.check()
        file.commit()
