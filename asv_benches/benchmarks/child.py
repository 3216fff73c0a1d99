"""Do one job once and print what it took: ``python -m benchmarks.child JOB IMPLEMENTATION SOURCE [TARGET]``.

The last line of standard output is ``{"wall": seconds, "cpu": seconds, "answer": what the job returned}``;
imports are in neither time. A process of its own for each run, so that no implementation inherits another's
memory, threads or warm caches.
"""

import importlib
import json
import sys
import time

from .peers import JOBS


def main(job: str, name: str, *paths: str) -> None:
    implementation = JOBS[job][name]
    for module in implementation.modules:
        importlib.import_module(module)
    cpu, wall = time.process_time(), time.perf_counter()
    answer = implementation.function(*paths)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "answer": answer}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
