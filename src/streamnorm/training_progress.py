"""What the command train says while it trains: a bar with losses, or a JSON line for each epoch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .console import Console

Progress = Callable[[int, int, Mapping[str, float]], None]


def fancy(stream: Any) -> bool:
    """Whether a stream is a terminal that shows colors and Unicode."""
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream is not None and stream.isatty() and encoding == "utf8" and not plain


@contextmanager
def training_progress(console: Console, epochs: int) -> Iterator[Progress]:
    """The callback of a fit."""
    console.check()
    if console.as_json or console.verbose or console.quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total, losses: _say(console, done, total, losses)
        return
    with console._drawn_bar(_columns()) as bar:
        task = bar.add_task("training", total=epochs, losses="")

        def progress(done: int, total: int, losses: Mapping[str, float]) -> None:
            console.check()
            bar.update(task, completed=done, total=total, losses=shown(losses))

        yield progress


def _say(console: Console, done: int, total: int, losses: Mapping[str, float]) -> None:
    console.check()
    if console.as_json or console.verbose:
        text = f"epoch {done} of {total}: {shown(losses)}"
        fields: dict[str, Any] = {"epoch": done, "epochs": total, "seconds": round(console.seconds, 3), **losses}
        console.say("epoch", text, **fields)


def shown(losses: Mapping[str, float]) -> str:
    """Losses for people."""
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())


def _columns() -> tuple[Any, ...]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TextColumn("{task.fields[losses]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
