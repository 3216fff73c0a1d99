"""Whether two models differ by more than chance, from their scores on the same folds."""

# Design: training sets of a cross-validation overlap, so the differences of two models' scores depend on each other,
# and the ordinary paired t-test finds a difference where there is none in a third of the cases or more. The correction
# of Nadeau and Bengio, "Inference for the generalization error" (Machine Learning 52, 2003), takes the variance of the
# mean for (1/J + n_test/n_train) times that of the differences, and that of Bouckaert and Frank, "Evaluating the
# replicability of significance tests for comparing learning algorithms" (PAKDD 2004), does so for repeated k-fold
# cross-validation. Turned down: McNemar's test and the 5x2cv test, which compare two models alone and on less data, and
# SciPy, which is no dependency: of it, one function of thirty lines would be used.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PairedTest", "corrected_t_test", "holm", "t_quantile", "two_sided_p"]

_MOST_TERMS = 10_000
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The outcome of :func:`corrected_t_test`.

    Attributes
    ----------
    difference : float
        The mean.
    error : float
        The standard error of it, corrected.
    df : int
        Degrees of freedom.
    p : float
        Two-sided.
    """

    difference: float
    error: float
    df: int
    p: float

    def interval(self, confidence: float) -> tuple[float, float]:
        """Between which values the true difference lies, at this confidence."""
        half = t_quantile(confidence, self.df) * self.error if self.error else 0.0
        return self.difference - half, self.difference + half


def corrected_t_test(differences: Any, ratio: float) -> PairedTest:
    """Nadeau and Bengio's corrected resampled t-test.

    Parameters
    ----------
    differences : array-like of shape (n,) or (n, repetitions)
        Score of one model less that of the other, for each fold: two or more. Repetitions are of the same fold, with
        other seeds: they make the means more precise, but n counts, and the correction is by the variance of one run.
    ratio : float
        Rows to test on divided by rows to train on; 1 / (k - 1) for k folds.

    Returns
    -------
    PairedTest

    Examples
    --------
    >>> test = corrected_t_test([0.03, 0.05, 0.04, 0.02, 0.04], ratio=1 / 4)
    >>> round(test.difference, 3), round(test.p, 4)
    (0.036, 0.0093)
    """
    runs = np.asarray(differences, np.float64)
    runs = runs.reshape(len(runs), -1)
    if len(runs) < 2:
        raise ValueError("a test takes at least two differences")
    values, repetitions = runs.mean(axis=1), runs.shape[1]
    mean, df = float(values.mean()), len(values) - 1
    variance = float(values.var(ddof=1))
    if repetitions > 1:  # of one run, of which the means have lost a part
        variance += (1 - 1 / repetitions) * float(runs.var(axis=1, ddof=1).mean())
    error = math.sqrt((1 / len(values) + ratio) * variance)
    if error == 0.0:
        return PairedTest(mean, 0.0, df, 1.0 if mean == 0.0 else 0.0)
    return PairedTest(mean, error, df, two_sided_p(mean / error, df))


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """p-values adjusted for there being several.

    Whoever calls what is below 0.05 a difference is wrong about any of them in at most 5 % of the cases, however the
    tests depend on each other.

    Parameters
    ----------
    p_values : sequence of float
    weights : sequence of float, optional
        How much of the 5 % each test gets at first; positive. None: all the same.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979), which
    has the weights, too.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.02])
    [0.03, 0.04, 0.04]
    """
    shares = [1.0] * len(p_values) if weights is None else list(weights)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i] / shares[i])
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, i in enumerate(order):
        left = math.fsum(shares[j] for j in order[rank:])
        highest = max(highest, min(1.0, p_values[i] / shares[i] * left))
        adjusted[i] = highest
    return adjusted


def two_sided_p(t: float, df: float) -> float:
    """The probability that Student's t with `df` degrees of freedom is at least as far from 0 as `t`."""
    if math.isinf(t):
        return 0.0
    return _regularized_beta(df / (df + t * t), df / 2, 0.5)


def t_quantile(confidence: float, df: float) -> float:
    """The t within which a value of Student's distribution lies with this probability, on both sides of 0."""
    low, high = 0.0, 1.0
    while two_sided_p(high, df) > 1 - confidence:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, df) > 1 - confidence else (low, middle)
    return high


def _regularized_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), by the continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where it converges slowly, and its counterpart quickly
        return 1.0 - _regularized_beta(1 - x, b, a)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / a
    # Lentz's method: the ratios of successive numerators and denominators.
    value, above, below = 1.0, 1.0, 0.0
    for term in range(1, _MOST_TERMS):
        m = term // 2
        if term % 2:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1.0 / ((1.0 + step * below) or _TINY)
        above = (1.0 + step / above) or _TINY
        value *= above * below
        if abs(above * below - 1.0) < 1e-15:
            break
    return front / value
