"""Binding of the quantile sketch of ``csrc/kll.h``.

# Design: a lock per sketch, held around each call into C, which runs without the GIL: two threads that feed
# one sketch wait for each other instead of tearing it. Turned down: leaving that to the caller, whom nothing
# would warn.
"""

import operator
import threading

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t

import numpy as np

from streamnorm.errors import DataError, StateError


cdef extern from "kll.h" nogil:
    ctypedef enum sn_status:
        SN_OK
        SN_ERR_NOMEM
        SN_ERR_INVALID
        SN_ERR_CORRUPT
        SN_ERR_INCOMPATIBLE
        SN_ERR_WEIGHTS

    double SN_MAX_WEIGHT
    double SN_KLL_MIN_ERROR
    double SN_KLL_MAX_ERROR

    sn_kll *sn_kll_new(double error, uint64_t seed)
    sn_kll *sn_kll_copy(const sn_kll *kll)
    void sn_kll_free(sn_kll *kll)
    sn_status sn_kll_update(sn_kll *kll, const double *values, int64_t n)
    sn_status sn_kll_update_weighted(sn_kll *kll, const double *values, const double *weights, int64_t n)
    int sn_kll_is_weighted(const sn_kll *kll)
    double sn_kll_weight(const sn_kll *kll)
    sn_status sn_kll_merge(sn_kll *into, const sn_kll *from_)
    double sn_kll_error(const sn_kll *kll)
    uint64_t sn_kll_seed(const sn_kll *kll)
    int64_t sn_kll_count(const sn_kll *kll)
    double sn_kll_min(const sn_kll *kll)
    double sn_kll_max(const sn_kll *kll)
    double sn_kll_rank_error(const sn_kll *kll)
    double sn_kll_rank_error_worst(const sn_kll *kll)
    size_t sn_kll_nbytes(const sn_kll *kll)
    sn_status sn_kll_quantiles(const sn_kll *kll, double *out, const double *q, int64_t nq)
    double sn_kll_rank(const sn_kll *kll, double x)

    ctypedef struct sn_kll_certificate:
        double value, low, high, value_low, value_high

    sn_status sn_kll_certify(
        const sn_kll *kll, sn_kll_certificate *out, const double *q, double delta, int64_t nq
    )
    size_t sn_kll_serialized_size(const sn_kll *kll)
    void sn_kll_serialize(unsigned char *out, const sn_kll *kll)
    sn_status sn_kll_deserialize(sn_kll **out, const unsigned char *data, size_t size)


__all__ = ["QuantileSketch", "Weights"]

NO_MEMORY = "the quantile sketch ran out of memory"


cdef int check(sn_status status) except -1:
    if status == SN_ERR_NOMEM:
        raise MemoryError(NO_MEMORY)
    if status == SN_ERR_INVALID:
        raise ValueError("quantiles must lie between 0 and 1")
    if status == SN_ERR_CORRUPT:
        raise StateError(
            "these bytes are no quantile sketch that this version can read: they were cut short, edited, or "
            "written by a later version; write them again with to_bytes()"
        )
    if status == SN_ERR_WEIGHTS:
        raise _too_heavy()
    return 0


def _too_heavy():
    return DataError(f"the weights sum to more than {SN_MAX_WEIGHT:.0e}: divide all of them by a constant")


