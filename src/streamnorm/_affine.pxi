# Part of _core.pyx: the affine transform.

cdef sn_affine_map affine_map(double center, double scale, double offset, clip, bint inverse) except *:
    cdef sn_affine_map map
    # x + -0.0 and x - 0.0 are x for every x, -0.0 included; x + 0.0 is not.
    map.scale, map.inverse = scale, inverse
    map.center = center if center != 0.0 else (-0.0 if inverse else 0.0)
    map.offset = offset if offset != 0.0 else (0.0 if inverse else -0.0)
    map.low, map.high = (-INFINITY, INFINITY) if clip is None else clip
    return map


def affine(array, double center, double scale, double offset=0.0, *, clip=None, bint inverse=False, dtype=np.float64,
           out=None):
    """``(x - center) / scale + offset``, computed in double precision, then clipped and cast.

    Parameters
    ----------
    array : ndarray of shape (n,), Arrow array, or, with `out`, Arrow chunked array or stream
        Values under nulls come out unspecified: the validity bitmap stays the caller's.
    center, scale, offset : float
    clip : (float, float), optional
        Bounds of the result. NaN passes.
    inverse : bool, default False
        Compute ``(y - offset) * scale + center`` instead; `clip` does not apply.
    dtype : numpy float dtype, default float64
    out : ndarray of shape (n,), contiguous, of `dtype`, optional
        Where to write; may be `array` itself.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> affine(np.array([1.0, 2.0, 3.0]), center=2.0, scale=2.0)
    array([-0.5,  0. ,  0.5])
    """
    cdef sn_array data
    cdef NumpyBuffer buffer, target
    cdef int type = 0
    cdef int32_t scale_digits = 0
    cdef sn_affine_map map = affine_map(center, scale, offset, clip, inverse)
    cdef sn_type out_type
    cdef ArrowSchema *schema
    cdef ArrowArray *arrow
    if not isinstance(array, np.ndarray) and hasattr(array, "__arrow_c_array__"):
        schema_capsule, array_capsule = array.__arrow_c_array__()
        schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, b"arrow_schema")
        arrow = <ArrowArray *>PyCapsule_GetPointer(array_capsule, b"arrow_array")
        if is_encoded(schema):
            return affine(plain_arrow(array), center, scale, offset, clip=clip, inverse=inverse, dtype=dtype, out=out)
        arrow_type(&type, &scale_digits, schema)
        if type == NULL_TYPE:
            return np.full(arrow.length, np.nan, dtype) if out is None else out
        fill_from_arrow(&data, type, scale_digits, arrow)
    elif out is not None and not isinstance(array, np.ndarray) and hasattr(array, "__arrow_c_stream__"):
        return affine_stream(array, &map, np.dtype(dtype), out)
    else:
        array = as_numeric_ndarray(array)
        if array.ndim != 1:
            raise ValueError(f"expected an array of one dimension, got shape {array.shape}")
        buffer = NumpyBuffer(array)
        fill_from_numpy(&data, buffer, numpy_type(array))
    dtype = np.dtype(dtype)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise TypeError(f"the result is float16, float32 or float64, not {dtype}")
    if out is None:
        out = np.empty(data.length, dtype)
    elif out.dtype != dtype or out.shape != (data.length,) or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous {dtype} array of shape ({data.length},)")
    target = NumpyBuffer(out, writable=True)
    out_type = numpy_type(out)
    with nogil:
        sn_affine_array(target.view.buf, out_type, &data, &map)
    return out


cdef affine_stream(obj, const sn_affine_map *map, dtype, out):
    """The map over a column in chunks, into one array; no Python is run between them."""
    cdef sn_array data
    cdef ArrowStream stream = ArrowStream(obj)
    cdef NumpyBuffer target
    cdef sn_type out_type
    cdef int64_t at = 0, length, width
    if stream.encoded:
        return affine_stream(plain_arrow(obj), map, dtype, out)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise TypeError(f"the result is float16, float32 or float64, not {dtype}")
    if out.dtype != dtype or out.ndim != 1 or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous {dtype} array of one dimension")
    target = NumpyBuffer(out, writable=True)
    out_type, length, width = numpy_type(out), out.shape[0], out.itemsize
    while stream.next(&data):
        if data.length > length - at:
            raise ValueError(f"out has room for {length} values, and there are more")
        if stream.type == NULL_TYPE:
            out[at:at + data.length] = np.nan
        else:
            with nogil:
                sn_affine_array(<char *>target.view.buf + at * width, out_type, &data, map)
        at += data.length
    if at != length:
        raise ValueError(f"out has room for {length} values, and there are {at}")
    return out


def affine_matrix(X, center, scale, offset, *, clip=None, bint inverse=False, out=None):
    """`affine` for each column of a matrix.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    center, scale, offset : array-like of shape (d,)
    clip : sequence of (float, float) or None, of length d, optional
        Bounds for each column.
    inverse : bool, default False
    out : ndarray of shape (n, d), C-contiguous, optional
        May be `X` itself.

    Returns
    -------
    ndarray of shape (n, d)
        Of X's dtype when that is a float, else float64.
    """
    cdef NumpyBuffer source, target
    cdef int64_t n, d, j
    cdef sn_affine_map *maps
    cdef double *scratch
    X = as_numeric_ndarray(X)
    if X.ndim != 2:
        raise ValueError(f"expected an array of two dimensions, got shape {X.shape}")
    n, d = X.shape
    center, scale, offset = (np.asarray(a, np.float64) for a in (center, scale, offset))
    if not center.shape == scale.shape == offset.shape == (d,):
        raise ValueError(f"center, scale and offset need the shape ({d},)")
    dtype = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
    if out is None:
        out = np.empty((n, d), dtype)
    elif out.dtype != dtype or out.shape != (n, d) or not out.flags.c_contiguous:
        raise ValueError(f"out must be a C-contiguous {dtype} array of shape ({n}, {d})")
    if n == 0 or d == 0:
        return out
    clips = [None] * d if clip is None else list(clip)
    if X.dtype != dtype or not X.flags.c_contiguous or dtype.itemsize == 2:
        for j in range(d):
            out[:, j] = affine(X[:, j], center[j], scale[j], offset[j], clip=clips[j], inverse=inverse, dtype=dtype)
        return out
    source, target = NumpyBuffer(X), NumpyBuffer(out, writable=True)
    maps = <sn_affine_map *>malloc(d * sizeof(sn_affine_map))
    scratch = <double *>malloc(5 * d * sizeof(double))
    try:
        if maps == NULL or scratch == NULL:
            raise MemoryError
        for j in range(d):
            maps[j] = affine_map(center[j], scale[j], offset[j], clips[j], inverse)
        with nogil:
            if source.view.itemsize == 8:
                sn_affine_rows_float64(<double *>target.view.buf, <const double *>source.view.buf, maps, scratch, n, d)
            else:
                sn_affine_rows_float32(<float *>target.view.buf, <const float *>source.view.buf, maps, scratch, n, d)
    finally:
        free(maps)
        free(scratch)
    return out
