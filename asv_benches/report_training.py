"""The sections of the report on training, beside PyTorch and scikit-learn where they are installed, and on imports."""

from __future__ import annotations

from statistics import mean, stdev

from benchmarks import imports as import_times
from benchmarks import measure, training_files, training_peers, turns
from benchmarks.training_peers import DATASETS, LARGE, REGRESSORS, SEEDS, SMALL, STEPPERS, Network, Problem
from reporting import OURS, Report

# How many times as fast as they one step is, at least, with one thread.
SPEED_TARGETS = {(SMALL, "torch"): 8.0, (SMALL, "sklearn"): 5.0, (LARGE, "torch"): 1.2}
ROWS_TARGET = 0.85  # rows a second from a file over those from memory, at least
ERROR_TARGET = 1.0  # our error over theirs, at most
ERROR_PEERS = ("torch", "sklearn")
PEAK_TARGETS = {"streamnorm": 256, "streamnorm_64MB": 64}  # beyond the imports
IMPORT_TARGET = 60.0  # milliseconds
TITLES = {
    "streamnorm_default": "streamnorm, threads=None",
    "streamnorm_layer": 'streamnorm, norm="layer"',
    "torch": "torch, fused Adam",
    "torch_unfused": "torch, Adam",
    "torch_cosine": "torch, our learning rates",
    "sklearn_target": "sklearn, target scaled",
}
STEP_TITLES = TITLES | {"sklearn": "sklearn, no batch norm"}
ERROR_TITLES = TITLES | {"torch": "torch"}


def training(report: Report) -> None:
    """Time of a step, rows a second from Parquet, error on data, and peak memory."""
    for name, module in training_peers.missing().items():
        report.console.print(f"training by {name} is left out: {module} is not installed")
    for network, threads in ((SMALL, 1), (LARGE, 1), (LARGE, 2)):
        _steps(report, network, threads)
    if not report.peers_only:
        _files(report)
        _peaks(report)
    _errors(report)


def _steps(report: Report, network: Network, threads: int) -> None:
    calls, problem = {}, Problem(network)
    names = report.names(training_peers.available(STEPPERS))
    for name in names:
        if name == "streamnorm_default" and threads != 1:
            continue  # which is shown once
        what = f"{network.label} by {name}"
        if report.attempt(what, lambda name=name: training_peers.check(name, network, threads) or True):
            calls[name] = STEPPERS[name].epoch(problem, threads)
    watched = report.attempt(network.label, turns.watched, calls, threads)
    if watched is None:
        return
    taken, disturbed = watched
    title = f"Training step, {network.label}, {threads} thread{'s' * (threads > 1)}"
    table = report.table(title, "", "us a step", "this / ours", "target")
    for name, times in taken.items():
        cells = ["", ""]
        if OURS in taken and not name.startswith(OURS):
            speed = turns.ratio(times, taken[OURS])
            what = f"{network.label}: steps as fast as those of {name} ({speed:.2f})"
            limit = SPEED_TARGETS.get((network, name)) if threads == 1 else None
            cells = [f"{speed:.2f}", report.verdict(what, speed, limit, least=True)]
        table.add_row(STEP_TITLES.get(name, name), f"{1e6 * min(times) / network.steps:.1f}", *cells)
    report.console.print(table)
    if disturbed:
        report.console.print("Other processes took part of the cores meanwhile: with several threads, read with care.")


def _rows(report: Report) -> int:
    """Of the file to train on: training takes far longer than statistics."""
    return report.rows // 10


def _files(report: Report) -> None:
    rows = _rows(report)
    title = f"Training on {rows:,} rows of 10 columns, {training_files.EPOCHS} epochs: Mrows/s"
    table = report.table(title, "", "threads", "whole fit", "of memory", "an epoch", "of memory", "target")
    for threads in (1, None):
        feeds = list(training_files.FEEDS)
        taken = report.attempt(f"training on files, threads={threads}", training_files.alternate, feeds, threads, rows)
        for feed, runs in (taken or {}).items():
            cells, verdicts = [], []
            for what, passes in training_files.kinds():
                cells.append(f"{passes * rows / training_files.best(runs, what) / 1e6:.2f}")
                share = training_files.share(runs, taken["memory"], what)
                cells.append("" if feed == "memory" else f"{share:.0%}")
                if feed != "memory":
                    name = f"rows a second of training by {feed} over those from memory, {what}, threads={threads}"
                    verdicts.append(
                        f"{what} {report.verdict(f'{name} ({share:.2f})', share, ROWS_TARGET, least=True)}"
                    )
            table.add_row(feed, "default" if threads is None else str(threads), *cells, "\n".join(verdicts))
    report.console.print(table)


def _peaks(report: Report) -> None:
    source = training_files.source(_rows(report))
    title = f"Peak memory of training on a file of {_rows(report):,} rows, MB"
    table = report.table(title, "", "peak", "beyond imports", "target")
    floor = report.attempt("imports", measure.run, "train", "imports", source)
    for name, limit in PEAK_TARGETS.items():
        if not report.attempt(f"training by {name}", lambda name=name: measure.check("train", name) or True):
            continue
        run = report.attempt(f"training by {name}", measure.run, "train", name, source)
        if run is not None and floor is not None:
            more = run.peak_mb - floor.peak_mb
            verdict = report.verdict(f"peak of training by {name} beyond the imports", more, limit)
            table.add_row(name, f"{run.peak_mb:.0f}", f"{more:.0f}", verdict)
    report.console.print(table)


def _errors(report: Report) -> None:
    epochs, batch, rate = training_peers.settings()
    title = (
        f"Error of predictions (RMSE), mean of {len(SEEDS)} seeds; {epochs} epochs, "
        f"batches of {batch}; learning\nrates fall from {rate:g} in ours and in torch with ours, "
        f"and are {training_peers.RATE:g} in the others"
    )
    table = report.table(title, "", "data", "RMSE", "standard error", "ours / this", "target")
    names = report.names(training_peers.available(REGRESSORS))
    for label, dataset in DATASETS.items():
        found = {
            name: report.attempt(
                f"error of {name} on {label}",
                lambda name=name, dataset=dataset: [training_peers.rmse(name, dataset, seed) for seed in SEEDS],
            )
            for name in names
        }
        for name, errors in found.items():
            if errors is None:
                continue
            cells = ["", ""]
            if found.get(OURS) and name != OURS:
                ratio = mean(found[OURS]) / mean(errors)
                limit = ERROR_TARGET if name in ERROR_PEERS else None
                cells = [f"{ratio:.2f}", report.verdict(f"error on {label}: ours / {name} ({ratio:.2f})", ratio, limit)]
            spread = stdev(errors) / len(errors) ** 0.5 if len(errors) > 1 else float("nan")
            table.add_row(ERROR_TITLES.get(name, name), label, f"{mean(errors):.3f}", f"{spread:.3f}", *cells)
    report.console.print(table)


def imports(report: Report) -> None:
    """Time that importing the package takes beyond NumPy and pyarrow."""
    table = report.table("Import beyond NumPy and pyarrow", "", "ms", "target")
    for module in import_times.MODULES:
        taken = report.attempt(f"import {module}", import_times.milliseconds, module)
        if taken is not None:
            limit = IMPORT_TARGET if module == OURS else None
            table.add_row(module, f"{taken:.0f}", report.verdict(f"import {module}, ms", taken, limit))
    report.console.print(table)
