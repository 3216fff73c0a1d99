"""The section of the report on norm layers: time beside PyTorch's, share of a copy's bandwidth, error.

PyTorch is compared with where it is installed, in the build that its user has chosen: no extra of ours brings it.
"""

from __future__ import annotations

import os
import time
from statistics import geometric_mean
from typing import NamedTuple

from benchmarks import norm_peers, turns
from benchmarks.norm_peers import CELLS, DTYPES, GRID, MEMORY, THREADS, TOLERANCE, Answer, Cell, Problem
from reporting import GIGA, OURS, Report
from rich.markup import escape

BUFFERS, PEER, NUMPY = "streamnorm_out", "torch", "NumPy"
TITLES = {"forward": "forward", "both": "forward and backward", "backward": "backward alone"}
COMPARED = ("forward", "both")
# How many times as fast as PyTorch at least: the geometric mean over the cells, each of them, the smallest of them.
MEAN_TARGET, CELL_TARGET, SMALL_TARGET = 2.0, 1.0, 5.0
TARGETED = (OURS, BUFFERS)
BANDWIDTHS = (OURS, BUFFERS, PEER)
DISTURBED = "[bold red]disturbed[/]"  # in place of a verdict
EXTRA = ("rms",)  # shown, and in no target
SHARE_TARGETS = {"forward": 0.7, "backward": 0.6}  # of a copy's bandwidth from memory, at least
OFFSETS = (0.0, 100.0)
ERROR_NAMES = ("y", "dx", "dweight", "dbias")


class Place(NamedTuple):
    """Where in the grid: a cell, a type and how many threads."""

    cell: Cell
    dtype: str
    threads: int

    def __str__(self) -> str:
        return f"{self.cell.label}, {self.dtype}, {_threads(self.threads)}"


class Times(dict[tuple[str, str], list[float]]):
    """Seconds per call in each round, by direction and implementation; ratios of disturbed ones are not shown."""

    disturbed = False


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def _spaced(name: str) -> str:
    """A name that a narrow column can break."""
    return name.replace("_", " ")


def norms(report: Report) -> None:
    """Batch, layer, instance, group and RMS norm: the grid, what comes from memory, and the errors."""
    for name, module in norm_peers.missing().items():
        report.console.print(f"norm layers by {name} are left out: {module} is not installed")
    names = report.names(norm_peers.available())
    start, elsewhere = time.perf_counter(), turns.busy_elsewhere()
    copies = {threads: turns.alternate({"copy": turns.copy(threads)})["copy"] for threads in THREADS}
    pace = {threads: 2 * turns.COPY_BYTES / min(taken) / GIGA for threads, taken in copies.items()}
    found = _measure_grid(report, names)
    for direction in COMPARED:
        for dtype in DTYPES:
            for threads in THREADS:
                _time_table(report, names, found, direction, dtype, threads)
    _bandwidths(report, names, found, pace)
    _summary(report, names, found)
    if not report.peers_only:
        _from_memory(report)
        _errors(report, names)
    if elsewhere is not None:
        cores = (turns.busy_elsewhere() - elsewhere) / (time.perf_counter() - start)
        verdict = report.verdict(f"a quiet machine: others took {cores:.2f} cores", cores, turns.QUIET_CORES)
        report.console.print(f"Other processes took {cores:.2f} of {os.cpu_count()} cores meanwhile: {verdict}")


def _checked(report: Report, names: list[str], problem: Problem, threads: int) -> dict[str, norm_peers.Calls]:
    """The calls of those whose answer is right."""
    calls = {}
    for name in names:
        what = f"{problem.cell.label}, {problem.dtype}, by {name}"
        if report.attempt(what, lambda n=name: norm_peers.check(n, problem, threads) or True):
            calls[name] = norm_peers.IMPLEMENTATIONS[name](problem, threads)
    return calls


def _measure_grid(report: Report, names: list[str]) -> dict[Place, Times]:
    found: dict[Place, Times] = {}
    for cell in GRID:
        for dtype in DTYPES:
            problem = Problem(cell, dtype)
            for threads in THREADS:
                calls = _checked(report, names, problem, threads)
                timed = {
                    (direction, name): made.directions()[direction]
                    for direction in TITLES
                    for name, made in calls.items()
                    if direction in made.directions()
                }
                taken = report.attempt(cell.label, turns.watched, timed, threads)
                if taken:
                    times = found[Place(cell, dtype, threads)] = Times(taken[0])
                    times.disturbed = taken[1]
    return found


def _speed_up(times: Times, direction: str, name: str) -> float | None:
    """How many times as fast as PyTorch; None where there is nothing to compare, or it was disturbed."""
    if times.disturbed:
        return None
    mine, other = times.get((direction, name)), times.get((direction, PEER))
    return turns.ratio(other, mine) if mine and other and name != PEER else None


