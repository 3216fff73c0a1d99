"""Kernels on arrays, in cache and from memory, beside the least that can be done with the same bytes."""

import numpy as np

from . import arrays

ROWS = [*arrays.CACHE_VALUES, arrays.MEMORY_VALUES]
GIGA = 1e9


class Moments:
    """Count, mean, M2, min and max in one pass; "numpy_sum" only adds the values, nulls or not."""

    params = (list(arrays.MOMENTS), ["float64", "float32", "int64"], ROWS, [0.0, 0.05])
    param_names = ("impl", "dtype", "rows", "nulls")

    def setup(self, impl, dtype, rows, nulls):
        arrays.check_moments(impl, dtype, nulls)
        if getattr(self, "made", None) != (impl, dtype, rows, nulls):
            self.update = arrays.MOMENTS[impl](arrays.values(dtype, rows, nulls))
            self.made = impl, dtype, rows, nulls

    def time_update(self, impl, dtype, rows, nulls):
        self.update()


class MomentsSpeed:
    """The same for float64, as nanoseconds a value and as bandwidth."""

    params = (list(arrays.MOMENTS), ROWS, [0.0, 0.05])
    param_names = ("impl", "rows", "nulls")

    def setup(self, impl, rows, nulls):
        arrays.check_moments(impl, "float64", nulls)
        self.update = arrays.MOMENTS[impl](arrays.values("float64", rows, nulls))

    def track_ns_per_value(self, impl, rows, nulls):
        return GIGA * arrays.seconds(self.update, rows) / rows

    track_ns_per_value.unit = "ns"

    def track_gb_per_s(self, impl, rows, nulls):
        return 8 * rows / arrays.seconds(self.update, rows) / GIGA

    track_gb_per_s.unit = "GB/s"


class ExactMoments:
    """Exact sums on kinds of values that spread over ever more powers of two, beside the default mode and a sum."""

    params = (list(arrays.EXACT_MOMENTS), list(arrays.KINDS), ROWS[1:], [0.0, 0.05])
    param_names = ("impl", "kind", "rows", "nulls")

    def setup(self, impl, kind, rows, nulls):
        arrays.check_moments(impl, "float64", nulls, kind)
        self.update = arrays.EXACT_MOMENTS[impl](arrays.values("float64", rows, nulls, kind))

    def track_ns_per_value(self, impl, kind, rows, nulls):
        return GIGA * arrays.seconds(self.update, rows, arrays.EXACT_ROUNDS) / rows

    track_ns_per_value.unit = "ns"


class ExactMomentsRatios:
    """Time of exact moments over that of the default mode."""

    params = (list(arrays.KINDS), ROWS[1:], [0.0, 0.05])
    param_names = ("kind", "rows", "nulls")

    def setup(self, kind, rows, nulls):
        for name in ("streamnorm_exact", "streamnorm"):
            arrays.check_moments(name, "float64", nulls, kind)
        self.array = arrays.values("float64", rows, nulls, kind)

    def track_time_over_default(self, kind, rows, nulls):
        exact, default = (arrays.EXACT_MOMENTS[name](self.array) for name in ("streamnorm_exact", "streamnorm"))
        return arrays.ratio(exact, default, rows, arrays.EXACT_ROUNDS)

    track_time_over_default.unit = "ratio"


class MomentsRatios:
    """Time of our moments over that of a plain sum of the same values, and with 5 % nulls over without."""

    params = (ROWS,)
    param_names = ("rows",)

    def setup(self, rows):
        self.plain, self.gappy = arrays.values("float64", rows), arrays.values("float64", rows, 0.05)
        for nulls in (0.0, 0.05):
            arrays.check_moments("streamnorm", "float64", nulls)

    def track_time_over_sum(self, rows):
        ours, plain = (arrays.MOMENTS[name](self.plain) for name in ("streamnorm", "numpy_sum"))
        return arrays.ratio(ours, plain, rows)

    def track_time_with_nulls_over_without(self, rows):
        gappy, plain = (arrays.MOMENTS["streamnorm"](array) for array in (self.gappy, self.plain))
        return arrays.ratio(gappy, plain, rows)

    track_time_over_sum.unit = track_time_with_nulls_over_without.unit = "ratio"


class WeightedMoments:
    """The same with a weight for each value, of which none or a tenth are zero; "checked" are checked beforehand."""

    params = (list(arrays.WEIGHTED_MOMENTS), ROWS, [0.0, 0.1])
    param_names = ("impl", "rows", "zeros")

    def setup(self, impl, rows, zeros):
        arrays.check_weighted_moments(impl, zeros)
        self.update = arrays.WEIGHTED_MOMENTS[impl](arrays.values("float64", rows), arrays.weights(rows, zeros))

    def track_ns_per_value(self, impl, rows, zeros):
        return GIGA * arrays.seconds(self.update, rows) / rows

    track_ns_per_value.unit = "ns"


class Affine:
    """``(x - center) / scale`` into a buffer that was written before; "copy" copies the values."""

    params = (list(arrays.AFFINE), ["float64", "float32"], ROWS)
    param_names = ("impl", "dtype", "rows")

    def setup(self, impl, dtype, rows):
        arrays.check_affine(impl, dtype)
        if getattr(self, "made", None) != (impl, dtype, rows):
            self.array = arrays.values(dtype, rows)
            self.out = np.ones_like(self.array)
            self.scale = arrays.AFFINE[impl](self.array, self.out)
            self.made = impl, dtype, rows

    def time_affine(self, impl, dtype, rows):
        self.scale()

    def track_gb_per_s(self, impl, dtype, rows):
        return (self.array.nbytes + self.out.nbytes) / arrays.seconds(self.scale, rows) / GIGA

    track_gb_per_s.unit = "GB/s"

    def track_time_over_copy(self, impl, dtype, rows):
        return arrays.ratio(self.scale, arrays.AFFINE["copy"](self.array, self.out), rows)

    track_time_over_copy.unit = "ratio"
