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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import data, measure
from benchmarks.peers import JOBS
from report_arrays import exact_moments, kernels, precision, sketches
from report_frames import frames
from report_models import network_models
from report_norms import norms
from report_training import imports, training
from reporting import COPY, EXACT, OURS, SCAN, Report, job_table
from rich.console import Console

# Our wall time over that of what is named, at most.
WALL_TARGETS: dict[str, dict[str, float]] = {
    "fit_moments": {"bare_scan": 1.2},
    "fit_quantiles": {"bare_scan": 2.0, "duckdb": 1 / 5},
    "fit_extrema": {"polars": 1.0, "duckdb": 1.0, "duckdb_metadata": 1.0, "pyarrow_metadata": 1.0},
    "normalize": {"bare_scan + copy_unchanged": 0.7, "polars": 1 / 1.2, "duckdb": 1 / 2, "sklearn": 1 / 8},
}
EXACT_WALL_TARGETS: dict[str, dict[str, float]] = {
    "fit_moments": {"streamnorm": 1.2},
    "fit_quantiles": {"bare_scan": 3.0, "duckdb_exact": 1 / 3},
}
EXACT_PEAK_TARGETS = {"duckdb_exact": 1 / 4}  # ours over theirs, at most, of quantiles
# Peak memory of a process, at most: by job and implementation for every file but the wide one, then for that.
PEAK_TARGETS = {("normalize", "streamnorm"): 340, ("normalize", "streamnorm_128MB"): 210}
WIDE_PEAK_TARGETS = {("fit_moments", "streamnorm_128MB"): 210, ("normalize", "streamnorm_128MB"): 340}
MEMORY_NAMES = ("streamnorm", "streamnorm_128MB", "polars", "duckdb", "sklearn")
# Minutes for a hundred thousand calls of partial_fit; pages larger than 128 MB (see data.SMALL_PAGES).
MEMORY_LEFT_OUT = {("tiny_row_groups", "sklearn"), ("duckdb", "streamnorm_128MB")}
# Files to which the peaks apply: not where the footer sets the floor (a hundred thousand row groups).
PEAK_FILES = ("standard", "one_row_group", "hundred_files", "duckdb", "thousand_row_groups")

# Which sections a change to a file can move, by how its path begins; another file of the package moves all of them.
PASSES = ("fit", "footer", "robust", "exact", "normalize", "memory")
TOUCHES: dict[str, tuple[str, ...]] = {
    "src/streamnorm/csrc/kll": ("sketches", "robust", "exact", "memory"),
    "src/streamnorm/_sketch": ("sketches", "robust", "exact", "memory"),
    "src/streamnorm/csrc/exact": ("exact", "precision"),
    "src/streamnorm/csrc/select": ("exact",),
    "src/streamnorm/_select": ("exact",),
    "src/streamnorm/quantiles": ("exact",),
    "src/streamnorm/refine": ("exact",),
    "src/streamnorm/rounding": ("exact", "precision"),
    "src/streamnorm/csrc/pages": ("normalize", "memory"),
    "src/streamnorm/csrc/affine": ("kernels", "frames", "normalize"),
    "src/streamnorm/csrc/norms": ("norms", "training"),
    "src/streamnorm/csrc/network": ("training", "models"),
    "src/streamnorm/csrc/conv": ("models",),
    "src/streamnorm/csrc/pool": ("models",),
    "src/streamnorm/csrc/lstm": ("models",),
    "src/streamnorm/csrc/gemm": ("training", "models"),
    "src/streamnorm/csrc/matrix": ("training",),
    "src/streamnorm/_norms": ("norms", "training"),
    "src/streamnorm/_network": ("training", "models"),
    "src/streamnorm/_convolution": ("models",),
    "src/streamnorm/_recurrent": ("models",),
    "src/streamnorm/images": (),
    "src/streamnorm/text": (),
    "src/streamnorm/series": (),
    "src/streamnorm/_nn": ("norms", "training", "models"),
    "src/streamnorm/nn/_regressor": ("training",),
    "src/streamnorm/nn/regressor": ("training",),
    "src/streamnorm/nn/": ("norms", "training", "models"),
    "src/streamnorm/_rows": ("training",),
    "src/streamnorm/_batch": ("training",),
    "src/streamnorm/_ahead": ("training",),
    "src/streamnorm/features": ("training",),
    "src/streamnorm/_torch_batches": (),
    "src/streamnorm/__init__": ("imports",),
    "src/streamnorm/csrc/distinct": (),
    "src/streamnorm/csrc/tally": (),
    "src/streamnorm/_tally": (),
    "src/streamnorm/csrc/": ("kernels", "precision", "fit", "exact"),
    "src/streamnorm/parquet/": ("footer", "normalize", "memory"),
    "src/streamnorm/footer_fit": ("footer",),
    "src/streamnorm/apply": ("normalize", "memory"),
    "src/streamnorm/plan": ("normalize", "memory"),
    "src/streamnorm/atomic": ("normalize",),
    "src/streamnorm/scalers/_frames": ("frames",),
    "src/streamnorm/scalers/_inputs": ("frames",),
    "src/streamnorm/scalers/_queries": (),
    "src/streamnorm/scalers/_tensors": ("frames",),
    "src/streamnorm/scalers/_transform": ("frames",),
    "src/streamnorm/summary_table": (),
    "src/streamnorm/scan": PASSES,
    "src/streamnorm/sources": PASSES,
    "src/streamnorm/pipeline": PASSES,
    "src/streamnorm/cli": (),
    "src/streamnorm/console": (),
    "src/streamnorm/listing": (),
    "src/streamnorm/options": (),
}


