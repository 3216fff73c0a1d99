"""What a job says of itself in Python's own logging: when it starts, its passes, how it ends."""

# Design: records go to the logger "streamnorm" at level INFO (a failure at ERROR), and carry their facts as attributes
# of the record (`extra`) under the names that the lines of --log-format json have, so that one handler, or one query of
# a log store, serves both. Nobody who has not asked for them gets any: without a handler, nothing is made. Turned down:
# a logger for each module, whose names would follow the files and not what happens.

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from ._version import __version__
from .dry_run import Stopped, stop
from .masking import masked

LOGGER = logging.getLogger("streamnorm")
JOB_VARIABLE = "STREAMNORM_JOB_ID"
SHOWN = 20  # inputs that a record names; their number is said in any case

_current: ContextVar[dict[str, Any] | None] = ContextVar("streamnorm_job", default=None)

F = TypeVar("F", bound=Callable[..., Any])


def new_job_id() -> str:
    """The id that the environment gives to the job, or a random one."""
    return os.environ.get(JOB_VARIABLE) or secrets.token_hex(6)


def places(source: Any) -> dict[str, Any]:
    """The fields ``inputs`` and ``input_count`` for a source: paths as given, or the kind of the data in memory."""
    items = source if isinstance(source, (list, tuple)) and source else [source]
    if not all(isinstance(item, (str, os.PathLike)) for item in items):
        items = [f"<{type(source).__name__}>"]
    return {"inputs": [place(item) for item in items[:SHOWN]], "input_count": len(items)}


def place(path: str | os.PathLike[str]) -> str:
    """A path or URI without the password that it may hold.

    Examples
    --------
    >>> place("s3://key:secret@bucket/trips.parquet")
    's3://***@bucket/trips.parquet'
    """
    return masked(os.fsdecode(os.fspath(path)))


@contextmanager
def job(command: str, source: Any, sink: Any = None) -> Iterator[dict[str, Any]]:
    """Log the start and the end of a job; what the caller puts into the dict goes with the end.

    Inside of another job, nothing is logged: its fields go to that one.
    """
    outer = _current.get()
    if outer is not None or not _heard():
        yield {} if outer is None else outer["ended"]
        return
    ended: dict[str, Any] = {}
    common = {"job": new_job_id(), "command": command, "version": __version__}
    outputs = [] if sink is None else [place(sink)]
    token = _current.set({"common": common, "ended": ended})
    began = time.monotonic()
    try:
        log("job.started", f"{command} started", outputs=outputs, **places(source))
        yield ended
        seconds = _seconds(began)
        log("job.finished", f"{command} finished in {seconds:.2f} s", outputs=outputs, seconds=seconds, **ended)
    except Stopped:
        raise
    except BaseException as error:
        fields = {key: getattr(error, key, None) for key in ("file", "row_group", "column")}
        known = {key: value for key, value in fields.items() if value is not None}
        known |= {"error": masked(str(error)) or type(error).__name__, "seconds": _seconds(began)}
        log("job.failed", f"{command} failed: {known['error']}", level=logging.ERROR, **known)
        raise
    finally:
        _current.reset(token)


def logged(command: str) -> Callable[[F], F]:
    """Make a function of a source and a sink a job; of the scaler that it returns, rows and digest are logged."""

    def decorate(function: F) -> F:
        @wraps(function)
        def run(source: Any, *args: Any, **options: Any) -> Any:
            sink = options.get("sink", args[0] if args and command != "fit" else None)
            with job(command, source, sink) as ended:
                result = function(source, *args, **options)
                if _heard():
                    ended |= _facts(result)
            return result

        return run  # type: ignore[return-value]

    return decorate


def _facts(result: Any) -> dict[str, Any]:
    if isinstance(result, int):
        return {"rows": result}
    summary = getattr(result, "summary_", None)
    return {} if not summary else {"rows": summary.rows, "digest": result.digest()}


@contextmanager
def passing(name: str, **fields: Any) -> Iterator[None]:
    """Log the start and the end of a pass over data: ``fit``, ``refine`` or ``write``."""
    stop()
    if not _heard():
        yield
        return
    began = time.monotonic()
    fields["pass"] = name
    log("pass.started", f"pass {name} started", **fields)
    yield
    seconds = _seconds(began)
    log("pass.finished", f"pass {name} finished in {seconds:.2f} s", seconds=seconds, **fields)


def sizes(files: Sequence[Any]) -> dict[str, int]:
    """The fields ``files``, ``rows`` and ``bytes`` of Parquet files."""
    rows = sum(file.num_rows for file in files)
    return {"files": len(files), "rows": rows, "bytes": sum(file.footer.file_size for file in files)}


def log(event: str, message: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """A record with these fields, and those that all records of the job have."""
    current = _current.get()
    common = {} if current is None else current["common"]
    LOGGER.log(level, "%s", message, extra={"event": event, **common, **fields})


def _heard() -> bool:
    # Without a handler, logging would print what is an error on standard error.
    return LOGGER.isEnabledFor(logging.INFO) and LOGGER.hasHandlers()


def _seconds(began: float) -> float:
    return round(time.monotonic() - began, 3)
