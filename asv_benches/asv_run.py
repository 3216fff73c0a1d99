"""What ``quick.py`` and ``compare.py`` share: calling asv from this folder, without questions asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent


def environment(**extra: str) -> dict[str, str]:
    """The environment for asv; variables that are already set win over `extra`.

    asv drops PYTHONPATH unless ASV_PYTHONPATH says the same, and it runs in other folders than the caller.
    """
    found = {**extra, **os.environ}
    if found.get("PYTHONPATH"):
        paths = os.pathsep.join(os.path.abspath(entry) for entry in found["PYTHONPATH"].split(os.pathsep))
        found["PYTHONPATH"] = found["ASV_PYTHONPATH"] = paths
    return found


def introduce_machine() -> None:
    """Let asv describe this machine if it has not yet: it would ask at the first run."""
    if not Path("~/.asv-machine.json").expanduser().exists():
        subprocess.run([sys.executable, "-m", "asv", "machine", "--yes"], cwd=HERE, check=True)


def lines(arguments: list[str], env: dict[str, str], status: list[int]) -> Iterator[str]:
    """Run asv, yield its output as it comes, and append its exit status to `status`."""
    command = [sys.executable, "-m", "asv", *arguments]
    with subprocess.Popen(
        command, cwd=HERE, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        yield from process.stdout
    status.append(process.returncode)
