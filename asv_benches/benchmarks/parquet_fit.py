"""Fit from Parquet: one pass over the standard file by every implementation, over the other files by ours."""

from . import data, measure
from .peers import JOBS


class _Timed:
    number = 1
    repeat = (2, 5, 60.0)
    rounds = 1
    warmup_time = 0.0
    timeout = 3600


class Scan(_Timed):
    """Reading alone, the floor of every fit."""

    def setup(self):
        measure.check("scan", "bare_scan")
        self.source = data.path("standard")

    def time_bare_scan(self):
        JOBS["scan"]["bare_scan"].function(self.source)


class Moments(_Timed):
    """Mean, standard deviation, min and max of eight columns."""

    params = (list(JOBS["fit_moments"]), [data.ROWS])
    param_names = ("impl", "rows")

    def setup(self, impl, rows):
        measure.check("fit_moments", impl)
        self.source = data.path("standard", rows)

    def time_fit(self, impl, rows):
        JOBS["fit_moments"][impl].function(self.source)


class Quantiles(_Timed):
    """Three quantiles of eight columns, approximate or exact."""

    params = (list(JOBS["fit_quantiles"]), [data.ROWS])
    param_names = ("impl", "rows")

    def setup(self, impl, rows):
        measure.check("fit_quantiles", impl)
        self.source = data.path("standard", rows)

    def time_fit(self, impl, rows):
        JOBS["fit_quantiles"][impl].function(self.source)


class FitFooter(_Timed):
    """Minimum and maximum of eight columns in a thousand row groups, whose footer tells them."""

    params = (list(JOBS["fit_extrema"]), ["thousand_row_groups"], [data.ROWS])
    param_names = ("impl", "file", "rows")

    def setup(self, impl, file, rows):
        measure.check("fit_extrema", impl)
        self.source = data.path(file, rows)

    def time_fit(self, impl, file, rows):
        JOBS["fit_extrema"][impl].function(self.source)


class Files(_Timed):
    """Our fit of moments on every shape of file."""

    params = (["streamnorm"], list(data.VARIANTS), [data.ROWS])
    param_names = ("impl", "file", "rows")

    def setup(self, impl, file, rows):
        measure.check("fit_moments", impl)
        self.source = data.path(file, rows)

    def time_fit(self, impl, file, rows):
        JOBS["fit_moments"][impl].function(self.source)


class FilesTight(Files):
    """The same in half the memory."""

    params = (["streamnorm_128MB"], data.SMALL_PAGES, [data.ROWS])
