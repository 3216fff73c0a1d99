"""Sections of the report on values in memory: kernels, exact moments, sketches, precision."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from benchmarks import accuracy, arrays, sketch_peers
from reporting import EXACT, GIGA, OURS, Report

# Nanoseconds a value at most.
CACHE_NS, EXACT_NS = 0.4, 1.3
# Of a sketch by how often the rows of the report are gone through, and its time over a peer's, at most.
SKETCH_NS = {1: 4.0, 10: 1.5}
SKETCH_TARGETS = {sketch_peers.EQUAL: 1 / 8, "polars": 1 / 8, "pyarrow_tdigest": 1 / 12}
SKETCH_ERROR = 0.1  # percent
LONG_ROUNDS = 3  # at most, of ten times the rows
MERGE_STATES, MERGE_SECONDS = 10_000, 1.0


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
                    verdict = report.verdict(f"moments of {rows} in cache", GIGA * taken / rows, CACHE_NS) + " ns"
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


def exact_moments(report: Report) -> None:
    """Moments from exact sums, on kinds of values that spread over ever more powers of two."""
    if report.peers_only:
        return
    columns = ("", "values", "nulls", "ns a value", "default mode", "np.sum", "exact / default", "target")
    table = report.table("Exact count, mean, variance, min and max, float64", *columns)
    for kind in arrays.KINDS:
        for rows in (arrays.CACHE_VALUES[-1], arrays.MEMORY_VALUES):
            for nulls in (0.0, 0.05):
                array = arrays.values("float64", rows, nulls, kind)
                timed: dict[str, Callable] = {}
                for name, make in arrays.EXACT_MOMENTS.items():
                    checked = report.attempt(
                        f"moments by {name} of {kind}",
                        lambda n=name, k=kind, z=nulls: arrays.check_moments(n, "float64", z, k) or True,
                    )
                    if checked:
                        timed[name] = make(array)
                if len(timed) < len(arrays.EXACT_MOMENTS):
                    continue
                rounds, verdict = arrays.EXACT_ROUNDS, ""
                each = {name: GIGA * arrays.seconds(update, rows, rounds) / rows for name, update in timed.items()}
                if rows == arrays.MEMORY_VALUES and not nulls:
                    what = f"exact moments of {kind} from memory, ns a value"
                    verdict = report.verdict(what, each[EXACT], EXACT_NS) + " ns"
                table.add_row(
                    kind,
                    f"{rows:,}",
                    f"{nulls:.0%}",
                    *(f"{each[name]:.2f}" for name in (EXACT, OURS, "numpy_sum")),
                    f"{arrays.ratio(timed[EXACT], timed[OURS], rows, rounds):.1f}",
                    verdict,
                )
    report.console.print(table)


def sketches(report: Report) -> None:
    """Quantile sketches of lognormal values: cost, error and size; and the merging of many."""
    columns = ("", "values", "ns a value", "ours / this", "rank error %", "stated %", "bytes", "target")
    title = "Quantile sketches, lognormal values: processor time, and the error that 99 % of 999 ranks keep to"
    table = report.table(title, *columns)
    checked = []
    for name in report.names(sketch_peers.SKETCHES):
        if report.attempt(f"sketch {name}", lambda n=name: sketch_peers.check_sketch(n) or True):
            checked.append(name)
    for rows, repeats in ((report.rows // 10, 1), (report.rows, 1), (report.rows, 10)):
        names, rounds = checked, report.rounds
        if repeats > 1:
            names = [name for name in checked if name == OURS or name in sketch_peers.COMPARED]
            rounds = min(rounds, LONG_ROUNDS)
        targets = rows == report.rows
        stream = sketch_peers.Stream(rows, repeats)
        taken = report.attempt("sketches", sketch_peers.alternate, names, stream, rounds) or {}
        errors = {name: sketch_peers.observed_error(runs) for name, runs in taken.items()}
        for name, runs in taken.items():
            each = GIGA * min(run.seconds for run in runs) / stream.rows
            stated = max(run.stated for run in runs)
            cells, verdicts = ["", f"{100 * errors[name]:.3f}"], []
            if OURS in taken and name != OURS:
                share = median(
                    mine.seconds / other.seconds for mine, other in zip(taken[OURS], runs, strict=True)
                )
                cells[0] = f"{share:.3f}"
                if targets and name in SKETCH_TARGETS:
                    what = f"sketch of {stream.rows:,}: ours / {name}"
                    verdicts.append(report.verdict(what, share, SKETCH_TARGETS[name]))
                if name == sketch_peers.EQUAL:
                    k = sketch_peers.equal_k(sketch_peers.EQUAL_K, errors[name], errors[OURS])
                    verdicts.append(f"same error: k = {k}")
            elif name == OURS and targets:
                what = f"sketch of {stream.rows:,}"
                verdicts.append(report.verdict(f"{what}, ns a value", each, SKETCH_NS[repeats]) + " ns")
                for label, error in (("rank error", errors[name]), ("stated", stated)):
                    verdicts.append(label + " " + report.verdict(f"{what}, {label}", 100 * error, SKETCH_ERROR))
            size = "" if runs[-1].size is None else f"{runs[-1].size:,}"
            cells += ["" if runs[-1].size is None else f"{100 * stated:.3f}", size]
            table.add_row(name, f"{stream.rows:,}", f"{each:.2f}", *cells, "\n".join(verdicts))
    report.console.print(table)
    _merges(report)


def _merges(report: Report) -> None:
    count = max(100, report.rows // 1000)
    columns = ("", "states", "seconds", "us a state", "ours / this", "rank error %", "target")
    table = report.table(f"Merging states of {sketch_peers.STATE_VALUES:,} values each", *columns)
    made = {
        name: report.attempt(f"states of {name}", sketch_peers.states, name, count)
        for name in report.names(sketch_peers.MERGES)
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name, states in made.items() if states}
    for number in range(report.rounds):
        for name in list(runs) if number % 2 == 0 else list(reversed(runs)):
            run = report.attempt(f"merging {name}", sketch_peers.merge_seconds, name, *made[name])
            if run is None:
                del runs[name]
            else:
                runs[name].append(run)
    for name, found in runs.items():
        seconds, share = min(taken for taken, _ in found), ""
        if OURS in runs and name != OURS:
            share = f"{median(mine[0] / other[0] for mine, other in zip(runs[OURS], found, strict=True)):.2f}"
        limit = MERGE_SECONDS if name.startswith(OURS) and count == MERGE_STATES else None
        verdict = report.verdict(f"merging by {name}", seconds, limit) + (" s" if limit else "")
        error = 100 * max(error for _, error in found)
        each = f"{1e6 * seconds / count:.1f}"
        table.add_row(name, f"{count:,}", f"{seconds:.3f}", each, share, f"{error:.3f}", verdict)
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
