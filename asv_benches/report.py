"""Compare streamnorm with its peers on this machine: tables of time, processor time, peak memory and ratios.

``python asv_benches/report.py`` runs every section; name some to run only those. Each implementation's answer
is checked before it is timed, each run is a process of its own, and implementations take turns. The exit
status is 1 when an implementation failed or was wrong, and with ``--strict`` also when a target was missed.

To see that memory does not grow with the data: ``report.py memory --rows 100000000 --files standard``, which
makes a file of 5.5 GB and writes another.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from benchmarks import accuracy, arrays, data, measure
from benchmarks.measure import Measurement
from benchmarks.peers import JOBS
from rich.console import Console
from rich.table import Table

SCAN, COPY = ("scan", "bare_scan"), ("copy", "copy_unchanged")
OURS = "streamnorm"
GIGA = 1e9

# Our wall time over that of what is named, at most.
WALL_TARGETS: dict[str, dict[str, float]] = {
    "fit_moments": {"bare_scan": 1.2},
    "fit_quantiles": {"bare_scan": 2.0, "duckdb": 1 / 5},
    "fit_extrema": {"polars": 1.0, "duckdb": 1.0, "duckdb_metadata": 1.0, "pyarrow_metadata": 1.0},
    "normalize": {"bare_scan + copy_unchanged": 0.7, "polars": 1 / 1.2, "duckdb": 1 / 2, "sklearn": 1 / 8},
}
# Peak memory of a process, at most: by job and implementation for every file but the wide one, then for that.
PEAK_TARGETS = {("normalize", "streamnorm"): 340, ("normalize", "streamnorm_128MB"): 210}
WIDE_PEAK_TARGETS = {("fit_moments", "streamnorm_128MB"): 210, ("normalize", "streamnorm_128MB"): 340}
MEMORY_NAMES = ("streamnorm", "streamnorm_128MB", "polars", "duckdb", "sklearn")
# Minutes for a hundred thousand calls of partial_fit; pages larger than 128 MB (see data.SMALL_PAGES).
MEMORY_LEFT_OUT = {("tiny_row_groups", "sklearn"), ("duckdb", "streamnorm_128MB")}
# Files to which the peaks apply: not where the footer sets the floor (a hundred thousand row groups).
PEAK_FILES = ("standard", "one_row_group", "hundred_files", "duckdb", "thousand_row_groups")

# Which sections a change to a file can move, by how its path begins; another file of the package moves all of them.
PASSES = ("fit", "footer", "robust", "normalize", "memory")
TOUCHES: dict[str, tuple[str, ...]] = {
    "src/streamnorm/csrc/kll": ("sketches", "robust", "memory"),
    "src/streamnorm/_sketch": ("sketches", "robust", "memory"),
    "src/streamnorm/csrc/pages": ("normalize", "memory"),
    "src/streamnorm/csrc/affine": ("kernels", "normalize"),
    "src/streamnorm/csrc/": ("kernels", "precision", "fit"),
    "src/streamnorm/parquet/": ("footer", "normalize", "memory"),
    "src/streamnorm/footer_fit": ("footer",),
    "src/streamnorm/apply": ("normalize", "memory"),
    "src/streamnorm/plan": ("normalize", "memory"),
    "src/streamnorm/atomic": ("normalize",),
    "src/streamnorm/scan": PASSES,
    "src/streamnorm/sources": PASSES,
    "src/streamnorm/pipeline": PASSES,
    "src/streamnorm/cli": (),
    "src/streamnorm/console": (),
    "src/streamnorm/listing": (),
    "src/streamnorm/options": (),
}


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

    def names(self, table: dict) -> list[str]:
        return [name for name in table if not (self.peers_only and name.startswith(OURS))]


def _median(runs: list[Measurement], attribute: str) -> float:
    return median(getattr(run, attribute) for run in runs)


def _job(report: Report, job: str, title: str, floors: list[tuple[str, str]], file: str = "standard") -> None:
    entries = list(floors)
    for name in report.names(JOBS[job]):
        checked = report.attempt(f"{job} by {name}", lambda name=name: measure.check(job, name) or True)
        if checked:
            entries.append((job, name))
    source = data.path(file, report.rows)
    taken = report.attempt(job, measure.alternate, entries, source, report.rounds)
    if taken is None:
        return
    table = report.table(title, "", "wall s", "CPU s", "peak MB", "ours / this", "target")
    ours = taken.get((job, OURS))

    def add(name: str, others: list[list[Measurement]]) -> None:
        wall, cpu = (sum(_median(runs, what) for runs in others) for what in ("wall", "cpu"))
        peak = max(_median(runs, "peak_mb") for runs in others)
        ratio = measure.wall_ratio(ours, *others) if ours else None
        limit = WALL_TARGETS[job].get(name)
        verdict = report.verdict(f"{job} / {name}", ratio, limit) if ratio is not None else ""
        shown = "" if ratio is None else f"{ratio:.2f}"
        digits = 2 if wall >= 0.1 else 4
        table.add_row(name, f"{wall:.{digits}f}", f"{cpu:.{digits}f}", f"{peak:.0f}", shown, verdict)

    for floor in floors:
        add(floor[1], [taken[floor]])
    if len(floors) > 1:
        add(" + ".join(name for _, name in floors), [taken[floor] for floor in floors])
    for entry in entries[len(floors) :]:
        add(entry[1], [taken[entry]])
    report.console.print(table)


def fit(report: Report) -> None:
    """One pass over the standard file: mean, standard deviation, min, max."""
    _job(report, "fit_moments", "Fit: mean, standard deviation, min and max", [SCAN])


def footer(report: Report) -> None:
    """Minimum and maximum of every column, which the footer of a thousand row groups tells."""
    _job(report, "fit_extrema", "Fit: min and max from the footer", [], "thousand_row_groups")


def robust(report: Report) -> None:
    """Three quantiles of every column."""
    _job(report, "fit_quantiles", "Fit: three quantiles", [SCAN])


def normalize(report: Report) -> None:
    """Fit z-scores and write the normalized file."""
    _job(report, "normalize", "Normalize: fit z-scores and write Parquet (snappy)", [SCAN, COPY])


def memory(report: Report) -> None:
    """Peak memory on every shape of file."""
    names = report.names(dict.fromkeys(MEMORY_NAMES))
    table = report.table("Peak memory, MB, one run each", "file", "job", *names, "target")
    for file in report.files:
        source = data.path(file, report.rows)
        for job in ("fit_moments", "normalize"):
            cells, verdicts = [], []
            for name in names:
                if (file, name) in MEMORY_LEFT_OUT:
                    cells.append("")
                    continue
                what = f"{job} by {name} on {file}"
                run = report.attempt(what, measure.run, job, name, source)
                cells.append("failed" if run is None else f"{run.peak_mb:.0f}")
                targets = WIDE_PEAK_TARGETS if file == "wide" else PEAK_TARGETS if file in PEAK_FILES else {}
                if run is not None and (job, name) in targets:
                    verdicts.append(report.verdict(f"peak of {what}", run.peak_mb, targets[job, name]))
            table.add_row(file, job, *cells, "\n".join(verdicts))
    report.console.print(table)


def kernels(report: Report) -> None:
    """Values in memory: moments against a plain sum, affine against a copy, sketches."""
    table = report.table("Kernels, float64", "", "values", "nulls", "ns a value", "GB/s", "ratio", "target")
    for rows in (*arrays.CACHE_VALUES, arrays.MEMORY_VALUES):
        in_memory = rows == arrays.MEMORY_VALUES
        timed: dict[tuple[str, float], Callable] = {}
        for name in report.names(arrays.MOMENTS):
            for nulls in (0.0, 0.05):
                what = f"moments by {name}"
                if report.attempt(
                    what, lambda n=name, z=nulls: arrays.check_moments(n, "float64", z) or True
                ):
                    timed[name, nulls] = arrays.MOMENTS[name](arrays.values("float64", rows, nulls))
        for (name, nulls), update in timed.items():
            taken = arrays.seconds(update, rows)
            ratio, verdict = "", ""
            if name == OURS and not nulls:
                share = 1 / arrays.ratio(update, timed["numpy_sum", 0.0], rows)
                ratio = f"{share:.2f} x sum's GB/s"
                if in_memory:
                    verdict = report.verdict("moments from memory", share, 0.6, least=True)
                else:
                    verdict = report.verdict(f"moments of {rows} in cache", GIGA * taken / rows, 0.4) + " ns"
            elif name == OURS:
                cost = arrays.ratio(update, timed[OURS, 0.0], rows)
                ratio, verdict = (
                    f"{cost:.2f} x without",
                    report.verdict(f"moments of {rows}, nulls", cost, 1.6),
                )
            gb = f"{8 * rows / taken / GIGA:.1f}"
            table.add_row(
                f"moments, {name}",
                f"{rows:,}",
                f"{nulls:.0%}",
                f"{GIGA * taken / rows:.2f}",
                gb,
                ratio,
                verdict,
            )
    rows = arrays.MEMORY_VALUES
    array = arrays.values("float64", rows)
    out = array.copy()
    for name in report.names(arrays.AFFINE):
        if not report.attempt(f"affine by {name}", lambda n=name: arrays.check_affine(n, "float64") or True):
            continue
        scale = arrays.AFFINE[name](array, out)
        taken = arrays.seconds(scale, rows)
        share = 1.0 if name == "copy" else 1 / arrays.ratio(scale, arrays.AFFINE["copy"](array, out), rows)
        verdict = report.verdict("affine", share, 0.8, least=True) if name == OURS else ""
        table.add_row(
            f"affine, {name}",
            f"{rows:,}",
            "",
            f"{GIGA * taken / rows:.2f}",
            f"{16 * rows / taken / GIGA:.1f}",
            f"{share:.2f} x copy's GB/s",
            verdict,
        )
    report.console.print(table)


def sketches(report: Report) -> None:
    """Quantile sketches of lognormal values: cost, error and size."""
    columns = ("", "values", "ns a value", "rank error %", "bytes", "target")
    table = report.table("Quantile sketches, lognormal values", *columns)
    for rows in (report.rows // 10, report.rows):
        values = arrays.lognormal(rows)
        for name in report.names(arrays.SKETCHES):
            if not report.attempt(f"sketch {name}", lambda n=name: arrays.check_sketch(n) or True):
                continue
            each = (
                GIGA * arrays.seconds(lambda n=name, v=values: arrays.SKETCHES[n](v), rows, rounds=3) / rows
            )
            error = 100 * arrays.observed_rank_error(name, values)
            verdict = ""
            if name == OURS and rows == report.rows:
                cost = report.verdict("sketch, ns a value", each, 5.0)
                verdict = f"{cost} ns, {report.verdict('sketch, rank error', error, 0.1)} %"
            size = f"{arrays.sketch_bytes(name, values):,}"
            table.add_row(name, f"{rows:,}", f"{each:.1f}", f"{error:.3f}", size, verdict)
    report.console.print(table)


def precision(report: Report) -> None:
    """Relative error of the standard deviation of 5,000 values on an offset, one at a time and at once."""
    offsets = accuracy.Moments.params[1]
    table = report.table(
        "Relative error of the standard deviation",
        "",
        "chunk",
        *(f"offset {offset:.3g}" for offset in offsets),
    )
    for name in report.names(accuracy.IMPLEMENTATIONS):
        for chunk in (1, accuracy.VALUES):
            cells = []
            for offset in offsets:
                bench = accuracy.Moments()
                what = f"accuracy of {name}"
                if report.attempt(what, lambda b=bench, p=(name, offset, chunk): b.setup(*p) or True):
                    cells.append(f"{bench.track_std_error(name, offset, chunk):.1e}")
                else:
                    cells.append("failed")
            table.add_row(name, str(chunk), *cells)
    report.console.print(table)


SECTIONS: dict[str, Callable[[Report], None]] = {
    function.__name__: function for function in (fit, footer, robust, normalize, memory, kernels, sketches, precision)
}


def _versions() -> Iterator[str]:
    for name in ("streamnorm", "numpy", "pyarrow", "polars", "duckdb", "scikit-learn", "datasketches"):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} (not installed as a package)"


def touched_sections(base: str) -> list[str]:
    """The sections that the changes since a revision can move; all where there are none, or git cannot tell."""
    command = ["git", "diff", "--name-only", "--merge-base", base, "--", "src", "setup.py"]
    found = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    if not found.stdout:
        return list(SECTIONS)
    touched: set[str] = set()
    for path in found.stdout.split():
        touched.update(next((names for start, names in TOUCHES.items() if path.startswith(start)), SECTIONS))
    return [name for name in SECTIONS if name in touched]


def main() -> int:
    parser = argparse.ArgumentParser(description="Tables of streamnorm and its peers on this machine.")
    parser.add_argument("sections", nargs="*", metavar="section", help=f"any of {', '.join(SECTIONS)}, all")
    parser.add_argument("--base", default="main", help="without sections: those that a change since %(default)s moves")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each implementation (%(default)s)")
    parser.add_argument("--rows", type=int, default=data.ROWS, help="rows of the files (%(default)s)")
    parser.add_argument("--files", nargs="+", choices=list(data.VARIANTS), help="for the section memory")
    parser.add_argument("--peers-only", action="store_true", help="leave ours out")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target was missed")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - {*SECTIONS, "all"}
    if unknown:
        parser.error(f"no section is called {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    report = Report(
        console,
        arguments.rounds,
        arguments.rows,
        arguments.peers_only,
        arguments.files or list(data.VARIANTS),
    )
    console.print(
        f"{report.rows:,} rows, median of {report.rounds}; {os.cpu_count()} cores, {platform.machine()},"
    )
    console.print(f"Python {platform.python_version()}, {', '.join(_versions())}")
    sections = arguments.sections or touched_sections(arguments.base)
    if not sections:
        console.print(f"nothing that is measured here has changed since {arguments.base}; name a section, or all")
    for name in SECTIONS if "all" in sections else sections:
        SECTIONS[name](report)
    for title, found in (("Missed targets", report.missed), ("Failures", report.failures)):
        if found:
            console.print(
                f"{title}:", *(f"  {line}" for line in dict.fromkeys(found)), sep="\n", markup=False
            )
    return 1 if report.failures or (arguments.strict and report.missed) else 0


if __name__ == "__main__":
    sys.exit(main())
