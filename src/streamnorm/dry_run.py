"""A run that stops before it reads or writes data, and what is known of it by then."""

# Design: a dry run is the run itself, up to where the first pass over data would begin or the first file would be made:
# so its checks, their order and its errors are those of the run, and a command that is new has them, too. On the way
# there, whoever opens a file, checks a target or chooses columns tells it here. Turned down: a planner beside each
# job, which would promise what the job then refuses. A command that knows nothing of this, and begins a file of its own
# beside its output, is stopped by an audit hook of Python's, which sees it before it is made. Threads that are started
# on the way belong to the dry run: Python passes no context variables on to them (before 3.14), so from the first dry
# run on, `Thread.start` does, where it is called in one. Turned down: one plan for the process, which would stop the
# jobs of other threads, too.

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from threading import Thread
from typing import Any


class Stopped(BaseException):
    """Here the work would begin."""


@dataclass
class Plan:
    """What a run would do.

    Attributes
    ----------
    inputs : dict of str to dict
        By path: ``format``, ``rows``, ``bytes``, ``row_groups``, of which None is not known.
    outputs : dict of str to dict
        By path: ``exists``.
    folders : set of str
        Where these are, in which nothing is to change.
    scaler, features, schema
        What is normalized, and by what; None if it did not come to that.
    stopped : bool
        Whether it has ended, here or in a thread.
    """

    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    scaler: Any = None
    features: Sequence[Any] = ()
    schema: Any = None
    stopped: bool = False


_plan: ContextVar[Plan | None] = ContextVar("streamnorm_dry_run", default=None)


@contextmanager
def planning() -> Iterator[Plan]:
    """Everything in here is a dry run."""
    plan = Plan()
    _watch()
    token = _plan.set(plan)
    try:
        yield plan
    except Stopped:
        pass
    except Exception:
        if not plan.stopped:  # else it was a thread that has stopped, and what it was to bring is missing
            raise
    finally:
        _plan.reset(token)


def stop() -> None:
    """End a dry run; what follows reads data or changes files."""
    plan = _plan.get()
    if plan is not None:
        plan.stopped = True
        raise Stopped


def note_input(
    path: str | os.PathLike[str], kind: str, rows: int | None, nbytes: int | None, row_groups: int | None = None
) -> None:
    """A file of data was opened."""
    plan = _plan.get()
    if plan is not None:
        facts = {"format": kind, "rows": rows, "bytes": nbytes, "row_groups": row_groups}
        plan.inputs.setdefault(os.fsdecode(os.fspath(path)), facts)


def note_output(path: Any) -> None:
    """A file may be written, as far as can be told."""
    plan = _plan.get()
    if plan is not None:
        name = os.fsdecode(os.fspath(path))
        if name not in plan.outputs:
            local = isinstance(path, str | bytes | Path)
            plan.outputs[name] = {"exists": os.path.lexists(name) if local else path.exists()}
        plan.folders.add(os.path.dirname(os.path.abspath(name)))


def note_columns(scaler: Any, features: Sequence[Any], schema: Any) -> None:
    """These features of tables of this schema are normalized."""
    plan = _plan.get()
    if plan is not None:
        plan.scaler, plan.features, plan.schema = scaler, list(features), schema


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.rename", "os.remove", "os.link", "os.symlink", "os.truncate"}
_watching: list[bool] = []


def _watch() -> None:
    """Install the hooks, once: Python has no way to take one back, and outside of a dry run they do nothing."""
    if not _watching:
        _watching.append(True)
        sys.addaudithook(_audit)
        start = Thread.start

        @wraps(start)
        def start_as_part(thread: Thread) -> None:
            if _plan.get() is not None:
                _pass_on(thread)
            start(thread)

        Thread.start = start_as_part  # type: ignore[method-assign]


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event != "open" and event != "os.mkdir" and event not in _CHANGES:
        return
    plan = _plan.get()
    if plan is None or not isinstance(args[0], (str, bytes, os.PathLike)):
        return
    path = os.path.abspath(os.fsdecode(args[0]))
    if event == "os.mkdir":
        inside = any(folder == path or folder.startswith(path + os.sep) for folder in plan.folders)
    else:
        inside = os.path.dirname(path) in plan.folders and (event != "open" or bool(args[2] & _WRITING))
    if inside:
        plan.stopped = True
        raise Stopped


def _pass_on(thread: Thread) -> None:
    """Let a thread that is about to start run in a copy of this context, and end where the dry run does."""
    context, run = copy_context(), thread.run

    def run_as_part() -> None:
        with suppress(Stopped):
            context.run(run)

    thread.run = run_as_part  # type: ignore[method-assign]
