"""Fit and write normalized Parquet: the standard file by every implementation, the others by ours."""

import os

from . import data, measure
from .peers import JOBS


class _Written:
    number = 1
    repeat = (2, 5, 60.0)
    rounds = 1
    warmup_time = 0.0
    timeout = 3600

    def fresh_target(self):
        """A path without a file, so that nobody is timed while replacing one."""
        if hasattr(self, "scratch"):
            self.scratch.__exit__(None, None, None)
        self.scratch = measure.scratch()
        self.target = self.scratch.__enter__()

    def teardown(self, *params):
        if hasattr(self, "scratch"):
            self.scratch.__exit__(None, None, None)
            del self.scratch


class Copy(_Written):
    """Reading and writing unchanged, dictionary off."""

    def setup(self):
        measure.check("copy", "copy_unchanged")
        self.source = data.path("standard")
        self.fresh_target()

    def time_copy_unchanged(self):
        JOBS["copy"]["copy_unchanged"].function(self.source, self.target)


class Normalize(_Written):
    """z-scores of eight columns, snappy."""

    params = (list(JOBS["normalize"]), [data.ROWS])
    param_names = ("impl", "rows")

    def setup(self, impl, rows):
        measure.check("normalize", impl)
        self.source = data.path("standard", rows)
        self.fresh_target()

    def time_normalize(self, impl, rows):
        JOBS["normalize"][impl].function(self.source, self.target)

    def track_output_bytes_per_row(self, impl, rows):
        JOBS["normalize"][impl].function(self.source, self.target)
        return os.path.getsize(self.target) / rows

    track_output_bytes_per_row.unit = "bytes"


class Files(_Written):
    """Our normalize on every shape of file."""

    params = (["streamnorm"], list(data.VARIANTS), [data.ROWS])
    param_names = ("impl", "file", "rows")

    def setup(self, impl, file, rows):
        measure.check("normalize", impl)
        self.source = data.path(file, rows)
        self.fresh_target()

    def time_normalize(self, impl, file, rows):
        JOBS["normalize"][impl].function(self.source, self.target)


class FilesTight(Files):
    """The same in half the memory."""

    params = (["streamnorm_128MB"], data.SMALL_PAGES, [data.ROWS])
