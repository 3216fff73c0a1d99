"""How far results are from the truth, where the truth is known exactly."""

from fractions import Fraction

import numpy as np

from . import data, measure, truth
from .peers import JOBS, QUANTILES

VALUES = 5000


def _offset_values(offset: float) -> tuple[np.ndarray, float, float]:
    """Values ``offset + k / 8`` with their exact mean and standard deviation, each rounded once."""
    k = np.random.default_rng([3, VALUES]).integers(0, 8000, VALUES)
    total, squares = int(k.sum()), int((k * k).sum())
    mean, std = truth.nearest(VALUES, total, squares, Fraction(1, 8), int(offset))
    return offset + k / 8, mean, std


def _streamnorm(chunks, **options):
    from streamnorm._core import ColumnStats

    stats = ColumnStats(**options)
    for chunk in chunks:
        stats.update(chunk)
    return stats.mean, stats.std()


def _streamnorm_exact(chunks):
    return _streamnorm(chunks, exact=True)


def _numpy(chunks):
    whole = np.concatenate(chunks)
    return whole.mean(), whole.std()


def _sklearn(chunks):
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for chunk in chunks:
        scaler.partial_fit(chunk[:, None])
    return scaler.mean_[0], scaler.var_[0] ** 0.5


def _sum_of_squares(chunks):
    """The shortcut to avoid: E[x^2] - E[x]^2, in double."""
    count, total, squares = 0, 0.0, 0.0
    for chunk in chunks:
        count, total, squares = count + len(chunk), total + chunk.sum(), squares + (chunk * chunk).sum()
    mean = total / count
    return mean, max(0.0, squares / count - mean * mean) ** 0.5


IMPLEMENTATIONS = {
    "streamnorm": _streamnorm,
    "streamnorm_exact": _streamnorm_exact,
    "numpy": _numpy,
    "sklearn": _sklearn,
    "sum_of_squares": _sum_of_squares,
}
PLAIN_TOLERANCE = 1e-12  # at offset 0 every formula is good to this


class Moments:
    """Relative error of mean and standard deviation on data that sits on an offset, fed in chunks."""

    params = (list(IMPLEMENTATIONS), [0.0, 1e9, 1e15 / 8], [1, 100, VALUES])
    param_names = ("impl", "offset", "chunk")

    def setup(self, impl, offset, chunk):
        mean, std = IMPLEMENTATIONS[impl]([_offset_values(0.0)[0]])
        _, true_mean, true_std = _offset_values(0.0)
        if max(abs(mean / true_mean - 1), abs(std / true_std - 1)) > PLAIN_TOLERANCE:
            raise measure.WrongAnswer(
                f"{impl}: mean {mean} and std {std}, where {true_mean} and {true_std} is true"
            )
        values, self.mean, self.std = _offset_values(offset)
        self.chunks = [values[start : start + chunk] for start in range(0, VALUES, chunk)]

    def track_mean_error(self, impl, offset, chunk):
        mean, _ = IMPLEMENTATIONS[impl](self.chunks)
        return abs(mean - self.mean) / self.mean

    def track_std_error(self, impl, offset, chunk):
        _, std = IMPLEMENTATIONS[impl](self.chunks)
        return abs(std - self.std) / self.std

    track_mean_error.unit = track_std_error.unit = "relative error"


class Quantiles:
    """Largest rank error of the fitted quartiles on the standard file, as a share of the count in percent."""

    params = (list(JOBS["fit_quantiles"]), ["lognormal", "gappy", "integer"], [data.ROWS])
    param_names = ("impl", "column", "rows")
    timeout = 3600
    unit = "% of the count"

    def setup(self, impl, column, rows):
        import pyarrow.parquet as pq

        measure.check("fit_quantiles", impl)
        self.source = data.path("standard", rows)
        self.ordered = np.sort(pq.read_table(self.source, columns=[column])[column].drop_null().to_numpy())

    def track_rank_error(self, impl, column, rows):
        found = measure.run("fit_quantiles", impl, self.source).answer[column]
        return 100 * max(map(measure.rank_error, [self.ordered] * len(QUANTILES), found, QUANTILES))