def _speed(times: Times, place: Place, direction: str, name: str) -> float | None:
    """GB/s of what has to be moved; None where nothing was timed."""
    taken = times.get((direction, name))
    return norm_peers.moved(place.cell, place.dtype, direction) / min(taken) / GIGA if taken else None


def _time_table(
    report: Report, names: list[str], found: dict[Place, Times], direction: str, dtype: str, threads: int
) -> None:
    compared, columns = PEER in names, [""]
    for name in names:
        columns += [f"{_spaced(name)} us", f"x {PEER}"] if compared and name != PEER else [f"{_spaced(name)} us"]
    title = f"Norm layers, {TITLES[direction]}, {dtype}, {_threads(threads)}: us a call"
    table = report.table(f"{title}, times as fast as {PEER}" if compared else title, *columns, "target")
    table.columns[0].no_wrap = True
    for place, times in found.items():
        if (place.dtype, place.threads) != (dtype, threads):
            continue
        cells, slowest = [], []
        for name in names:
            taken, share = times.get((direction, name)), _speed_up(times, direction, name)
            cells.append(f"{1e6 * min(taken):.1f}" if taken else "failed")
            if compared and name != PEER:
                cells.append("" if share is None else f"{share:.2f}")
            if share is not None and name in TARGETED and place.cell.op not in EXTRA:
                slowest.append((share, name))
        verdict = ""
        if times.disturbed and compared:
            report.missed.append(f"{place}: disturbed by other processes, nothing to compare")
            verdict = DISTURBED
        elif slowest:
            share, name = min(slowest)
            limit = SMALL_TARGET if place.cell.shape == norm_peers.SMALL else CELL_TARGET
            what = f"{place}, {TITLES[direction]}: {name}, times as fast as {PEER} ({share:.2f})"
            verdict = report.verdict(what, share, limit, least=True)
        table.add_row(place.cell.label, *cells, verdict)
    report.console.print(table)


def _bandwidths(
    report: Report, names: list[str], found: dict[Place, Times], pace: dict[int, float]
) -> None:
    speeds = ", ".join(f"{speed:.1f} GB/s with {_threads(threads)}" for threads, speed in pace.items())
    shown = {
        direction: [
            name for name in names if name in BANDWIDTHS and any((direction, name) in times for times in found.values())
        ]
        for direction in ("forward", "backward")
    }
    short = {"forward": "f", "backward": "b"}
    columns = [f"{short[direction]} {_spaced(name)}" for direction, those in shown.items() for name in those]
    title = (
        f"Norm layers, GB/s and share of a copy, forward (f) and backward alone (b); copy: {speeds}.\n"
        f"An array counts once for each pass that cannot be avoided; * more than {norm_peers.CACHE_BYTES / 1e6:.0f} MB"
    )
    table = report.table(title, "", "type", "threads", "reads", *columns)
    table.columns[0].no_wrap = True
    for place, times in found.items():
        cells = []
        for direction, those in shown.items():
            star = "*" if norm_peers.from_memory(place.cell, place.dtype, direction) else ""
            for name in those:
                speed = _speed(times, place, direction, name)
                cells.append(f"{speed:.1f} {speed / pace[place.threads]:.0%}{star}" if speed else "")
        passes = str(norm_peers.reads(place.cell, place.dtype))
        table.add_row(place.cell.label, place.dtype, str(place.threads), passes, *cells)
    report.console.print(table)


def _summary(report: Report, names: list[str], found: dict[Place, Times]) -> None:
    """Means, extremes and where PyTorch is faster, if it is there to compare with."""
    columns = ("", "", "mean", "smallest", "smallest at 32x64", "slower cells", "target")
    title = f"Norm layers, times as fast as {PEER}: geometric mean without {', '.join(EXTRA)}"
    table, slower = report.table(title, *columns), []
    for name in names:
        for direction in COMPARED:
            every = {place: _speed_up(times, direction, name) for place, times in found.items()}
            slow = [(place, share) for place, share in every.items() if share is not None and share < 1]
            slower += [f"{place}, {TITLES[direction]}: {name} {share:.2f}" for place, share in slow]
            ratios = {
                place: share
                for place, share in every.items()
                if share is not None and place.cell.op not in EXTRA
            }
            if not ratios:
                continue
            small = [share for place, share in ratios.items() if place.cell.shape == norm_peers.SMALL]
            mean, verdicts = geometric_mean(ratios.values()), []
            lost = sum(times.disturbed for times in found.values())
            if lost:
                verdicts.append(f"{lost} of {len(found)} {DISTURBED}")
            elif name in TARGETED:
                what = f"{name}, {TITLES[direction]}, times as fast as {PEER}"
                for measure, value, limit in (
                    ("mean", mean, MEAN_TARGET),
                    ("smallest", min(ratios.values()), CELL_TARGET),
                    ("smallest at 32x64", min(small), SMALL_TARGET),
                ):
                    verdicts.append(f"{measure} " + report.verdict(f"{what}, {measure}", value, limit, least=True))
            table.add_row(
                name,
                TITLES[direction],
                f"{mean:.2f}",
                f"{min(ratios.values()):.2f}",
                f"{min(small):.2f}" if small else "",
                str(len(slow)),
                "\n".join(verdicts),
            )
    if table.row_count:
        report.console.print(table)
    if slower:
        report.console.print(f"Slower than {PEER}:", *(f"  {line}" for line in slower), sep="\n", markup=False)


