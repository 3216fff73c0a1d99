"""What exact quantiles must be, and data that is hard to find them in."""

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import streamnorm as sn

from .files import SEED
from .truth import nearest, same_double

MOST_PASSES = 6
RANGES = [(25.0, 75.0), (0.0, 100.0), (10.0, 90.0), (50.0, 50.0), (0.1, 99.9)]
TINY, LARGEST = 5e-324, math.ldexp(1 - 2**-53, 1024)
WHOLE = 2**53  # integers up to here are doubles


def position(count, q):
    """NumPy's place of a quantile among sorted values: an index, and how far from it to the next."""
    place = (count - 1) * q
    return math.floor(place), place - math.floor(place)


def between(a, b, t):
    """The double nearest to what lies at t between a and b."""
    return nearest(Fraction(a) + (Fraction(b) - Fraction(a)) * Fraction(t))


def quantile(values, q):
    """The quantile of numbers (None and NaN are left out) that is promised.

    NumPy's of the doubles; the correctly rounded one between two values whose difference overflows, and between
    integers that are no doubles.
    """
    there = [v for v in values if v is not None and v == v]
    if not there:
        return math.nan
    at, t = position(len(there), q)
    there.sort()
    a, b = there[at], there[min(at + 1, len(there) - 1)]
    if isinstance(a, int) and max(abs(a), abs(b)) > WHOLE or math.isinf(b - a):
        return between(a, b, t)
    return float(np.nanquantile(np.array(there, dtype=np.float64), np.array(q), method="linear"))


def numbers(array):
    if isinstance(array, pa.Array | pa.ChunkedArray):
        return array.to_pylist()
    return array.tolist()


def assert_quantiles(scaler, column, values, index=0):
    """All that a fitted robust scaler says of one column against what is right."""
    low, high = (bound / 100 for bound in scaler.quantile_range)
    summary = scaler.summary_[column]
    for q in (low, 0.5, high):
        found, right = summary.quantile(q), quantile(values, q)
        assert found == right or same_double(found, right), f"quantile {q} is {found!r}, not {right!r}"
    there = [v for v in values if v is not None and v == v]
    ends = (min(there), max(there)) if there else (None, None)
    assert (summary.count, summary.min, summary.max) == (len(there), *ends), f"{summary} of {len(there)} values"
    assert summary.rank_error == 0, f"the rank's error is {summary.rank_error}"
    center, scale = scaler.center_[index], scaler.scale_[index]
    lower, middle, upper = (quantile(values, q) for q in (low, 0.5, high))
    assert center == middle or same_double(center, middle), f"the center is {center!r}, not {middle!r}"
    spread = upper - lower
    if spread >= 64 * math.ulp(max(abs(lower), abs(upper))):  # clearly not constant
        assert scale == spread, f"the scale is {scale!r}, not {spread!r}"
    if there and spread == 0:
        assert scale == 1.0, f"the scale is {scale!r} where there is no spread"
    assert 1 <= scaler.summary_.passes <= MOST_PASSES, f"{scaler.summary_.passes} passes"


def robust(source, quantile_range=(25.0, 75.0), **options):
    return sn.fit(source, sn.RobustScaler(quantile_range=quantile_range, exact=True), **options)


def file_of(folder, array, row_group_size=1000, name="in.parquet"):
    array = array if isinstance(array, pa.Array | pa.ChunkedArray) else pa.array(array, from_pandas=False)
    pq.write_table(pa.table({"v": array}), folder / name, row_group_size=row_group_size)
    return folder / name


def adversarial(kind, size=3001, seed=SEED):
    rng = np.random.default_rng([size, seed])
    normal = rng.normal(size=size)
    match kind:
        case "random":
            return normal
        case "sorted":
            return np.sort(normal)
        case "reversed":
            return np.sort(normal)[::-1].copy()
        case "organ pipes":
            return np.concatenate([np.sort(normal)[::2], np.sort(normal)[1::2][::-1]])
        case "constant":
            return np.full(size, 0.1)
        case "heavy duplicates":
            return np.round(normal)
        case "one in a thousand differs":
            return np.where(rng.random(size) < 0.001, normal, 7.0)
        case "a few ulps":
            return np.nextafter(1.0, 2.0) + rng.integers(0, 5, size) * 2.0**-52
        case "every ulp":
            return (np.float64(1e9).view(np.int64) + rng.permutation(size)).view(np.float64)
        case "ulps around zero":
            return rng.permutation(size).astype(np.uint64).view(np.float64) * rng.choice([-1.0, 1.0], size)
        case "all exponents":
            return np.ldexp(rng.choice([-1.0, 1.0], size), rng.integers(-1074, 1020, size))
        case "any bits":
            values = rng.integers(0, 2**64, size, np.uint64).view(np.float64)
            return np.where(np.isfinite(values), values, 0.0) / 4
        case "denormals":
            return rng.integers(-(2**51), 2**51, size) * TINY
        case "one far away":
            return np.where(np.arange(size) == size // 2, LARGEST / 4, normal)
        case "halves apart":
            return np.where(np.arange(size) % 2 == 0, normal - 1e300, normal + 1e300)
        case "a geometric ladder":
            return rng.permutation(np.cumprod(np.full(size, 1 + 2.0**-8)))
    raise AssertionError(kind)


KINDS = (
    "random",
    "sorted",
    "reversed",
    "organ pipes",
    "constant",
    "heavy duplicates",
    "one in a thousand differs",
    "a few ulps",
    "every ulp",
    "ulps around zero",
    "all exponents",
    "any bits",
    "denormals",
    "one far away",
    "halves apart",
    "a geometric ladder",
)
