"""Our wall time, or peak memory, over a peer's: both in fresh processes, alternating, the median over a few rounds.

Below one we are faster, or smaller. "scan+copy" is the sum of a bare scan and of copying the file unchanged.
"""

from . import data, measure
from .peers import JOBS

ROUNDS = 1 if data.QUICK else 5
FLOORS = {
    "bare_scan": [("scan", "bare_scan")],
    "scan+copy": [("scan", "bare_scan"), ("copy", "copy_unchanged")],
}


EXACT = "streamnorm_exact"


def peers(job: str, *floors: str) -> list[str]:
    return [*floors, *(name for name in JOBS[job] if not name.startswith("streamnorm"))]


class _Ratio:
    timeout = 3600
    unit = "ours / theirs"
    param_names = ("impl", "rows")
    job = ""
    file = "standard"
    ours = "streamnorm"

    def setup(self, impl, rows):
        self.others = FLOORS.get(impl) or [(self.job, impl)]
        for entry in [(self.job, self.ours), *self.others]:
            measure.check(*entry)
        self.source = data.path(self.file, rows)

    def taken(self):
        return list(measure.alternate([(self.job, self.ours), *self.others], self.source, ROUNDS).values())

    def wall_ratio(self):
        return measure.wall_ratio(*self.taken())


class FitMoments(_Ratio):
    job = "fit_moments"
    params = (peers(job, "bare_scan"), [data.ROWS])

    def track_wall_ratio(self, impl, rows):
        return self.wall_ratio()


class FitFooter(_Ratio):
    job = "fit_extrema"
    file = "thousand_row_groups"
    params = (peers(job), [data.ROWS])

    def track_wall_ratio(self, impl, rows):
        return self.wall_ratio()


class FitMomentsExact(_Ratio):
    """Exact moments over those of the default mode, and over reading alone."""

    job = "fit_moments"
    ours = EXACT
    params = (["streamnorm", "bare_scan"], [data.ROWS])

    def track_wall_ratio(self, impl, rows):
        return self.wall_ratio()


class FitQuantiles(_Ratio):
    job = "fit_quantiles"
    params = (peers(job, "bare_scan"), [data.ROWS])

    def track_wall_ratio(self, impl, rows):
        return self.wall_ratio()


class FitQuantilesExact(_Ratio):
    """Exact quantiles over reading alone, and over whoever else has them."""

    job = "fit_quantiles"
    ours = EXACT
    params = (["bare_scan", "duckdb_exact", "polars_exact"], [data.ROWS])

    def track_wall_ratio(self, impl, rows):
        return self.wall_ratio()

    def track_peak_ratio(self, impl, rows):
        return measure.peak_ratio(*self.taken())


class Normalize(_Ratio):
    job = "normalize"
    params = (peers(job, "scan+copy"), [data.ROWS])

    def track_wall_ratio(self, impl, rows):
        return self.wall_ratio()
