"""Normalize a Parquet file, look at each column before and after, and undo it: ``make demo``.

All figures of the table are pyarrow's own, of the two files: nothing in it is streamnorm's word for it.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import streamnorm as sn

FLIGHTS = Path(__file__).parent / "data" / "flights.parquet"

HEADS = f"""\
{"":26} {"------- before -------":>25}   {"-------- after --------":>22}
{"column":<14} {"count":>6} {"nulls":>5} {"mean":>7} {"std":>6} {"min":>4} {"max":>5}  \
 {"mean":>5} {"std":>4} {"min":>5} {"max":>5}"""


def figures(column: pa.ChunkedArray) -> tuple[float, float, float, float]:
    """Mean, standard deviation, smallest and largest value."""
    low, high = pc.min_max(column).values()
    return pc.mean(column).as_py(), pc.stddev(column).as_py(), low.as_py(), high.as_py()


def line(name: str, before: pa.ChunkedArray, after: pa.ChunkedArray) -> str:
    mean, std, low, high = figures(before)
    # Adding 0.0 turns the -0.0 of a rounded tiny mean into 0.0.
    new_mean, new_std, new_low, new_high = (round(value, 2) + 0.0 for value in figures(after))
    return (
        f"{name:<14} {len(before) - before.null_count:>6} {before.null_count:>5} "
        f"{mean:>7.1f} {std:>6.1f} {low:>4} {high:>5} → "
        f"{new_mean:>5.2f} {new_std:>4.2f} {new_low:>5.2f} {new_high:>5.2f}"
    )


def largest_difference(a: pa.Table, b: pa.Table, names: list[str]) -> float:
    return max(pc.max(pc.abs(pc.subtract(a[name].cast("float64"), b[name]))).as_py() for name in names)


def main() -> None:
    warnings.simplefilter("ignore", sn.StreamnormWarning)  # of the constant year, which the table shows
    with tempfile.TemporaryDirectory() as folder:
        normalized, restored = Path(folder, "normalized.parquet"), Path(folder, "restored.parquet")
        start = time.perf_counter()
        scaler = sn.normalize(FLIGHTS, normalized, method="standard")
        seconds = time.perf_counter() - start
        sn.inverse(normalized, restored)
        before, after, undone = (pq.read_table(path) for path in (FLIGHTS, normalized, restored))

    names = [str(name) for name in scaler.feature_names_in_]
    print(f"{FLIGHTS.name}: {before.num_rows:,} departures from New York, normalized in {seconds:.2f} s.\n")
    print(HEADS)
    for name in names:
        print(line(name, before[name], after[name]))

    same = [name for name in before.column_names if name not in names and before[name].equals(after[name])]
    print(f"\nPassed through, value for value: {', '.join(same)}.")
    nulls = [sum(table[name].null_count for name in names) for table in (before, after)]
    print(f"Nulls: {nulls[0]:,} before, {nulls[1]:,} after.")
    print("A constant column (year) is centered and not scaled.")
    print(f"Undone by the state in the file's footer: off by at most {largest_difference(before, undone, names):.0e}.")
    print("\nThe same from the command line, with the virtual environment's bin/ in PATH:")
    print("  streamnorm normalize examples/data/flights.parquet -o normalized.parquet")
    print("  streamnorm inspect normalized.parquet")
    print("  streamnorm inverse normalized.parquet -o restored.parquet")


if __name__ == "__main__":
    main()
