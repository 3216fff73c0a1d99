"""What the sections of the report share: where tables go, targets and verdicts, and the table of a job on a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from benchmarks import data, measure
from benchmarks.measure import Measurement
from rich.console import Console
from rich.table import Table

SCAN, COPY = ("scan", "bare_scan"), ("copy", "copy_unchanged")
OURS, EXACT = "streamnorm", "streamnorm_exact"
GIGA = 1e9


@dataclass
class Report:
    """Where the tables go, and what is remembered for the exit status."""

    console: Console
    rounds: int
    rows: int
    peers_only: bool
    files: list[str]
    failures: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def verdict(self, what: str, value: float, limit: float | None, *, least: bool = False) -> str:
        """A target and whether `value` meets it, as a cell of a table."""
        if limit is None:
            return ""
        met = value >= limit if least else value <= limit
        if not met:
            self.missed.append(what)
        return f"{'>=' if least else '<='} {limit:.3g} {'met' if met else '[bold red]missed[/]'}"

    def attempt(self, what: str, function: Callable, *arguments):
        """Result of `function`, or None after noting why there is none."""
        try:
            return function(*arguments)
        except Exception as error:  # one broken implementation must not hide the others
            self.failures.append(f"{what}: {error}")
            return None

    def table(self, title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            made.add_column(column, justify="right" if number else "left")
        return made

    def names(self, table: Iterable[str]) -> list[str]:
        """Those that are asked for."""
        return [name for name in table if not (self.peers_only and name.startswith(OURS))]


def _median(runs: list[Measurement], attribute: str) -> float:
    return median(getattr(run, attribute) for run in runs)


def job_table(
    report: Report,
    job: str,
    title: str,
    floors: list[tuple[str, str]],
    names: list[str],
    wall: Mapping[str, float],
    *,
    file: str = "standard",
    ours: str = OURS,
    peak: Mapping[str, float] | None = None,
) -> None:
    """A row for each of the implementations called `names`, under those that set a floor.

    `wall` and `peak` are targets: our wall time, and peak memory, over that of whom they name, at most.
    """
    entries = list(floors)
    for name in report.names(names):
        checked = report.attempt(f"{job} by {name}", lambda name=name: measure.check(job, name) or True)
        if checked:
            entries.append((job, name))
    source = data.path(file, report.rows)
    taken = report.attempt(job, measure.alternate, entries, source, report.rounds)
    if taken is None:
        return
    table = report.table(title, "", "wall s", "CPU s", "peak MB", "ours / this", "peak / this", "target")
    mine = taken.get((job, ours))

    def add(name: str, others: list[list[Measurement]]) -> None:
        seconds, cpu = (sum(_median(runs, what) for runs in others) for what in ("wall", "cpu"))
        largest = max(_median(runs, "peak_mb") for runs in others)
        digits = 2 if seconds >= 0.1 else 4
        cells, verdicts = [f"{seconds:.{digits}f}", f"{cpu:.{digits}f}", f"{largest:.0f}"], []
        for what, ratio, targets in (
            ("", measure.wall_ratio, wall),
            ("peak ", measure.peak_ratio, peak or {}),
        ):
            share = ratio(mine, *others) if mine else None
            cells.append("" if share is None else f"{share:.2f}")
            if share is not None and name in targets:
                verdicts.append(what + report.verdict(f"{what}{job}: {ours} / {name}", share, targets[name]))
        table.add_row(name, *cells, ", ".join(verdicts))

    for floor in floors:
        add(floor[1], [taken[floor]])
    if len(floors) > 1:
        add(" + ".join(name for _, name in floors), [taken[floor] for floor in floors])
    for entry in entries[len(floors) :]:
        add(entry[1], [taken[entry]])
    report.console.print(table)
