"""Say what became slower between two commits: ``python asv_benches/compare.py BASE [HEAD]``.

Both are built from the repository's history by ``asv continuous``, so uncommitted changes are not measured.
Only our own implementations run, at both commits, on ``STREAMNORM_BENCH_ROWS`` rows.

Exit status: 0 nothing became worse, 1 something did, 2 a benchmark failed at one of the commits (the table
then has the others).
"""

from __future__ import annotations

import argparse
import sys

import asv_run

# Parameters start with the implementation. Bandwidths are left out: asv takes whatever grows for worse.
OURS = r"^(?!.*gb_per_s).*\('streamnorm"
FACTOR = 1.1
FAILED = 2


def asv(arguments: list[str]) -> int:
    status: list[int] = []
    for line in asv_run.lines(arguments, asv_run.environment(), status):
        print(line, end="", flush=True)
    return status[0]


def main() -> int:
    parser = argparse.ArgumentParser(description="What became slower, or larger, since BASE?")
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("head", nargs="?", default="HEAD")
    parser.add_argument("--bench", action="append", help="regular expression of names; may be repeated")
    parser.add_argument(
        "--factor", type=float, default=FACTOR, help="smallest change that counts (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="run each once")
    arguments = parser.parse_args()

    asv_run.introduce_machine()
    factor = ["--factor", str(arguments.factor)]
    command = ["continuous", "--show-stderr", *factor, arguments.base, arguments.head]
    for pattern in arguments.bench or [OURS]:
        command += ["--bench", pattern]
    if arguments.quick:
        command.append("--quick")
    status = asv(command)
    if status == FAILED:  # asv then stops before its table
        asv(["compare", "--split", *factor, arguments.base, arguments.head])
        print(f"A benchmark failed at {arguments.base} or {arguments.head}; the table has the others.")
    return status


if __name__ == "__main__":
    sys.exit(main())
