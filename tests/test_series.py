"""Windows of series: which there are, what they hold, and that nothing is seen across the split."""

import copy
import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamnorm as sn
from streamnorm._rows import gather_windows
from streamnorm.errors import DataError
from streamnorm.reference import batches as twins

SEED = 20130101
WEATHER = "examples/data/weather.parquet"
HOUR = datetime.timedelta(hours=1)


def expected(table, part, *, columns, targets, length, horizon, stride, group=None, time=None, limit, max_step=None):
    """The windows of a part, the slow way: (rows of inputs, values of targets) by the target's place, and how many lack
    a value.

    `limit`: rows of each group before the split, or with `time` a time.
    """
    rows = table.to_pylist()
    seen, series = {}, {}
    for number, row in enumerate(rows):
        key = None if group is None else row[group]
        place = seen[key] = seen.get(key, -1) + 1
        before = row[time] < limit if time is not None else place < limit
        if before == (part == "train"):
            series.setdefault(key, []).append((number, row))
    found, lacking = [], 0
    for mine in series.values():
        cuts = [0, len(mine)]
        if max_step is not None:
            cuts += [i for i in range(1, len(mine)) if mine[i][1][time] - mine[i - 1][1][time] > max_step]
        cuts.sort()
        for begin, end in zip(cuts, cuts[1:], strict=False):
            for start in range(begin, end - length - horizon + 1, stride):
                x = [[row[name] for name in columns] for _, row in mine[start : start + length]]
                last, row = mine[start + length - 1 + horizon]
                y = [row[name] for name in targets]
                if any(value is None or value != value for values in [*x, y] for value in values):
                    lacking += 1
                else:
                    found.append((last, x, y))
    found.sort(key=lambda window: window[0])
    shape = (len(found), length, len(columns))
    x = np.array([x for _, x, _ in found], np.float32).reshape(shape)
    return x, np.array([y for *_, y in found], np.float32).reshape(len(found), len(targets)), lacking


def with_blocks(windows, rows):
    """The same windows, made of blocks of so few rows."""
    for stream in (windows.train, windows.validation):
        stream._maker.capacity, stream._maker.whole = rows, False
        stream._kept = stream._found = None
    return windows


def gathered(stream):
    """The batches of an epoch one after another."""
    batches = list(stream)
    if not batches:
        return None
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def as_set(x, y):
    return sorted(row.tobytes() + value.tobytes() for row, value in zip(x, y, strict=True))


