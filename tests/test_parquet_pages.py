"""Page kernels against their NumPy twins, on every bit offset, and statistics of every float16."""

import numpy as np
import pytest

from streamnorm.parquet import _pages, reference

DTYPES = ["f2", "f4", "f8"]
CANARY = 0xA5


def values_of(dtype, n, seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(n).astype(dtype)
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    at = rng.random(n) < 0.1
    values[at] = rng.choice(special, at.sum())
    return values


def both(values, mask, offset, levels=True):
    """Pack with kernel and twin, into buffers with canaries; returns pages and statistics."""
    size, rows = values.itemsize, len(values)
    validity = None
    if mask is not None:
        # Bits outside of the slice are set: whoever reads them gets other values.
        bits = np.concatenate([np.ones(offset, bool), mask, np.ones(-(offset + rows) % 8, bool)])
        validity = np.packbits(bits, bitorder="little")
    valid = rows if mask is None else int(mask.sum())
    head = _pages.levels_bytes(rows, valid) if levels else 0
    start = -head % 8
    results = []
    for module in (_pages, reference):
        out = np.full(start + head + (valid + 1) * size + 8, CANARY, np.uint8)
        stats = module.PageStats()
        n = module.pack_page(
            out[:-8], start, stats, values.view(np.uint8), size, validity, offset, rows, valid, levels
        )
        assert n == head + valid * size
        assert (out[:start] == CANARY).all() and (out[-8:] == CANARY).all(), (module, rows, offset)
        if validity is not None:
            assert module.count_valid(validity, offset, rows) == valid
        assert module.levels_bytes(rows, valid) == head or not levels
        page = out[start : start + n].tobytes()
        results.append((page, stats.min, stats.max, stats.count, stats.nan_count))
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [*range(8), 13, 64, 129])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.97, 1.0])
def test_pages_are_those_of_the_twin(dtype, offset, share):
    for rows in (1, 7, 8, 9, 63, 64, 65, 127, 128, 1023, 1025, 2111):
        seed = [rows, offset]
        values = values_of(dtype, rows, seed)
        mask = np.random.default_rng(seed).random(rows) >= share
        mask[rows // 3 : 2 * rows // 3] = share < 0.5  # whole words of one kind
        kernel, twin = both(values, mask, offset)
        assert kernel == twin, (rows, offset)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", [True, False])
def test_pages_without_a_bitmap(dtype, levels):
    for rows in (1, 31, 32, 33, 1024, 3000):
        kernel, twin = both(values_of(dtype, rows, rows), None, 0, levels)
        assert kernel == twin


def test_levels_have_the_bytes_of_the_specification():
    mask = np.array([1, 0, 1, 1, 0, 0, 0, 0, 1, 1], bool)
    page = both(np.ones(10), mask, 3)[0][0]
    assert page[:7].hex() == "03000000" + "05" + "0d03"  # 2 groups of 8, bit-packed
    for mask, value in ((np.ones(200, bool), "01"), (np.zeros(200, bool), "00")):
        page = both(np.ones(200), mask, 3)[0][0]
        assert page[:7].hex() == "03000000" + "9003" + value  # a run of 200


def test_every_float16():
    every = np.arange(1 << 16, dtype=np.uint16).view("f2")
    for value in every:
        stats = _pages.PageStats()
        _pages.pack_page(None, 0, stats, np.array([value]).view(np.uint8), 2, None, 0, 1, 1, False)
        assert stats.count == 1 and stats.nan_count == np.isnan(value)
        if not np.isnan(value):
            assert stats.min == stats.max == float(value)
    kernel, twin = both(every, None, 0)
    assert kernel == twin


@pytest.mark.parametrize("dtype", DTYPES)
def test_extrema_at_every_place(dtype):
    values = np.zeros(200, dtype)
    for at in range(200):
        values[:] = np.nan
        values[at] = -3
        values[(at + 71) % 200] = 5
        stats = _pages.PageStats()
        _pages.pack_page(None, 0, stats, values.view(np.uint8), values.itemsize, None, 0, 200, 200, False)
        assert (stats.min, stats.max, stats.count, stats.nan_count) == (-3, 5, 200, 198), at


def test_statistics_run_on_over_pages():
    stats = _pages.PageStats()
    assert (stats.min, stats.max) == (np.inf, -np.inf)
    for part in ([1.0, 2.0], [np.nan], [-4.0], [np.inf]):
        raw = np.array(part).view(np.uint8)
        _pages.pack_page(None, 0, stats, raw, 8, None, 0, len(part), len(part), False)
    assert (stats.min, stats.max, stats.count, stats.nan_count) == (-4, np.inf, 5, 1)


def test_what_does_not_fit_is_refused():
    values, out, bits = np.zeros(16).view(np.uint8), np.zeros(400, np.uint8), np.zeros(2, np.uint8)

    def pack(out=out, start=2, values=values, size=8, validity=bits, offset=0, rows=16, valid=0):
        return _pages.pack_page(
            out, start, _pages.PageStats(), values, size, validity, offset, rows, valid, True
        )

    assert pack() == 6
    wrong = [
        dict(size=3), dict(rows=15), dict(rows=0), dict(valid=17), dict(valid=-1), dict(offset=1),
        dict(offset=-1), dict(valid=5), dict(validity=None), dict(out=np.zeros(14, np.uint8)), dict(start=-1),
        dict(start=1), dict(out=None), dict(values=np.zeros(129, np.uint8)[1:]),
    ]  # fmt: skip
    for case in wrong:
        with pytest.raises(ValueError):
            pack(**case)
    for case in ((bits, 0, 17), (bits, -1, 3), (bits, 3, -1), (bits, 2**62, 2**62)):
        with pytest.raises(ValueError):
            _pages.count_valid(*case)
