"""Section of the report on frames: what a transform costs beside the kernel."""

from __future__ import annotations

from benchmarks import frames as bench
from benchmarks import turns
from reporting import Report


def frames(report: Report) -> None:
    """Frames of eight columns, transformed, against the kernel on the same columns with new arrays to write to."""
    if report.peers_only:
        return
    title = f"Transform of {bench.ROWS:,} rows, {bench.COLUMNS} columns of float64"
    table = report.table(title, "", "kernel, ms", "transform, ms", "ratio", "target")
    for name in bench.FRAMES:
        taken = report.attempt(f"transform of {name}", bench.compare, name)
        if taken is None:
            continue
        share = turns.ratio(taken["transform"], taken["kernel"])
        verdict = report.verdict(f"transform of {name} over the kernel", share, bench.TARGET)
        each = (f"{1000 * min(taken[side]):.0f}" for side in ("kernel", "transform"))
        table.add_row(name, *each, f"{share:.3f}", verdict)
    report.console.print(table)
