"""Peak memory of a process that does one job, imports included, in MB of 10^6 bytes.

asv's ``peakmem_`` takes the peak of the benchmark's own process, which has made data and checked answers;
these run each implementation in a process of its own.
"""

from . import data, measure
from .peers import JOBS

PEERS = ["polars", "duckdb", "sklearn"]


class _Peak:
    timeout = 3600
    unit = "MB"

    def prepare(self, job, impl, file, rows):
        measure.check(job, impl)
        self.source = data.path(file, rows)

    def peak(self, job, impl):
        return measure.run(job, impl, self.source).peak_mb


class Fit(_Peak):
    """Moments of every shape of file by ours."""

    params = (["streamnorm"], list(data.VARIANTS), [data.ROWS])
    param_names = ("impl", "file", "rows")

    def setup(self, impl, file, rows):
        self.prepare("fit_moments", impl, file, rows)

    def track_peak_rss_fit(self, impl, file, rows):
        return self.peak("fit_moments", impl)


class FitTight(Fit):
    """The same in half the memory."""

    params = (["streamnorm_128MB"], data.SMALL_PAGES, [data.ROWS])


class FitExact(Fit):
    """The same with exact sums."""

    params = (["streamnorm_exact"], ["standard", "one_row_group", "wide"], [data.ROWS])


class FitQuantiles(_Peak):
    """Quantiles of the standard file by everyone."""

    params = (list(JOBS["fit_quantiles"]), ["standard"], [data.ROWS])
    param_names = ("impl", "file", "rows")

    def setup(self, impl, file, rows):
        self.prepare("fit_quantiles", impl, file, rows)

    def track_peak_rss_fit(self, impl, file, rows):
        return self.peak("fit_quantiles", impl)


class FitQuantilesExact(FitQuantiles):
    """Exact ones of the shapes of file that hold most at once."""

    params = (["streamnorm_exact"], ["one_row_group", "hundred_files", "wide"], [data.ROWS])


class Normalize(_Peak):
    """Normalize every shape of file by ours."""

    params = (["streamnorm"], list(data.VARIANTS), [data.ROWS])
    param_names = ("impl", "file", "rows")

    def setup(self, impl, file, rows):
        self.prepare("normalize", impl, file, rows)

    def track_peak_rss_normalize(self, impl, file, rows):
        return self.peak("normalize", impl)


class NormalizeTight(Normalize):
    """The same in half the memory."""

    params = (["streamnorm_128MB"], data.SMALL_PAGES, [data.ROWS])


class Peers(_Peak):
    """Fit and normalize by the peers, on row groups of a million rows and on a single one."""

    params = (PEERS, ["standard", "one_row_group"], [data.ROWS])
    param_names = ("impl", "file", "rows")

    def setup(self, impl, file, rows):
        for job in ("fit_moments", "normalize"):
            self.prepare(job, impl, file, rows)

    def track_peak_rss_fit(self, impl, file, rows):
        return self.peak("fit_moments", impl)

    def track_peak_rss_normalize(self, impl, file, rows):
        return self.peak("normalize", impl)


class Floor(_Peak):
    """Reading alone in small batches."""

    def setup(self):
        self.prepare("scan", "bare_scan", "standard", data.ROWS)

    def track_peak_rss_scan(self):
        return self.peak("scan", "bare_scan")
