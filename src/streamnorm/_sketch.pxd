"""The quantile sketch for other Cython modules.

Cimport ``QuantileSketch`` and call ``sn_kll_update`` on its ``_kll``, without the GIL, with ``_lock`` held.
"""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "kll.h" nogil:
    ctypedef enum sn_status:
        SN_OK
        SN_ERR_NOMEM
        SN_ERR_INVALID
        SN_ERR_CORRUPT
        SN_ERR_INCOMPATIBLE

    double SN_KLL_MIN_ERROR
    double SN_KLL_MAX_ERROR

    ctypedef struct sn_kll:
        pass

    sn_kll *sn_kll_new(double error, uint64_t seed)
    sn_kll *sn_kll_copy(const sn_kll *kll)
    void sn_kll_free(sn_kll *kll)
    sn_status sn_kll_update(sn_kll *kll, const double *values, int64_t n)
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
    size_t sn_kll_serialized_size(const sn_kll *kll)
    void sn_kll_serialize(unsigned char *out, const sn_kll *kll)
    sn_status sn_kll_deserialize(sn_kll **out, const unsigned char *data, size_t size)


cdef class QuantileSketch:
    cdef sn_kll *_kll  # owned, never NULL
    cdef object _lock

    @staticmethod
    cdef QuantileSketch _wrap(sn_kll *kll)  # takes over `kll`; NULL raises MemoryError
