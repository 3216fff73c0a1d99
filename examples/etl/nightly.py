"""A nightly fit that reads new files only: ``python nightly.py 'lake/*.parquet' stats.json``.

The state knows which files it has counted, by path, size and footer. So a night in which nothing came changes nothing,
a night that was missed is made up for, and a file that is there twice is an error and not counted twice. The state is
written beside the old one and put in its place: a crash before that leaves the state of last night, with which the next
run does the same work again, and a crash after it has lost nothing.
"""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path
from typing import Any

import streamnorm as sn


def nightly(lake: str, state: str, method: str = "standard", memory: str = "128MB") -> dict[str, int | str]:
    """Bring the state up to the files that are there; says how many rows it has seen, before and now."""
    if not glob.glob(lake):
        return {"before": 0, "now": 0, "digest": ""}
    known = sn.load(state) if Path(state).exists() else None
    new: dict[str, Any] = {"method": method} if known is None else {"update": known}
    scaler = sn.fit(lake, memory=memory, **new)
    if known is None or scaler.digest() != known.digest():
        scaler.save(state)  # whole or not at all
    before = 0 if known is None else rows_seen(known)
    return {"before": before, "now": rows_seen(scaler), "digest": scaler.digest()}


def rows_seen(scaler: sn.StandardScaler) -> int:
    """The rows that a state has counted, those with nulls too."""
    return max(column.count + column.null_count + column.nan_count for column in scaler.summary_.values())


if __name__ == "__main__":
    done = nightly(*sys.argv[1:])
    print(f"{os.path.basename(sys.argv[2])}: {done['now'] - done['before']:,} new rows, {done['now']:,} in all")
