"""The scaler by mean and standard deviation.

Design: whether a column is constant is judged by scikit-learn's bound of the variance, n * eps * var + (n * mean *
eps)**2, after Chan, Golub and LeVeque (1983); it is compared here as standard deviations, because squares overflow
beyond 1e154 and vanish below 1e-154.
"""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .._core import ColumnStats
from ..memory import RANK_ERROR
from ..summary import ColumnSummary, Summary
from ._elementary import _array, _ElementaryScaler, _require_bool
from ._given import given_attributes, given_summary
from ._rules import EPS, check_rules, lacks_spread, settled


class StandardScaler(_ElementaryScaler):
    """Subtract the mean and divide by the standard deviation: z = (x - mean) / std.

    Parameters
    ----------
    copy : bool, default=True
        False: ``transform`` writes into an array of floats itself.
    with_mean, with_std : bool, default=True
        Whether to center, and whether to scale.
    ddof : int, default=0
        The denominator of the variance is n - ddof. scikit-learn and NumPy have 0, pandas and SQL have 1.
    exact : bool, default=False
        Whether mean, variance and standard deviation are the doubles nearest to the true values, and so the same
        bits for any chunking, order of rows, number of threads and merges. Such scalers can also be subtracted: ``a -
        b`` is what a has seen without b. They take no sample_weight.
    constant : {"relative", "sklearn", "zero", "error", "floor", "add", "replace"}, default="relative"
        What is done about a column without spread. "relative": it is centered and divided by 1, where it is constant
        relative to its own size. "sklearn": the same, by scikit-learn's own test. "zero": where the spread is 0, it
        becomes 0 (in :class:`MinMaxScaler` the middle of the range), as in Spark. "error": it is an error of `fit`
        and `transform`, though not of a first batch. "floor": no column is divided by less than `eps`, as in Keras.
        "add": `eps` is added to every spread, as in LeRobot. "replace": `eps` stands for a spread of 0.
    infinite : {"error", "null", "ignore"}, default="error"
        What is done about infinite values. "error": `fit` raises, and `transform` passes them through. "null": they
        are left out of the fit, like nulls, and become null (NaN in arrays) in the output. "ignore": they are left
        out of the fit and pass through.
    eps : float or None
        Of the three rules that have one.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,), or None
        None if with_mean and with_std are both False. NaN for a column without values.
    var_ : ndarray of shape (n_features,), or None
        None if with_std is False.
    scale_ : ndarray of shape (n_features,), or None
        The square root of the variance, and 1 where the column is constant: where
        var <= n * eps * var + (n * mean * eps)**2, as in scikit-learn. Infinite where constant="zero" makes 0 of it.
    n_samples_seen_ : int, or ndarray of shape (n_features,)
        Number of values; an array where nulls or NaN make it differ between columns. With sample_weight the sum of
        their weights, a float. 0 after :meth:`from_statistics`.
    n_features_in_ : int
        Number of normalized columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they have any.
    summary_ : Summary
        All statistics, by column.

    Notes
    -----
    Moments are kept by Welford's method in blocks, merged by the formulas of Chan, Golub and LeVeque,
    "Algorithms for computing the sample variance" (The American Statistician 37(3), 1983). With ``exact=True`` the
    sums of x and x^2 are kept without rounding, after Kulisch, Computer Arithmetic and Validity (2008).

    Examples
    --------
    >>> import numpy as np
    >>> scaler = StandardScaler().fit(np.array([[0.0], [2.0], [4.0], [np.nan]]))
    >>> scaler.mean_, scaler.var_.round(3)
    (array([2.]), array([2.667]))
    >>> scaler.transform([[2.0], [np.nan]])
    array([[ 0.],
           [nan]])
    >>> merged = StandardScaler().fit([[0.0]]) + StandardScaler().fit([[2.0], [4.0]])
    >>> merged.mean_, merged.n_samples_seen_
    (array([2.]), 3)
    """

    _takes_given = True

    mean_: np.ndarray | None
    var_: np.ndarray | None
    scale_: np.ndarray | None
    n_samples_seen_: int | np.ndarray

    def __init__(
        self,
        *,
        copy: bool = True,
        with_mean: bool = True,
        with_std: bool = True,
        ddof: int = 0,
        exact: bool = False,
        constant: str = "relative",
        infinite: str = "error",
        eps: float | None = None,
    ) -> None:
        self.constant = constant
        self.infinite = infinite
        self.eps = eps
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std
        self.ddof = ddof
        self.exact = exact

    def _check_params(self) -> None:
        _require_bool(self, "copy", "with_mean", "with_std", "exact")
        check_rules(self)
        if not isinstance(self.ddof, Integral) or isinstance(self.ddof, bool) or self.ddof < 0:
            raise ValueError(
                "The 'ddof' parameter of StandardScaler must be an int in the range [0, inf). Got "
                f"{self.ddof!r} instead."
            )

    def _new_stats(self, name: str | int, seed: int = 0, error: float = RANK_ERROR) -> ColumnStats:
        return self._stats(moments=True, exact=bool(self.exact))

    @classmethod
    def from_statistics(
        cls, mean: ArrayLike, scale: ArrayLike, *, columns: Sequence[str] | None = None
    ) -> Self:
        """A fitted scaler from means and scales that are known already.

        Parameters
        ----------
        mean : array-like of shape (n_features,)
            What is subtracted.
        scale : array-like of shape (n_features,)
            What is divided by: standard deviations, or any numbers but 0. No column counts as constant.
        columns : sequence of str, optional
            Names of the columns; without them, arrays are matched by position.

        Returns
        -------
        StandardScaler
            It transforms, saves and loads like any other. It has seen no rows: ``n_samples_seen_`` is 0,
            ``summary_`` has no statistics, and ``merge``, ``+``, ``-`` and ``partial_fit`` raise NotMergeableError.

        Raises
        ------
        ValueError
            If the shapes differ, a number is not finite, a scale is 0, or names do not fit.

        Examples
        --------
        >>> scaler = StandardScaler.from_statistics([10.0], [2.0], columns=["fare"])
        >>> scaler.transform([[14.0]]), scaler.feature_names_in_
        (array([[2.]]), array(['fare'], dtype=object))
        """
        summary = given_summary(mean, scale, columns)
        scaler = cls()
        scaler._adopt(summary, named=summary.named)
        return scaler

    def _attributes(self, summary: Summary) -> dict[str, Any]:
        if summary.given:
            return given_attributes(summary, with_mean=self.with_mean, with_std=self.with_std)
        columns = list(summary.values())
        fitted: dict[str, Any] = {"mean_": None, "var_": None, "scale_": None}
        if self.with_mean or self.with_std:
            fitted["mean_"] = _array([column.mean for column in columns])
        if self.with_std:
            fitted["var_"] = _array([column.var(int(self.ddof)) for column in columns])
            fitted["scale_"] = self._settled(columns, fitted["var_"], fitted["mean_"])
        if any(column.stats.weighted for column in columns):
            counts = np.array([column.weight for column in columns])
        else:
            counts = np.array([column.count for column in columns], dtype=np.int64)
        fitted["n_samples_seen_"] = counts[0].item() if (counts == counts[0]).all() else counts
        return fitted

    def _affine(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, None]:
        center = self.mean_ if self.with_mean and self.mean_ is not None else self._zeros()
        scale = self.scale_ if self.with_std and self.scale_ is not None else self._ones()
        return center, scale, self._zeros(), None

    def _settled(self, columns: Sequence[ColumnSummary], var: np.ndarray, mean: np.ndarray) -> np.ndarray:
        theirs = self.constant == "sklearn"
        std = np.sqrt(var) if theirs else _array([column.std(int(self.ddof)) for column in columns])
        return settled(
            self,
            std,
            np.array([column.has_values for column in columns]),
            relative=np.array([_has_constant_variance(column) for column in columns]),
            sklearn=_is_constant_for_sklearn(var, mean, np.array([column.weight for column in columns])),
        )

    def _is_constant(self, column: ColumnSummary) -> bool:
        var, mean, weight = (np.array([v]) for v in (column.var(int(self.ddof)), column.mean, column.weight))
        return self.with_std and lacks_spread(
            self,
            column.std(int(self.ddof)),
            relative=_has_constant_variance(column),
            sklearn=bool(_is_constant_for_sklearn(var, mean, weight)[0]),
        )


def _has_constant_variance(column: ColumnSummary) -> bool:
    """scikit-learn's test, var <= n eps var + (n mean eps)**2, in square roots; True without values.

    n is the number of values, with weights too, where scikit-learn takes their sum: rounding errors come from
    operations, and multiplying all weights by a constant must not make a column constant.
    """
    n, std = column.count, column.std()
    rest = 1.0 - n * EPS
    return not (rest > 0 and std * math.sqrt(rest) > n * EPS * abs(column.mean))


def _is_constant_for_sklearn(var: np.ndarray, mean: np.ndarray, n: np.ndarray) -> np.ndarray:
    """scikit-learn's test as it stands there, in squares, which overflow and vanish."""
    with np.errstate(all="ignore"):
        return var <= n * EPS * var + (n * mean * EPS) ** 2
