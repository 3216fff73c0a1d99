"""A task that a scheduler runs, and runs again: normalize one day's files, and say in a small dict what was done.

The function needs no scheduler. It can be run twice, or be killed and retried, and leaves the same bytes: outputs
appear whole or not at all, a day that is there already and was made from the same input with the same state is left
alone, and the same input makes the same output.

Airflow::

    from airflow.sdk import dag, task
    from task import normalize_day

    @dag(schedule="@daily")
    def trips():
        task(retries=3)(normalize_day)("raw/{{ ds }}", "clean/{{ ds }}", "stats.json")

Prefect::

    from prefect import flow, task
    from task import normalize_day

    @flow
    def trips(day: str):
        return task(retries=3)(normalize_day)(f"raw/{day}", f"clean/{day}", "stats.json")

What it returns is of JSON's types alone, as both want it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import streamnorm as sn


def normalize_day(raw: str, clean: str, state: str, memory: str = "128MB") -> dict[str, Any]:
    """Normalize the Parquet files of the folder `raw` into the folder `clean`, by the state of an earlier fit.

    Parameters
    ----------
    raw : str
    clean : str
        It is made if it is not there.
    state : str
        File that ``sn.fit(...).save`` wrote. All days are to be normalized alike, so nothing is fitted here.
    memory : str

    Returns
    -------
    dict
        ``written`` and ``kept``: names of files; ``rows`` written; ``digest`` of the state.
    """
    scaler = sn.load(state)
    target = Path(clean)
    target.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = {"written": [], "kept": [], "rows": 0, "digest": scaler.digest()}
    for file in sorted(Path(raw).glob("*.parquet")):
        out, receipt = target / file.name, target / f".{file.name}.made-from.json"
        made_from = {"input": content(file), "state": scaler.digest()}
        if out.exists() and receipt.exists() and json.loads(receipt.read_text()) == made_from:
            done["kept"].append(file.name)
            continue
        receipt.unlink(missing_ok=True)  # first, so that a receipt never speaks of an output that it was not made for
        done["rows"] += sn.transform(str(file), str(out), scaler, overwrite=True, memory=memory)
        written = receipt.with_suffix(".tmp")
        written.write_text(json.dumps(made_from))
        os.replace(written, receipt)
        done["written"].append(file.name)
    return done


def content(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


if __name__ == "__main__":
    print(json.dumps(normalize_day(*sys.argv[1:])))
