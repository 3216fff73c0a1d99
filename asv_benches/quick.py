"""Run every benchmark once, on small data, in the current environment; fail if one fails.

``python asv_benches/quick.py [REGEX ...]`` exits with 0 when all of them gave a result, with 1 when one
failed or was skipped, or none was found. Nothing is stored: the numbers mean nothing at this size.
"""

# Design: asv exits with 2 when a benchmark raises, but with 0 when `setup` raises NotImplementedError, which
# it takes for a skip, and when a result is NaN. No benchmark here is meant to do either, so both count as
# failures. Processes are forked from one that has imported NumPy and pyarrow, which halves the time; the
# suite's default, a fresh interpreter each, is for measurements.

from __future__ import annotations

import sys

import asv_run
from benchmarks import model_peers, norm_peers, training_peers

QUICK_ROWS = "200000"
SKIPPED = "asv: skipped"
NO_RESULT = "n/a"


def main(patterns: list[str]) -> int:
    asv_run.introduce_machine()
    env = asv_run.environment(STREAMNORM_BENCH_ROWS=QUICK_ROWS)
    command = ["run", "--python=same", "--quick", "--show-stderr", "--launch-method=forkserver"]
    for pattern in patterns:
        command += ["--bench", pattern]
    for name, module in norm_peers.missing().items():
        print(f"Left out: norm layers by {name}, since {module} is not installed.", flush=True)
    for name, module in training_peers.missing().items():
        print(f"Left out: training by {name}, since {module} is not installed.", flush=True)
    for name, module in model_peers.missing().items():
        print(f"Left out: models by {name}, since {module} is not installed.", flush=True)
    status: list[int] = []
    empty = False
    for line in asv_run.lines(command, env, status):
        print(line, end="", flush=True)
        # A pattern leaves out some parameters, which asv shows in the same way as those without a result.
        empty = empty or SKIPPED in line or (NO_RESULT in line and not patterns)
    if empty:
        print(f"A benchmark was skipped or gave no result; see {NO_RESULT!r} above.")
    elif status[0]:
        print("A benchmark failed, or none was found; see above.")
    return 1 if empty or status[0] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
