"""What the program says while it works, as text or JSON lines: notes, progress and errors."""

# Design: standard output is for results alone, so that a pipe gets what it asked for; all else goes to
# standard error through `Console.say`, which has one form for people and one for machines. A reader of
# standard error that has gone away does not end a job. rich is imported only when there is a bar to draw.

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .config import Given
from .errors import StreamnormWarning
from .logs import LOGGER, new_job_id
from .masking import masked

if TYPE_CHECKING:
    from rich.progress import Progress

JSON_INTERVAL = 1.0  # seconds between progress lines
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# The last line of a command, by what the command calls it.
_ENDS = {"done": "job.finished", "error": "job.failed", "interrupted": "job.failed"}

# What a log record has of its own; all else was passed as extra fields.
_RECORD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime"}  # and what formatters add


def one_line(text: object) -> str:
    """The text with line breaks and control characters, which names in a file may have, spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


class Console:
    """Standard error.

    Attributes
    ----------
    as_json, verbose, quiet : bool
        As the options say.
    check : callable
        Called by the progress callback; raises if the job is to stop.
    bytes_done : float
        As the last call of the progress callback said, for one pass.
    written : list of str
        The targets that are complete.
    args : sequence of str
        The command line.
    job, command : str
        Which run of which command it is, for JSON.
    outputs : list of str
        Where it writes to.
    given : Given
        The options that came from a file or the environment.
    level : str
        The least that is said.
    dry_run, plan_as_json : bool
        Whether the run stops before it begins, and what is known of it is said as JSON.
    columns : dict or None
        What a dry run has logged of its columns.
    """

    def __init__(self, *, as_json: bool = False, job: str | None = None) -> None:
        self.as_json = as_json
        self.job = job or new_job_id()
        self.args: Sequence[str] = ()
        self.command: str | None = None
        self.outputs: list[str] = []
        self.given = Given()
        self.level = "info"
        self.dry_run = self.plan_as_json = False
        self.columns: dict[str, Any] | None = None
        self.verbose = False
        self.quiet = False
        self.check: Callable[[], None] = lambda: None
        self.bytes_done = 0.0
        self.written: list[str] = []
        self._started = time.monotonic()
        self._bar: Progress | None = None
        self._said_columns = False
        self._found: dict[str, Any] = {}
        self._ended = False

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def say(self, event: str, message: str, *, level: str = "info", **fields: Any) -> None:
        """One line; `fields` appear in JSON alone."""
        if self.dry_run and event == "done" and "target" in fields:
            return  # it is not
        if LEVELS[level] < LEVELS["warning" if self.quiet and self.level != "error" else self.level]:
            return
        message = masked(message)
        if self.as_json:
            fields = {name: masked(value) if isinstance(value, str) else value for name, value in fields.items()}
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line: dict[str, Any] = {"time": now, "level": level, "event": _ENDS.get(event, event), "job": self.job}
            line |= {"command": self.command, "version": __version__, "message": message}
            if event == "done":
                self._ended = True
                line |= {"outputs": self.outputs, **self._found}
            self._write(json.dumps(line | fields, default=str))
        else:
            self._write(message)

    def error(self, message: str, exit_code: int, event: str = "error", **fields: Any) -> None:
        """The line that tells why the program ends."""
        message = one_line(message)
        if self.as_json:
            fields = {"error": message, "seconds": round(self.seconds, 3), **fields}
        else:
            message = f"streamnorm: {message}"
        self.say(event, message, level="error", exit_code=exit_code, **fields)

    def job_started(self, fields: Mapping[str, Any]) -> None:
        """A line of JSON; people know what they have started."""
        if self.as_json:
            self.say("job.started", f"{self.command} started", **fields)

    def job_finished(self) -> None:
        """The last line in JSON of a command that has not said itself that it is done."""
        if self.as_json and not self._ended:
            self.say("done", f"{self.command} finished in {self.seconds:.2f} s", seconds=round(self.seconds, 3))

    def traceback(self, error: BaseException) -> None:
        """Where an unexpected error came from, for --verbose."""
        text = "".join(traceback.format_exception(error)).rstrip()
        self.say("traceback", text, level="error")

    def _write(self, line: str) -> None:
        try:
            if self._bar is not None:
                self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            elif sys.stderr is not None:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Say what the library logs and what Python warns of, as far as the options ask for it."""
        handler = _Handler(self)
        level, propagate = LOGGER.level, LOGGER.propagate
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        try:
            with warnings.catch_warnings():
                warnings.showwarning = self._warn  # type: ignore[assignment]
                warnings.simplefilter("always", StreamnormWarning)  # ours are results, whatever PYTHONWARNINGS says
                yield
        finally:
            LOGGER.removeHandler(handler)
            LOGGER.setLevel(level)
            LOGGER.propagate = propagate

    def _warn(self, message: Warning | str, category: type[Warning], *_: Any) -> None:
        text = one_line(message)
        fields = {"code": message.code, "columns": message.columns} if isinstance(message, StreamnormWarning) else {}
        self.warn(text, **fields)

    def warn(self, text: str, **fields: Any) -> None:
        """A line of warning."""
        self.say("warning", text if self.as_json else f"streamnorm: warning: {text}", level="warning", **fields)

    def record(self, record: logging.LogRecord) -> None:
        """A record of the library's log: columns once, updates and warnings always, the rest with --verbose."""
        ours = _RECORD_FIELDS | {"job", "command", "version"}  # which are those of the command
        fields = {key: value for key, value in vars(record).items() if key not in ours}
        event = str(fields.pop("event", "log"))
        if event in ("job.started", "job.finished", "job.failed"):  # of the library; the command says its own
            self._found |= {key: fields[key] for key in ("rows", "digest") if key in fields}
            return
        if self.dry_run and event == "columns":
            self.columns = fields
            return
        if event.startswith("pass.") and not self.as_json and not self.verbose:
            return
        if event == "written":
            self.written.append(fields["target"])
        first = event == "columns" and not self._said_columns
        self._said_columns |= first
        if first or event == "update" or event.startswith("pass.") or self.verbose or record.levelno >= logging.WARNING:
            self.say(event, one_line(record.getMessage()), level=record.levelname.lower(), **fields)

    @contextmanager
    def progress(self, passes: int = 1) -> Iterator[Callable[[int, int | None, int], None]]:
        """A progress callback: a bar on a terminal, a line a second in JSON, else nothing to see."""
        self.check()
        if self.as_json:
            yield self._json_progress(passes)
        elif not self.quiet and sys.stderr is not None and sys.stderr.isatty():
            with self._drawn_bar() as bar:
                yield self._bar_progress(bar, passes)
        else:
            yield lambda rows_done, rows_total, bytes_done: self._note(bytes_done, passes)

    def _note(self, bytes_done: int, passes: int) -> None:
        self.check()
        self.bytes_done = bytes_done / passes

    def _json_progress(self, passes: int) -> Callable[[int, int | None, int], None]:
        last = time.monotonic()

        def progress(rows_done: int, rows_total: int | None, bytes_done: int) -> None:
            nonlocal last
            self._note(bytes_done, passes)
            now = time.monotonic()
            if now - last >= JSON_INTERVAL:
                last = now
                of = "" if rows_total is None else f" of {rows_total:,}"
                self.say(
                    "progress",
                    f"{rows_done:,}{of} rows",
                    rows_done=rows_done,
                    rows_total=rows_total,
                    bytes_done=bytes_done,
                    seconds=round(self.seconds, 3),
                )

        return progress

    @contextmanager
    def _drawn_bar(self, columns: Sequence[Any] = ()) -> Iterator[Progress]:
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = columns or (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Terminal(file=sys.stderr), transient=True) as bar:
            self._bar = bar
            try:
                yield bar
            finally:
                self._bar = None

    def _bar_progress(self, bar: Progress, passes: int) -> Callable[[int, int | None, int], None]:
        task = bar.add_task("reading", total=None, rows="", speed="")
        began = time.monotonic()

        def progress(rows_done: int, rows_total: int | None, bytes_done: int) -> None:
            self._note(bytes_done, passes)
            one_pass = (rows_total or 0) // passes
            writing = passes > 1 and rows_done > one_pass
            bar.update(
                task,
                description="writing" if writing else "reading",
                completed=rows_done,
                total=rows_total,
                rows=f"{rows_done - one_pass if writing else rows_done:,} rows",
                speed=f"{bytes_done / 1e6 / max(time.monotonic() - began, 1e-3):.0f} MB/s",
            )

        return progress


class _Handler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.record(record)
