"""Run a command and print its peak memory: ``python -I -S launcher.py COMMAND...``.

The last line of standard output is ``{"cpu": seconds, "peak_mb": MB, "code": exit status}``.

A child's ``ru_maxrss`` starts at the peak of the process that it was forked from, even after ``exec``: the
child of a benchmark that holds 256 MB of arrays would seem to need them too. This file stands in between. It
imports next to nothing, and its ten megabytes are less than any Python program takes that it measures.
"""

import os
import sys


def run(command: list[str]) -> int:
    process = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    code = os.waitstatus_to_exitcode(status)
    # Linux counts kilobytes of 1,024 bytes, macOS bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu = usage.ru_utime + usage.ru_stime
    print(f'{{"cpu": {cpu}, "peak_mb": {peak / 1e6}, "code": {code}}}', flush=True)
    return 0 if code == 0 else 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