def sensors(rows=300, groups=3, seed=SEED, gaps=0.1, holes=0.05):
    """Interleaved series of unequal length, with gaps and missing values."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, groups, rows)
    step = np.where(rng.random(rows) < gaps, 5, 1)
    time = np.empty(rows, np.int64)
    for g in range(groups):
        time[at == g] = np.cumsum(step[at == g])
    values = rng.normal(size=(rows, 2))
    holes = rng.random((rows, 2)) < holes
    return pa.table(
        {
            "sensor": [f"s{g}" for g in at],
            "tick": time,
            "a": pa.array(values[:, 0], mask=holes[:, 0]),
            "b": np.where(holes[:, 1], np.nan, values[:, 1]),
            "c": np.arange(rows) * 1.0,
        }
    )


# Which windows there are


def test_a_series_of_one_column():
    windows = sn.Windows(np.arange(20.0), length=4, horizon=2, split=0.7, scaler=None)
    x, y = windows.train.arrays()
    assert x.dtype == y.dtype == np.float32
    assert x.shape == (9, 4, 1) and y.shape == (9,)
    np.testing.assert_array_equal(x[:, :, 0], np.arange(9)[:, None] + np.arange(4))
    np.testing.assert_array_equal(y, np.arange(9) + 5)
    x, y = windows.validation.arrays()
    np.testing.assert_array_equal(x[:, 0, 0], [14])
    np.testing.assert_array_equal(y, [19])
    assert windows.split_ == 14
    assert windows.sample_shape == windows.train.sample_shape == (4, 1)


def test_windows_as_keras_makes_them():
    """timeseries_dataset_from_array(data, data[length - 1 + horizon:], length, sequence_stride=stride)."""
    data, length, horizon, stride = np.arange(41.0), 5, 3, 4
    targets = data[length - 1 + horizon :]
    starts = [i for i in range(0, len(data) - length + 1, stride) if i < len(targets)]
    windows = sn.Windows(data, length=length, horizon=horizon, stride=stride, split=None, scaler=None)
    x, y = windows.train.arrays()
    np.testing.assert_array_equal(x[:, :, 0], [data[i : i + length] for i in starts])
    np.testing.assert_array_equal(y, targets[starts])


def test_no_window_where_the_stretch_is_too_short():
    windows = sn.Windows(np.arange(10.0), length=8, split=0.9)
    assert len(windows.train) == 1 and len(windows.validation) == 0
    assert list(windows.validation) == []
    assert windows.validation.arrays()[0].shape == (0, 8, 1)
    for split in (0.8, 0.1):
        with pytest.raises(DataError, match="no window over 9 rows to train on"):
            list(sn.Windows(np.arange(10.0), length=8, split=split).train)
    with pytest.raises(DataError, match="all 1 lack a value"):
        list(sn.Windows(np.where(np.arange(10) == 4, np.nan, 1.0), length=8, split=0.9).train)


def test_without_a_split_all_is_for_training():
    windows = sn.Windows(np.arange(10.0), length=2, split=None)
    assert windows.train.num_windows == 8 and windows.validation.num_windows == 0
    assert windows.scaler_.n_samples_seen_ == 10


CASES = {
    "rows of each group": dict(group="sensor", split=40, limit=40),
    "time of groups": dict(group="sensor", time="tick", split=100, limit=100),
    "gaps": dict(group="sensor", time="tick", split=100, limit=100, max_step=1),
    "one series": dict(split=200, limit=200),
}


@pytest.mark.parametrize("stride", [1, 3, 7])
@pytest.mark.parametrize("case", CASES)
def test_windows_are_those_of_the_definition(case, stride):
    options = dict(CASES[case])
    limit = options.pop("limit")
    table, shape = sensors(), dict(length=3, horizon=2, stride=stride)
    windows = sn.Windows(table, ["a", "b", "c"], target=["b", "c"], scaler=None, shuffle=False, **shape, **options)
    split = options.pop("split")
    assert windows.split_ == split
    skipped = 0
    for part in ("train", "validation"):
        want = expected(
            table, part, columns=["a", "b", "c"], targets=["b", "c"], limit=limit, **shape, **options
        )
        x, y = getattr(windows, part).arrays()
        assert len(want[0])
        np.testing.assert_array_equal(x, want[0])
        np.testing.assert_array_equal(y, want[1])
        assert getattr(windows, part).skipped == want[2]
        assert getattr(windows, part).num_windows == len(want[0])
        skipped += want[2]
    assert windows.skipped == skipped > 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(40, 200),
    groups=st.integers(1, 5),
    length=st.integers(1, 6),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=10),
    block=st.integers(12, 80),
    case=st.sampled_from(sorted(CASES)),
)
def test_any_chunking_and_any_blocks_give_the_same_windows(
    seed, rows, groups, length, horizon, stride, sizes, block, case
):
    table = sensors(rows, groups, seed)
    options = dict(CASES[case])
    limit = options.pop("limit") // 4
    options["split"] = limit
    pieces, at = [], 0
    while at < rows:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(table.slice(at, size))
        at += size
    shape = dict(length=length, horizon=horizon, stride=stride)
    chosen = dict(columns=["a", "c"], target="b", scaler=None, memory="16MB", **shape, **options)
    options.pop("split")
    whole = sn.Windows(table, **chosen)
    pieced = sn.Windows(pieces, **chosen)
    span = length + horizon
    carried = (groups if "group" in options else 1) * (span - 1)
    blocked = [with_blocks(sn.Windows(source, **chosen), block + 2 * carried) for source in (table, pieces)]
    for part in ("train", "validation"):
        want = expected(table, part, columns=["a", "c"], targets=["b"], limit=limit, **shape, **options)
        for windows in (whole, pieced, *blocked):
            stream = getattr(windows, part)
            x, y = stream.arrays()
            np.testing.assert_array_equal(x, want[0])
            np.testing.assert_array_equal(y, want[1][:, 0])
            if len(x) or part == "validation":
                mixed = gathered(stream)
                assert stream.skipped == want[2] and stream.num_windows == len(x)
                assert mixed is None if not len(x) else as_set(*mixed) == as_set(x, y)
        if len(want[0]):
            for one, other in ((whole, pieced), blocked):
                for a, b in zip(getattr(one, part), getattr(other, part), strict=True):
                    np.testing.assert_array_equal(a[0], b[0])
                    np.testing.assert_array_equal(a[1], b[1])


def test_validation_keeps_its_order_through_blocks():
    table = sensors()
    options = dict(columns="c", scaler=None, group="sensor", split=20, length=3)
    whole, blocked = sn.Windows(table, **options), with_blocks(sn.Windows(table, **options), 40)
    for (x, y), (other_x, other_y) in zip(whole.validation, blocked.validation, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


# Nothing is seen across the split


def bits(windows, part):
    """Everything that a part gives and everything that was fitted, as bytes."""
    stream = getattr(windows, part)
    stream.set_epoch(0)
    found = [array.tobytes() for epoch in range(2) for batch in stream for array in batch]
    fitted = [scaler for scaler in (windows.scaler_, windows.target_scaler_) if scaler is not None]
    return found, [scaler.digest() for scaler in fitted]


SPLITS = {
    "fraction of rows": dict(split=0.6),
    "number of rows": dict(split=180),
    "fraction of each group": dict(split=0.6, group="sensor"),
    "rows of each group": dict(split=50, group="sensor"),
    "fraction of time": dict(split=0.6, group="sensor", time="tick"),
    "time": dict(split=100, group="sensor", time="tick", max_step=1),
}


def rows_before(table, windows, options):
    seen, before = {}, []
    for row in table.to_pylist():
        key = row[options["group"]] if "group" in options else None
        place = seen[key] = seen.get(key, -1) + 1
        before.append((key, row["tick"], place))
    if "time" in options:
        return np.array([time < windows.split_ for _, time, _ in before])
    if isinstance(windows.split_, float):
        return np.array([place < round(windows.split_ * (seen[key] + 1)) for key, _, place in before])
    return np.array([place < windows.split_ for *_, place in before])


@pytest.mark.parametrize("block", [None, 60])
@pytest.mark.parametrize("impute", [False, True])
@pytest.mark.parametrize("case", SPLITS)
def test_training_keeps_its_bits_whatever_comes_after_the_split(case, impute, block):
    options = SPLITS[case]

    def made(table):
        windows = sn.Windows(
            table, ["a", "b"], target="a", length=4, horizon=2, batch_size=8, impute=impute, scaler="robust", **options
        )
        return with_blocks(windows, block) if block else windows

    table = sensors()
    first = made(table)
    before = rows_before(table, first, options)
    assert 100 < before.sum() < 250

    def changed(where):
        other = table
        for name in ("a", "b"):
            values = np.where(where, 1e6 * np.arange(len(table)), table[name].to_numpy())
            mask = np.where(where, np.arange(len(table)) % 11 == 3, table[name].is_null().to_numpy())
            other = other.set_column(table.schema.get_field_index(name), name, pa.array(values, mask=mask))
        return other

    assert bits(first, "train")[0]
    assert bits(made(changed(~before)), "train") == bits(first, "train")
    assert bits(made(changed(~before)), "validation")[0] != bits(first, "validation")[0]

    def unscaled(table):  # what is fitted comes from before the split, as it should
        windows = sn.Windows(table, ["a", "b"], target="a", length=4, horizon=2, batch_size=8, scaler=None, **options)
        return bits(with_blocks(windows, block) if block else windows, "validation")[0]

    assert unscaled(changed(before)) == unscaled(table) != []


@pytest.mark.parametrize("method", ["standard", "minmax", "robust", sn.RobustScaler(exact=True)])
@pytest.mark.parametrize("case", SPLITS)
def test_the_scaler_is_that_of_the_rows_before_the_split(case, method, tmp_path):
    table, options = sensors(), SPLITS[case]
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=70)
    for source in (table, tmp_path / "t.parquet", [table.slice(0, 33), table.slice(33)]):
        windows = sn.Windows(source, ["a", "c"], target="c", length=4, scaler=method, **options)
        before = table.filter(pa.array(rows_before(table, windows, options)))
        wanted = sn.fit(before, copy.deepcopy(method), columns=["a", "c"])
        assert windows.scaler_.digest() == wanted.digest()
        assert windows.scaler_._maps() == wanted._maps()
        assert windows.target_scaler_._maps()["c"] == wanted._maps()["c"]
    assert isinstance(method, str) or not method.__sklearn_is_fitted__()


def test_an_array_has_the_scaler_of_its_rows_before_the_split():
    data = np.random.default_rng(SEED).normal(3, 2, size=(100, 3))
    windows = sn.Windows(data, [2, 0], target=1, length=4, split=70)
    np.testing.assert_allclose(windows.scaler_.mean_, data[:70][:, [2, 0]].mean(0), rtol=1e-12)
    np.testing.assert_allclose(windows.target_scaler_.mean_, data[:70, 1].mean(), rtol=1e-12)
    x, y = windows.train.arrays()
    scaled = (data - data[:70].mean(0)) / data[:70].std(0)
    np.testing.assert_allclose(x[5], scaled[5:9][:, [2, 0]], rtol=1e-6)
    np.testing.assert_allclose(y[5], scaled[9, 1], rtol=1e-6)
    np.testing.assert_allclose(windows.inverse_target(y), data[4:70, 1], rtol=1e-6)


# Scalers and targets


def test_targets_by_their_shapes():
    data = np.arange(30.0).reshape(10, 3)
    shapes = {None: (7, 3), 1: (7,), (1,): (7, 1), (2, 0): (7, 2)}
    for target, shape in shapes.items():
        windows = sn.Windows(data, target=list(target) if isinstance(target, tuple) else target, length=2, split=9)
        x, y = windows.train.arrays()
        assert x.shape == (7, 2, 3) and y.shape == shape
        back = windows.inverse_target(y)
        assert back.shape == shape
        columns = [0, 1, 2] if target is None else target
        np.testing.assert_allclose(back, data[2:9, columns], rtol=1e-6)
    one = sn.Windows(data[:, 0], length=2)
    assert one.inverse_target(np.zeros((4, 1))).shape == (4, 1)
    with pytest.raises(ValueError, match="there are 3 targets"):
        sn.Windows(data, length=2).inverse_target(np.zeros((4, 2)))


def test_a_fitted_scaler_is_used_as_it_is():
    table = sensors(holes=0)
    scaler = sn.StandardScaler().fit(table.select(["a", "b"]))
    digest = scaler.digest()
    windows = sn.Windows(table, target="a", length=3, scaler=scaler, split=0.5)
    assert windows.scaler_ is windows.target_scaler_ is scaler and scaler.digest() == digest
    assert windows.columns == ["a", "b"]
    x, y = windows.train.arrays()
    want = scaler.transform(table)
    np.testing.assert_allclose(x[4, :, 1], want["b"].to_numpy()[4:7], rtol=1e-6)
    np.testing.assert_allclose(windows.inverse_target(y), table["a"].to_numpy()[3:150], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="not fitted on the target 'c'"):
        sn.Windows(table, ["a"], target="c", length=3, scaler=scaler)
    by_position = sn.StandardScaler().fit(np.column_stack([table["a"].to_numpy(), table["b"].to_numpy()]))
    other = sn.Windows(table.select(["a", "b"]), target="a", length=3, scaler=by_position, split=0.5)
    np.testing.assert_array_equal(other.train.arrays()[0], x)


def test_a_method_for_each_column():
    table = sensors(holes=0)
    with pytest.raises(ValueError, match="give a target_scaler"):
        sn.Windows(table, ["a", "b"], target="a", scaler={"a": "minmax", "b": "robust"}, length=3)
    windows = sn.Windows(
        table, ["a", "b"], target="a", scaler={"a": "minmax", "b": "robust"}, target_scaler="minmax", length=3
    )
    x, y = windows.train.arrays()
    assert np.all((x[:, :, 0] >= 0) & (x[:, :, 0] <= 1)) and np.all((y >= 0) & (y <= 1))
    assert x[:, :, 1].min() < 0
    partly = sn.Windows(table, ["a", "b"], target="a", scaler={"b": "robust"}, target_scaler=None, length=3)
    np.testing.assert_array_equal(partly.train.arrays()[0][:, :, 1], x[:, :, 1])
    np.testing.assert_array_equal(partly.train.arrays()[0][:, 0, 0], table["a"].to_numpy().astype(np.float32)[:237])
    plain = sn.Windows(table, ["a", "b"], target="a", target_scaler=None, length=3)
    assert plain.target_scaler_ is None
    np.testing.assert_array_equal(plain.train.arrays()[1], table["a"].to_numpy().astype(np.float32)[3:240])
    np.testing.assert_array_equal(plain.inverse_target([1.5]), [1.5])


def test_an_imputed_value_is_the_center_before_the_split():
    data = np.r_[np.arange(10.0), np.full(10, 100.0)]
    data[[3, 15]] = np.nan
    before = np.delete(np.arange(10.0), 3)
    windows = sn.Windows(data, length=2, split=10, impute=True, scaler="standard")
    x, y = windows.train.arrays()
    assert len(x) == 7 and windows.train.skipped == 1  # the one whose target is missing
    assert x[1, 1, 0] == x[2, 0, 0] == 0.0  # the mean, scaled
    robust = sn.Windows(data, length=2, split=10, impute=True, scaler="robust")
    x, _ = robust.validation.arrays()
    assert x[3, 1, 0] == x[4, 0, 0] == 0.0
    np.testing.assert_allclose(robust.scaler_.center_, np.median(before))
    with pytest.raises(ValueError, match="impute needs a scaler"):
        sn.Windows(data, length=2, scaler=None, impute=True)


# Times and groups


def test_rows_out_of_order_are_an_error(tmp_path):
    time = np.arange(100)
    time[57] = 56
    table = pa.table({"t": time, "a": np.arange(100.0), "g": ["x"] * 100})
    pq.write_table(table.slice(0, 20).set_column(0, "t", pa.array(np.arange(-20, 0))), tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=25)
    for options in ({}, {"group": "g"}):
        with pytest.raises(DataError, match=r"b\.parquet: row group 2, column 't': is 56 in row 57, which") as it:
            sn.Windows(tmp_path, "a", time="t", length=3, **options)
        assert it.value.row_group == 2 and it.value.column == "t" and it.value.file.endswith("b.parquet")
    with pytest.raises(DataError, match="row 57"):
        sn.Windows(table, "a", time="t", length=3)
    parts = [table.slice(0, 57), table.slice(57)]
    with pytest.raises(DataError, match="row 57"):
        sn.Windows(parts, "a", time="t", length=3)


def test_order_is_checked_within_groups_alone():
    time = np.tile(np.arange(20), 2)
    table = pa.table({"t": time, "g": np.repeat([7, 3], 20), "a": time * 1.0})
    windows = sn.Windows(table, time="t", group="g", length=3, scaler=None)
    assert windows.columns == ["a"]
    assert windows.split_ == 16 and windows.train.num_windows == 26
    with pytest.raises(DataError, match="row 20.*name the group"):
        sn.Windows(table, time="t", length=3)
    broken = table.set_column(0, "t", pa.array(np.where(np.arange(40) == 30, 0, time)))
    with pytest.raises(DataError, match="row 30.*of group 3: sort"):
        sn.Windows(broken, time="t", group="g", length=3)


@pytest.mark.parametrize("column", ["t", "g"])
@pytest.mark.parametrize("kind", ["null", "nan"])
def test_a_missing_time_or_group_is_an_error(column, kind):
    values = [float(i) for i in range(10)]
    values[6] = None if kind == "null" else float("nan")
    table = pa.table({"t": np.arange(10.0), "g": np.zeros(10), "a": np.arange(10.0)})
    table = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
    with pytest.raises(DataError, match=rf"'{column}' is missing in row 6"):
        sn.Windows(table, "a", time="t", group="g", length=2)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "date32", "date64"])
def test_times_and_dates_of_every_unit(unit):
    days = np.datetime64("2013-01-01") + np.arange(60)
    days[40:] += 1
    kind = getattr(pa, unit)() if unit.startswith("date") else pa.timestamp(unit)
    table = pa.table({"day": pa.array(days).cast(kind), "a": np.arange(60.0)})
    at = datetime.datetime(2013, 1, 21)
    splits = [at, at.date(), "2013-01-21", np.datetime64("2013-01-21"), "2013-01-20T12:00", 20 / 60]
    for split in splits:
        windows = sn.Windows(
            table, time="day", length=3, split=split, scaler=None, max_step=datetime.timedelta(days=1), shuffle=False
        )
        assert windows.columns == ["a"]
        assert windows.train.num_windows == 17, split
        assert windows.validation.num_windows == 17 + 17
    assert str(windows.split_).startswith("2013-01-21")
    wide = sn.Windows(table, time="day", length=3, max_step=np.timedelta64(48, "h"), split=at, scaler=None)
    assert wide.train.num_windows + wide.validation.num_windows == 17 + 37
    with pytest.raises(ValueError, match="max_step is a timedelta"):
        sn.Windows(table, time="day", max_step=1)
    with pytest.raises(ValueError, match="has a time zone"):
        sn.Windows(table, time="day", split=at.replace(tzinfo=datetime.UTC))


def test_a_split_without_a_zone_is_in_utc():
    first = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)
    table = pa.table(
        {"t": pa.array([first + i * HOUR for i in range(48)], pa.timestamp("us", "America/New_York")), "a": np.ones(48)}
    )
    for split in ("2013-01-02", "2013-01-02T00:00+00:00", "2013-01-01T19:00-05:00"):
        windows = sn.Windows(table, time="t", split=split, length=3, scaler=None)
        assert windows.train.num_windows == 21
        assert windows.split_ == datetime.datetime(2013, 1, 2, tzinfo=datetime.UTC)


def test_weather_of_three_airports():
    inputs = ["temp", "dewp", "humid", "wind_speed"]
    windows = sn.Windows(
        WEATHER, inputs, target="temp", time="time_hour", group="origin", length=24, horizon=6, max_step=HOUR
    )
    table = pq.read_table(WEATHER)
    limit = windows.split_
    for part in ("train", "validation"):
        x, y, lacking = expected(
            table, part, columns=inputs, targets=["temp"], length=24, horizon=6, stride=1, group="origin",
            time="time_hour", limit=limit, max_step=HOUR,
        )  # fmt: skip
        stream = getattr(windows, part)
        got_x, got_y = stream.arrays()
        assert len(x) > 4000 and stream.skipped == lacking
        np.testing.assert_allclose(windows.inverse_target(got_y), y[:, 0], rtol=1e-5)
        scaled = (x - windows.scaler_.mean_) / windows.scaler_.scale_
        np.testing.assert_allclose(got_x, scaled, rtol=1e-4, atol=1e-5)
    assert windows.scaler_.digest() == sn.fit(
        table.filter(pa.compute.less(table["time_hour"], pa.scalar(limit, table.schema.field("time_hour").type))),
        columns=inputs,
    ).digest()


# Sources


def test_every_source_gives_the_same_windows(tmp_path):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    table = sensors(holes=0).select(["a", "b", "c"])
    (tmp_path / "parts").mkdir()
    pq.write_table(table, tmp_path / "one.parquet", row_group_size=41)
    for i in range(3):
        pq.write_table(table.slice(100 * i, 100), tmp_path / "parts" / f"{i}.parquet")
    matrix = np.column_stack([column.to_numpy() for column in table.columns])
    sources = {
        "table": table,
        "pandas": table.to_pandas(),
        "polars": polars.from_arrow(table),
        "file": tmp_path / "one.parquet",
        "folder": tmp_path / "parts",
        "glob": str(tmp_path / "parts" / "*.parquet"),
        "files": [str(tmp_path / "parts" / f"{i}.parquet") for i in range(3)],
        "pieces": [table.slice(0, 7), table.slice(7)],
    }
    want = list(sn.Windows(table, target="b", length=5, seed=3).train)
    for name, source in sources.items():
        got = list(sn.Windows(source, target="b", length=5, seed=3).train)
        for (x, y), (other_x, other_y) in zip(want, got, strict=True):
            np.testing.assert_array_equal(x, other_x, err_msg=name)
            np.testing.assert_array_equal(y, other_y, err_msg=name)
    for array in (matrix, np.asfortranarray(matrix)):
        for (x, y), (other_x, other_y) in zip(want, sn.Windows(array, target=1, length=5, seed=3).train, strict=True):
            np.testing.assert_array_equal(x, other_x)
            np.testing.assert_array_equal(y, other_y)
    one = sn.Windows(matrix[:, 0], length=5).train.arrays()[0]
    for series in (pandas.Series(matrix[:, 0]), polars.Series(matrix[:, 0]), table["a"], list(matrix[:, 0])):
        np.testing.assert_array_equal(sn.Windows(series, length=5).train.arrays()[0], one)
    indexed = table.to_pandas()
    indexed.index = pandas.date_range("2013-01-01", periods=300, freq="h", name="when")
    windows = sn.Windows(indexed, target="b", time="when", split="2013-01-11", length=5)
    assert windows.columns == ["a", "b", "c"] and windows.split_ == datetime.datetime(2013, 1, 11)


def test_the_target_is_an_input_unless_columns_say_otherwise():
    table = sensors()
    options = dict(time="tick", group="sensor", length=3, target="c")
    assert sn.Windows(table, **options).columns == ["a", "b", "c"]
    assert sn.Windows(table, ["a"], **options).columns == ["a"]
    by_number = table.set_column(0, "sensor", pa.array([int(s[1:]) for s in table["sensor"].to_pylist()]))
    assert sn.Windows(by_number, **options).columns == ["a", "b", "c"]
    assert sn.Windows(by_number, ["sensor", "a"], **options).columns == ["sensor", "a"]
    dictionary = table.set_column(0, "sensor", table["sensor"].dictionary_encode())
    assert sn.Windows(dictionary, **options).train.num_windows == sn.Windows(table, **options).train.num_windows


# What is wrong is said


def test_arguments_out_of_their_domain():
    data = np.arange(30.0)
    wrong = [
        (dict(length=0), "length must be"), (dict(horizon=0), "horizon must be"), (dict(stride=0), "stride must be"),
        (dict(batch_size=0), "batch_size must be"), (dict(length=2.5), "length must be"), (dict(split=1.0), "split"),
        (dict(split=0), "split must be"), (dict(split=-0.5), "split must be"), (dict(split="2013-01-01"), "split must"),
        (dict(split=True), "split must be"), (dict(max_step=1), "max_step goes with time"),
        (dict(threads=0), "threads must be"), (dict(scaler="whiten"), "method must be"), (dict(seed=0.5), "seed"),
    ]  # fmt: skip
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            sn.Windows(data, **options)
    table = sensors()
    for options, message in [
        (dict(time="no"), "no"), (dict(group="no"), "no column 'no'"), (dict(target="no"), "no"),
        (dict(time="sensor"), "sensor"), (dict(target="sensor"), "sensor"), (dict(time="tick", group="tick"), "same"),
        (dict(time="tick", split=datetime.date(2013, 1, 1)), "value of column 'tick'"),
        (dict(time="tick", max_step=HOUR, group="sensor"), "max_step is a number"),
        (dict(time="tick", max_step=-1, group="sensor"), "max_step must be positive"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sn.Windows(table, **options)


def test_a_source_that_can_be_read_only_once():
    with pytest.raises(DataError, match="only once"):
        sn.Windows(sensors().to_reader(), "c")


def test_an_infinite_value_is_an_error_where_it_is_met(tmp_path):
    values = np.arange(100.0)
    values[90] = np.inf
    pq.write_table(pa.table({"a": values}), tmp_path / "t.parquet", row_group_size=25)
    windows = sn.Windows(tmp_path / "t.parquet", length=3)
    assert windows.train.num_windows == 77
    with pytest.raises(DataError, match=r"row group 3, column 'a': holds a value that is infinite .* row 90"):
        list(windows.validation)
    values[20] = -np.inf
    with pytest.raises(DataError, match="infinite"):
        sn.Windows(values, length=3)


# The kernel


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width, length", [(1, 1), (3, 5), (7, 24), (40, 100)])
def test_the_kernel_and_its_twin(dtype, width, length):
    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(200, width)).astype(dtype)
    starts = rng.integers(0, 200 - length + 1, 57)
    x = np.full((2, 57, length, width), np.nan, dtype)
    gather_windows(x[0], rows, starts)
    twins.gather_windows(x[1], rows, starts)
    np.testing.assert_array_equal(x[0], x[1])
    assert np.isfinite(x).all()


def test_the_kernel_checks_what_it_is_given():
    rows = np.zeros((10, 2), np.float32)
    x = np.zeros((1, 4, 2), np.float32)
    for start in (-1, 7):
        with pytest.raises(ValueError, match="no window of 4"):
            gather_windows(x, rows, np.array([start]))
    for wrong in (x[:, :, :1], np.zeros((2, 4, 2), np.float32), x.astype(np.float64), np.zeros((4, 2), np.float32),
                  np.zeros((1, 4, 4), np.float32)[:, :, ::2]):  # fmt: skip
        with pytest.raises(ValueError):
            gather_windows(wrong, rows, np.array([0]))
    gather_windows(np.zeros((0, 4, 2), np.float32), rows, np.array([], np.int64))


def test_a_scaler_of_fewer_columns_than_an_unnamed_array_is_an_error():
    rows = np.random.default_rng(0).random((60, 3))
    scaler = sn.StandardScaler().fit(rows[:, :2])
    with pytest.raises(sn.DataError, match="fitted on 2 columns, and there are 3: name the inputs"):
        sn.Windows(rows, length=3, scaler=scaler)
    assert sn.Windows(rows, [0, 1], length=3, scaler=scaler).columns == [0, 1]


def test_a_length_beyond_all_rows_is_refused_in_words():
    with pytest.raises(ValueError, match="length must be a positive integer below"):
        sn.Windows(np.arange(9.0), length=2**63)
