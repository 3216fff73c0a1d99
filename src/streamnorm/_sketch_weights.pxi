# Included by _sketch.pyx: weights of rows, and the check that they are some.

cdef extern from "weights.h" nogil:
    int64_t sn_weights_sum(double *weight, double *weight_lo, int64_t *bad, const double *w, int64_t n)


cdef class Weights:
    """Weights of rows, checked: finite and not negative, zero where one is missing (null or NaN).

    Parameters
    ----------
    weights : array_like of shape (n,), Arrow array, or Weights
    first_row : int, default 0
        Number of the first row, for the error that names one.

    Raises
    ------
    DataError
        A ValueError: a weight is negative or infinite, or their sum is beyond 3e150.

    Examples
    --------
    >>> from streamnorm._sketch import Weights
    >>> weights = Weights([2.0, float("nan"), 0.5])
    >>> len(weights), weights.total, weights.positive
    (3, 2.5, 2)
    """

    def __cinit__(self, weights, int64_t first_row=0):
        cdef int64_t bad = 0
        cdef double low
        cdef const double[::1] view
        if isinstance(weights, Weights):
            weights = (<Weights>weights).values
        array = _weight_array(weights)
        missing = np.isnan(array)
        if missing.any():
            array = np.where(missing, 0.0, array)
        self.values = array
        self.size = array.shape[0]
        if self.size == 0:
            return
        view = array
        self.data = &view[0]
        with nogil:
            self.positive = sn_weights_sum(&self.total, &low, &bad, self.data, self.size)
        if bad < self.size:
            raise DataError(f"weights are finite and not negative, but row {first_row + bad} has {array[bad]:g}")
        if not self.total <= SN_MAX_WEIGHT:
            raise _too_heavy()

    def __len__(self):
        return self.size

    def __getitem__(self, rows):
        """The weights of a slice of the rows."""
        return Weights(self.values[rows])


def _weight_array(weights):
    """One-dimensional, contiguous float64 array of ``weights``, nulls as NaN."""
    if type(weights).__module__.startswith("pyarrow") or hasattr(weights, "__arrow_c_stream__"):
        import pyarrow as pa

        if not isinstance(weights, (pa.Array, pa.ChunkedArray)):
            weights = pa.chunked_array(weights)
        weights = weights.cast("float64").to_numpy(zero_copy_only=False)
    array = np.asarray(weights)
    if array.dtype.kind not in "biufO":
        raise TypeError(f"weights are numbers, not {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"weights have one dimension, a number for each row, not shape {array.shape}")
    return np.ascontiguousarray(array, dtype=np.float64)