def fit(report: Report) -> None:
    """One pass over the standard file: mean, standard deviation, min, max."""
    title, names = "Fit: mean, standard deviation, min and max", [name for name in JOBS["fit_moments"] if name != EXACT]
    job_table(report, "fit_moments", title, [SCAN], names, WALL_TARGETS["fit_moments"])


def footer(report: Report) -> None:
    """Minimum and maximum of every column, which the footer of a thousand row groups tells."""
    job, title = "fit_extrema", "Fit: min and max from the footer"
    job_table(report, job, title, [], list(JOBS[job]), WALL_TARGETS[job], file="thousand_row_groups")


def robust(report: Report) -> None:
    """Three quantiles of every column, approximate."""
    names = [name for name, implementation in JOBS["fit_quantiles"].items() if not implementation.exact]
    job_table(report, "fit_quantiles", "Fit: three quantiles", [SCAN], names, WALL_TARGETS["fit_quantiles"])


def exact(report: Report) -> None:
    """Correctly rounded moments, in memory and from the standard file, and exact quantiles of the file."""
    exact_moments(report)
    title, names = "Fit: exact mean and standard deviation, min and max", [EXACT, OURS]
    job_table(report, "fit_moments", title, [SCAN], names, EXACT_WALL_TARGETS["fit_moments"], ours=EXACT)
    names = [name for name, implementation in JOBS["fit_quantiles"].items() if implementation.exact]
    job_table(
        report,
        "fit_quantiles",
        "Fit: three exact quantiles",
        [SCAN],
        names,
        EXACT_WALL_TARGETS["fit_quantiles"],
        ours=EXACT,
        peak=EXACT_PEAK_TARGETS,
    )


def normalize(report: Report) -> None:
    """Fit z-scores and write the normalized file."""
    title = "Normalize: fit z-scores and write Parquet (snappy)"
    job_table(report, "normalize", title, [SCAN, COPY], list(JOBS["normalize"]), WALL_TARGETS["normalize"])


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


FILES, ARRAYS = (fit, footer, robust, exact, normalize, memory), (kernels, frames, sketches, precision, norms)
SECTIONS: dict[str, Callable[[Report], None]] = {
    **{function.__name__: function for function in (*FILES, *ARRAYS, training)},
    "models": network_models,
    "imports": imports,
}


def _versions() -> Iterator[str]:
    for name in ("streamnorm", "numpy", "pyarrow", "polars", "duckdb", "scikit-learn", "datasketches", "torch"):
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
