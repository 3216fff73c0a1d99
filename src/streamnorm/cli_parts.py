"""What commands share beside their options: checks of targets, standard output, the last line."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

import click

from .console import Console, one_line
from .dry_run import stop
from .masking import masked


class ReaderGone(Exception):
    """Whoever read standard output has seen enough."""


@contextmanager
def standard_output() -> Iterator[TextIO]:
    """Where results go; what goes wrong there says so."""
    from .errors import StreamnormError

    stop()
    if sys.stdout is None:
        raise StreamnormError("standard output is closed")
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names that an ASCII locale has no characters for
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise StreamnormError(f"standard output cannot be written ({error.strerror})") from error


def terminal_width(stream: TextIO) -> int | None:
    """The width of the terminal that a stream goes to; None if it is none."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def check_own_target(path: str, overwrite: bool, others: Sequence[str] = (), what: str = "the statistics") -> None:
    """What can be known about the place of a file of ours before the work begins."""
    from .atomic import check_target
    from .masking import is_uri

    for other in others:
        if other == path or (not is_uri(path) and os.path.abspath(other) == os.path.abspath(path)):
            raise click.UsageError(f"{masked(path)} is given as a data file and as the file for {what}")
    check_target(path, overwrite=overwrite)


def say_done(
    console: Console, verb: str, rows: int, into: str, target: str, also: str = "", **counts: int
) -> None:
    target = masked(target)
    named = "standard output" if target == "-" else target
    seconds = console.seconds
    speed = console.bytes_done / 1e6 / seconds
    console.say(
        "done",
        one_line(
            f"{verb} {rows:,} row{'' if rows == 1 else 's'} {into} {named}{also} in {seconds:.2f} s"
            + (f" ({speed:.0f} MB/s)" if console.bytes_done >= 1e6 else "")
        ),
        rows=rows,
        seconds=round(seconds, 3),
        mb_per_s=round(speed, 1),
        target=target,
        **counts,
    )
