"""Running the command line, in this process and in one of its own."""

import subprocess
import sys

import numpy as np
from click.testing import CliRunner

from streamnorm.cli import cli

SLOW_MACHINE = 60.0  # seconds after which a child is given up
IN_OUT = ("trips.parquet", "-o", "out.parquet")
FARES = np.array([2.0, 4.0, 9.0, 5.0])
TIPS = np.array([0.5, 0.0, 1.5, 1.0])


def run(*args, code=0):
    """Run in this process; the exit code must be `code`."""
    result = CliRunner().invoke(cli, list(map(str, args)))
    assert result.exit_code == code, (args, result.output, result.exception)
    return result


def fails(code, *args):
    """The one line on standard error of a run that fails."""
    result = run(*args, code=code)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    errors = [line for line in lines if line.startswith("streamnorm: ")]
    assert errors == lines[-1:], lines
    return errors[0].removeprefix("streamnorm: ")


def start(*args, **options):
    """A real process."""
    return subprocess.Popen(
        [sys.executable, "-m", "streamnorm", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def child(*args, **options):
    process = start(*args, **options)
    stdout, stderr = process.communicate(timeout=SLOW_MACHINE)
    return process.returncode, stdout, stderr