def _as_doubles(values):
    """One-dimensional, contiguous float64 array of ``values``, nulls as NaN."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "mM":
        raise TypeError("a quantile sketch takes numbers, not times; convert them first")
    if type(values).__module__.startswith("pyarrow"):  # nulls come out of to_numpy as NaN
        values = values.cast("float64").to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(np.asarray(values, dtype=np.float64)).reshape(-1)


include "_sketch_weights.pxi"


cdef class QuantileSketch:
    """Quantiles of a stream of numbers, in little memory, with a bound on their error.

    The rank of ``x`` is the fraction of values that are at most ``x``. The answer to a single query is off in
    rank by more than `error` with a probability of at most 1 %; :attr:`rank_error` says what holds for this
    very sketch. While a sketch still holds every value (about ``4 / error`` of them), it is exact.

    The same values in the same order give the same bits, however they were cut into calls of :meth:`update`.
    NaN and null are skipped. Infinities are values.

    Parameters
    ----------
    error : float, default 0.001
        Rank error of a single query at 99 % confidence, from 1e-6 to 0.5. Memory grows as ``1 / error`` (70
        kB for 0.001 after ten million values).
    seed : int, default 0
        Seed of the random choices, 0 to 2**64 - 1.

    Notes
    -----
    After Karnin, Lang and Liberty, "Optimal quantile approximation in streams" (FOCS 2016), with other
    compactors; the bound is Azuma and Hoeffding's. ``csrc/kll.c`` tells the method.

    Merging takes the parts' random choices for independent, which they are unless two parts were copies of
    one sketch, or saw the same values in the same order with the same seed. Two such parts are recognized
    when one is merged straight into the other, and their errors are added as the equal things they are.

    Examples
    --------
    >>> from streamnorm._sketch import QuantileSketch
    >>> sketch = QuantileSketch().update([3.0, 1.0, 2.0, float("nan")])
    >>> sketch.quantile(0.5), sketch.count, sketch.rank_error
    (2.0, 3, 0.0)
    >>> sketch.merge(QuantileSketch().update([10.0])).quantile([0.0, 0.5, 1.0]).tolist()
    [1.0, 2.5, 10.0]
    """

    def __cinit__(self, *args, **kwargs):
        self._lock = threading.Lock()
        self._kll = sn_kll_new(0.001, 0)  # never NULL, even in a subclass that forgets __init__
        if self._kll == NULL:
            raise MemoryError(NO_MEMORY)

    def __init__(self, error=0.001, seed=0):
        if not SN_KLL_MIN_ERROR <= error <= SN_KLL_MAX_ERROR:
            limits = f"{SN_KLL_MIN_ERROR:g} and {SN_KLL_MAX_ERROR:g}"
            raise ValueError(f"error must lie between {limits}, not {error!r}")
        if not 0 <= operator.index(seed) < 2**64:
            raise ValueError(f"seed must lie between 0 and 2**64 - 1, not {seed!r}")
        cdef sn_kll *kll = sn_kll_new(error, operator.index(seed))
        if kll == NULL:
            raise MemoryError(NO_MEMORY)
        with self._lock:
            sn_kll_free(self._kll)
            self._kll = kll

    def __dealloc__(self):
        sn_kll_free(self._kll)

    @staticmethod
    cdef QuantileSketch _wrap(sn_kll *kll):
        if kll == NULL:
            raise MemoryError(NO_MEMORY)
        cdef QuantileSketch sketch = QuantileSketch.__new__(QuantileSketch)
        sn_kll_free(sketch._kll)
        sketch._kll = kll
        return sketch

    def update(self, values, weights=None):
        """Take values in.

        Parameters
        ----------
        values : array_like
            Numbers of any shape, in C order; a pyarrow array may have nulls. All become float64.
        weights : array_like of as many numbers, optional
            A value counts by its weight, and not at all where that is zero or missing (null or NaN). A sketch that
            saw weights answers by the inverse of the distribution function: see :meth:`quantile`.

        Returns
        -------
        QuantileSketch
            This sketch.

        Raises
        ------
        DataError
            A ValueError: a weight is negative or infinite, or their sum is beyond 3e150.

        Examples
        --------
        >>> from streamnorm._sketch import QuantileSketch
        >>> QuantileSketch().update(range(5)).update(range(5, 10)).count
        10
        >>> QuantileSketch().update([1.0, 2.0, 3.0], weights=[1, 1, 8]).quantile(0.5)
        3.0
        """
        cdef const double[::1] view = _as_doubles(values)
        cdef int64_t n = view.shape[0]
        cdef sn_status status = SN_OK
        cdef Weights checked = None if weights is None else Weights(weights)
        if checked is not None and checked.size != n:
            raise ValueError(f"there are {checked.size} weights for {n} values")
        if n > 0:
            with self._lock:
                if checked is None:
                    with nogil:
                        status = sn_kll_update(self._kll, &view[0], n)
                elif not sn_kll_weight(self._kll) + checked.total <= SN_MAX_WEIGHT:
                    status = SN_ERR_WEIGHTS
                else:
                    with nogil:
                        status = sn_kll_update_weighted(self._kll, &view[0], checked.data, n)
            check(status)
        return self

    def merge(self, QuantileSketch other not None):
        """Take in all that another sketch has seen; the other one is left alone.

        Parameters
        ----------
        other : QuantileSketch
            Its `error` may differ: this sketch goes on with the larger one.

        Returns
        -------
        QuantileSketch
            This sketch.

        Examples
        --------
        >>> from streamnorm._sketch import QuantileSketch
        >>> QuantileSketch().update([1, 2]).merge(QuantileSketch().update([3])).quantile(1)
        3.0
        """
        cdef sn_status status
        cdef QuantileSketch part = other.copy()  # so that no two locks are ever held at once
        with self._lock:
            with nogil:
                status = sn_kll_merge(self._kll, part._kll)
        check(status)
        return self

    def copy(self):
        """An independent sketch with the same contents, which goes on with the same bits.

        Returns
        -------
        QuantileSketch
        """
        cdef sn_kll *kll
        with self._lock:
            with nogil:
                kll = sn_kll_copy(self._kll)
        return QuantileSketch._wrap(kll)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def quantile(self, q):
        """Value at a rank.

        While every value is held (:attr:`rank_error` is 0) this is ``numpy.quantile(values, q)``, bit for
        bit, except where NumPy's interpolation overflows or meets an infinity. After that it is the smallest
        value held whose rank is at least `q`. The minimum (0) and maximum (1) are always exact.

        With weights it is that smallest value from the start, by ranks that are fractions of the sum of the weights:
        ``numpy.quantile(values, q, weights=weights, method="inverted_cdf")``.

        Parameters
        ----------
        q : float or array_like
            Ranks from 0 to 1.

        Returns
        -------
        float or ndarray of float64
            As `q` is a scalar or not, and of its shape; NaN when the sketch is empty.

        Raises
        ------
        ValueError
            If any `q` lies outside 0 to 1.

        Examples
        --------
        >>> from streamnorm._sketch import QuantileSketch
        >>> QuantileSketch().update([1, 2, 3, 4]).quantile([0.25, 0.5]).tolist()
        [1.75, 2.5]
        """
        ranks = np.asarray(q, dtype=np.float64)
        flat = np.ascontiguousarray(ranks).reshape(-1)
        out = np.empty_like(flat)
        cdef const double[::1] ranks_view = flat
        cdef double[::1] out_view = out
        cdef int64_t n = ranks_view.shape[0]
        cdef sn_status status
        if n > 0:
            with self._lock:
                with nogil:
                    status = sn_kll_quantiles(self._kll, &out_view[0], &ranks_view[0], n)
            check(status)
        return float(out[0]) if ranks.ndim == 0 else out.reshape(ranks.shape)

    def rank(self, x):
        """Fraction of values, by their weights if they have any, that are at most `x`.

        Parameters
        ----------
        x : float or array_like

        Returns
        -------
        float or ndarray of float64
            As `x` is a scalar or not, and of its shape; NaN when the sketch is empty or `x` is NaN.

        Examples
        --------
        >>> from streamnorm._sketch import QuantileSketch
        >>> QuantileSketch().update([1, 2, 3, 4]).rank(2.5)
        0.5
        """
        points = np.asarray(x, dtype=np.float64)
        flat = np.ascontiguousarray(points).reshape(-1)
        out = np.empty_like(flat)
        cdef const double[::1] points_view = flat
        cdef double[::1] out_view = out
        cdef int64_t i
        with self._lock:
            with nogil:
                for i in range(points_view.shape[0]):
                    out_view[i] = sn_kll_rank(self._kll, points_view[i])
        return float(out[0]) if points.ndim == 0 else out.reshape(points.shape)

    def rank_interval(self, q, confidence=0.99):
        """Interval of ranks around `q` that the answer to it truly has.

        With v the value that ``quantile(q)`` returns, ``low <= q <= high``, and the ranks of v, which reach from
        the fraction of values below v to the fraction of values that are at most v, meet [low, high]. In other
        words: the rank of v that is nearest to `q` lies in [low, high]. While every value is held, v is the
        interpolated quantile and low and high are `q`.

        Parameters
        ----------
        q : float or array_like
            Ranks from 0 to 1.
        confidence : float, default 0.99
            Above 0 and at most 1. Each single interval fails with a probability of at most 1 - confidence over
            the seeds; with 1, none ever does. The latter are wide (at error 0.001, 0.02 to either side after a
            million values), because what is thrown away is chosen at random.

        Returns
        -------
        low, high : float or ndarray of float64
            Fractions of the count, of the shape of `q`; NaN when the sketch is empty.

        Raises
        ------
        ValueError
            If a `q` or the confidence is out of its domain.

        Notes
        -----
        The half width is at most sqrt(2 V ln(2 / (1 - confidence))) / count, with V the sum of the variance
        proxies of all random steps, which the state keeps through merges: Azuma and Hoeffding's inequality,
        applied to compactors as by Karnin, Lang and Liberty, "Optimal quantile approximation in streams" (FOCS
        2016), and to antithetic pairs of them as by Ivkin, Liberty, Lang, Karnin and Braverman, "Streaming
        quantiles algorithms with small space and update time" (2019). It is narrower where the sketch knows
        more: at the exact minimum and maximum, and at values so frequent that no error could pass them by.
        ``csrc/kll_certify.c`` has the proof.

        Examples
        --------
        >>> from streamnorm._sketch import QuantileSketch
        >>> sketch = QuantileSketch(0.01).update(range(100_000))
        >>> low, high = sketch.rank_interval(0.5)
        >>> 0.49 <= low <= sketch.quantile(0.5) / 100_000 <= high <= 0.51
        True
        >>> sketch.rank_interval(1.0, confidence=1)
        (1.0, 1.0)
        """
        return self._certify(q, confidence)[1:3]

    def value_interval(self, q, confidence=0.99):
        """Interval of values that holds the true quantile.

        The true one is that of all values, both the smallest value whose rank reaches `q` and the interpolated
        one of ``numpy.quantile``.

        Parameters
        ----------
        q : float or array_like
            Ranks from 0 to 1.
        confidence : float, default 0.99
            As for :meth:`rank_interval`.

        Returns
        -------
        low, high : float or ndarray of float64
            Of the shape of `q`; ``quantile(q)`` lies between them. NaN when the sketch is empty.

        Raises
        ------
        ValueError
            If a `q` or the confidence is out of its domain.

        Examples
        --------
        >>> from streamnorm._sketch import QuantileSketch
        >>> low, high = QuantileSketch(0.01).update(range(100_000)).value_interval(0.5)
        >>> low <= 49_999.5 <= high <= low + 2_000
        True
        """
        return self._certify(q, confidence)[3:]

    def _certify(self, q, confidence):
        """``(value, low, high, value_low, value_high)``, each a float or an array of the shape of `q`."""
        cdef double delta
        if not 0 < confidence <= 1:
            raise ValueError(f"confidence must be above 0 and at most 1, not {confidence!r}")
        delta = 1 - float(confidence)
        ranks = np.asarray(q, dtype=np.float64)
        flat = np.ascontiguousarray(ranks).reshape(-1)
        out = np.empty((flat.size, 5))
        cdef const double[::1] ranks_view = flat
        cdef double[:, ::1] out_view = out
        cdef int64_t n = ranks_view.shape[0]
        cdef sn_status status
        if n > 0:
            with self._lock:
                with nogil:
                    status = sn_kll_certify(
                        self._kll, <sn_kll_certificate *>&out_view[0, 0], &ranks_view[0], delta, n
                    )
            check(status)
        if ranks.ndim == 0:
            return tuple(map(float, out[0]))
        return tuple(np.ascontiguousarray(column).reshape(ranks.shape) for column in out.T)

    @property
    def error(self):
        """The rank error asked for."""
        with self._lock:
            return sn_kll_error(self._kll)

    @property
    def seed(self):
        """The seed given."""
        with self._lock:
            return sn_kll_seed(self._kll)

    @property
    def count(self):
        """How many values were taken in, NaN and null apart."""
        with self._lock:
            return sn_kll_count(self._kll)

    @property
    def weighted(self):
        """Whether values came with weights."""
        with self._lock:
            return bool(sn_kll_is_weighted(self._kll))

    @property
    def weight(self):
        """Sum of the weights of the values, which are 1 unless given."""
        with self._lock:
            return sn_kll_weight(self._kll)

    @property
    def min(self):
        """Smallest value, exactly; NaN when empty."""
        with self._lock:
            return sn_kll_min(self._kll)

    @property
    def max(self):
        """Largest value, exactly; NaN when empty."""
        with self._lock:
            return sn_kll_max(self._kll)

    @property
    def rank_error(self):
        """Bound on the rank error of a single query at 99 % confidence, as it is now; 0 while exact."""
        with self._lock:
            return sn_kll_rank_error(self._kll)

    @property
    def rank_error_worst(self):
        """Bound on the rank error of every query, whatever the seed."""
        with self._lock:
            return sn_kll_rank_error_worst(self._kll)

    @property
    def nbytes(self):
        """Memory held now, in bytes."""
        with self._lock:
            return sn_kll_nbytes(self._kll)

    def to_bytes(self):
        """The state, little-endian and the same on every machine.

        Returns
        -------
        bytes

        Examples
        --------
        >>> from streamnorm._sketch import QuantileSketch
        >>> QuantileSketch.from_bytes(QuantileSketch().update([1, 2]).to_bytes()).count
        2
        """
        with self._lock:
            out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>sn_kll_serialized_size(self._kll))
            sn_kll_serialize(<unsigned char *>PyBytes_AS_STRING(out), self._kll)
        return out

    @classmethod
    def from_bytes(cls, data):
        """The sketch that :meth:`to_bytes` wrote; it goes on with the same bits.

        Parameters
        ----------
        data : bytes-like

        Returns
        -------
        QuantileSketch

        Raises
        ------
        StateError
            A ValueError: the bytes were cut, edited, or written by a later version.
        """
        cdef const unsigned char[::1] view = memoryview(data).cast("B")
        cdef sn_kll *kll = NULL
        cdef sn_status status = SN_ERR_CORRUPT
        cdef size_t size = <size_t>view.shape[0]
        if size > 0:
            with nogil:
                status = sn_kll_deserialize(&kll, &view[0], size)
        check(status)
        return QuantileSketch._wrap(kll)

    def __reduce__(self):
        return QuantileSketch.from_bytes, (self.to_bytes(),)

    def __repr__(self):
        seen = f"count={self.count}, rank_error={self.rank_error:.2g}"
        return f"QuantileSketch(error={self.error:g}, seed={self.seed}, {seen})"


# ------------------------------------------------------------------ for other Cython code (see _sketch.pxd)

cdef int sketch_update_float64(QuantileSketch sketch, const double *values, int64_t length) noexcept nogil:
    return sn_kll_update(sketch._kll, values, length)


cdef int sketch_quantiles(QuantileSketch sketch, double *out, const double *q, int64_t length) noexcept nogil:
    return sn_kll_quantiles(sketch._kll, out, q, length)
