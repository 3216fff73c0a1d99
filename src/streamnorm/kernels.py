"""The kernels one by one, for use without a scaler: moments and extrema. (The sketch is `QuantileSketch`.)"""

from __future__ import annotations

from typing import Any, Self

from ._core import ColumnStats


class _Kernel:
    """A view of a ColumnStats that shows one kind of statistic."""

    _stats: ColumnStats

    def update(self, values: Any, weights: Any = None) -> Self:
        """Add values.

        Parameters
        ----------
        values : ndarray of shape (n,), or Arrow array or stream
            Nulls and NaN are skipped.
        weights : ndarray or Arrow array of shape (n,), optional
            How much each value counts, 1 if not given; one of zero or without a value (null or NaN) leaves it out.

        Raises
        ------
        TypeError
            If they are not numbers.
        DataError
            If a weight is negative or infinite.
        ValueError
            If exact moments get weights.
        """
        self._stats.update(values, weights)
        return self

    def merge(self, other: Self) -> Self:
        """Add what another one has seen; it is left as it was."""
        if type(other) is not type(self):
            raise TypeError(f"{type(self).__name__} merges with its own kind, not with {type(other).__name__}")
        if other._stats.exact != self._stats.exact:
            raise TypeError("exact moments merge with exact ones: make both with exact=True, or neither")
        self._stats.merge(other._stats)
        return self

    @property
    def count(self) -> int:
        """Values that are neither null nor NaN."""
        return self._stats.count

    @property
    def weight(self) -> float:
        """Sum of the weights of the values; the count, where they came without."""
        return self._stats.weight


class Moments(_Kernel):
    """Count, mean and variance of a stream, by Welford's method in blocks, or from exact sums.

    Parameters
    ----------
    exact : bool, default False
        Whether the results are correctly rounded.

    Notes
    -----
    Blocks of 2,048 values are merged by the formulas of Chan, Golub and LeVeque (1979); the mean is kept as an
    unevaluated pair of doubles. The result has the same bits however the stream is cut into updates. With weights,
    sums of weights stand where these formulas have counts (West, 1979).

    With ``exact=True`` the sums of x and of x^2 are kept without any rounding, in the long accumulator of Kulisch
    (Computer Arithmetic and Validity, 2008), and mean, variance and standard deviation are the doubles nearest to
    their true values: the same bits in whatever order and parts the values come.

    Examples
    --------
    >>> import numpy as np
    >>> moments = Moments().update(1e9 + np.array([4.0, 7.0, 13.0, 16.0]))
    >>> moments.mean, moments.var()
    (1000000010.0, 22.5)
    >>> values = np.array([1e100, 3.0, 2.0, -1e100, -4.0])
    >>> Moments().update(values).mean, Moments(exact=True).update(values).mean
    (0.0, 0.2)
    """

    def __init__(self, exact: bool = False) -> None:
        self._stats = ColumnStats(moments=True, exact=exact)

    @property
    def mean(self) -> float:
        """The mean; NaN without values, or with infinite ones."""
        return self._stats.mean

    def var(self, ddof: float = 0) -> float:
        """Variance with divisor ``count - ddof``; NaN where that is not positive."""
        return self._stats.var(ddof)

    def std(self, ddof: float = 0) -> float:
        """Standard deviation; finite also where the variance overflows."""
        return self._stats.std(ddof)

    def __repr__(self) -> str:
        exact = "exact, " if self._stats.exact else ""
        return f"<Moments: {exact}{self.count} values, mean {self.mean:.6g}, std {self.std():.6g}>"


class Extrema(_Kernel):
    """Smallest and largest value of a stream; exact, whatever the type.

    Examples
    --------
    >>> import numpy as np
    >>> extrema = Extrema().update(np.array([2**62 + 1, -5]))
    >>> extrema.min, extrema.max
    (-5, 4611686018427387905)
    """

    def __init__(self) -> None:
        self._stats = ColumnStats(moments=False)

    @property
    def min(self) -> Any:
        """float, int or Decimal, after the values; None without any."""
        return self._stats.min

    @property
    def max(self) -> Any:
        """float, int or Decimal, after the values; None without any."""
        return self._stats.max

    def __repr__(self) -> str:
        return f"<Extrema: {self.count} values, {self.min} to {self.max}>"