def _from_memory(report: Report) -> None:
    """Arrays of which every value comes from memory, into given buffers, in turns with a copy."""
    columns = ("", "threads", "", "ms", "GB/s", "copy GB/s", "share", "target")
    table = report.table("Norm layers from memory, float32, into given buffers", *columns)
    for cell in MEMORY:
        problem = Problem(cell, "float32")
        for threads in THREADS:
            calls = _checked(report, [BUFFERS], problem, threads).get(BUFFERS)
            if calls is None:
                continue
            copy = turns.copy(threads)
            for direction, limit in SHARE_TARGETS.items():
                timed = {BUFFERS: calls.directions()[direction], "copy": copy}
                watched = report.attempt(cell.label, turns.watched, timed, threads)
                if watched is None:
                    continue
                taken, disturbed = watched
                moved, copied = norm_peers.moved(cell, "float32", direction), 2 * turns.COPY_BYTES
                share = turns.ratio(taken["copy"], taken[BUFFERS]) * moved / copied
                if disturbed:
                    report.missed.append(f"{cell.label} from memory, {_threads(threads)}: disturbed by other processes")
                best, best_copy = min(taken[BUFFERS]), min(taken["copy"])
                what = f"{cell.label} from memory, {direction}, {_threads(threads)}: share of a copy ({share:.2f})"
                table.add_row(
                    cell.label,
                    str(threads),
                    direction,
                    f"{1e3 * best:.1f}",
                    f"{moved / best / GIGA:.1f}",
                    f"{copied / best_copy / GIGA:.1f}",
                    f"{share:.0%}",
                    DISTURBED if disturbed else report.verdict(what, share, limit, least=True),
                )
    report.console.print(table)


def _errors(report: Report, names: list[str]) -> None:
    """The worst over the shapes of an operation, against float64 from the same values.

    That of PyTorch, where it is there, and NumPy's by the textbook's formulas with a mean that is corrected for its
    rounding, which tells whose an error is.
    """
    references = [PEER, NUMPY] if PEER in names else [NUMPY]
    title = "Norm layers, max|a - b| / max|b| against float64 from the same values, the worst over the shapes"
    columns = ("", "type", "offset", "by", "against", *ERROR_NAMES, "target")
    table = report.table(title, *columns)
    shown = [name for name in names if name != BUFFERS]  # the same kernels
    for op in dict.fromkeys(cell.op for cell in GRID):
        for dtype in DTYPES:
            for offset in OFFSETS:
                worst = {(name, against): {} for against in references for name in shown}
                for cell in (cell for cell in CELLS.values() if cell.op == op and cell in GRID):
                    problem = Problem(cell, dtype, offset)
                    answers = {
                        name: report.attempt(f"error of {cell.label} by {name}", norm_peers.answer, name, problem)
                        for name in shown
                    }
                    for against in references:
                        true = _reference(problem, against)
                        for name, answer in answers.items():
                            seen = worst[name, against]
                            for part, error in (norm_peers.errors(answer, true) if answer else {}).items():
                                seen[part] = max(seen.get(part, 0.0), error)
                for (name, against), seen in worst.items():
                    largest = max((seen[part] for part in ERROR_NAMES if part in seen), default=None)
                    verdict = ""
                    if name == OURS and largest is not None:
                        what = f"error of {op} norm, {dtype}, offset {offset:g}, against {against} ({largest:.1e})"
                        verdict = report.verdict(what, largest, TOLERANCE[dtype])
                    cells = [f"{seen[part]:.1e}" if part in seen else "" for part in ERROR_NAMES]
                    table.add_row(op, dtype, f"{offset:g}", escape(name), against, *cells, verdict)
    report.console.print(table)


def _reference(problem: Problem, against: str) -> Answer:
    return norm_peers.answer(PEER, problem.as_float64()) if against == PEER else problem.truth
