"""Only what is new: which files a state has counted, what an update reads, and what is refused."""

import copy
import logging
import os
import pickle
import shutil
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.files import column_chunk, damage, numbers, sha256, write

import streamnorm as sn
from streamnorm import state
from streamnorm.errors import DataError, NotMergeableError, StreamnormWarning
from streamnorm.globs import pattern_of
from streamnorm.ledger import FOOTER_FILES, CountedFile, FoldedFiles, Ledger, absolute, named
from streamnorm.parquet.footer import read_footer
from streamnorm.scan import scan_units
from streamnorm.sources import ParquetInput
from streamnorm.update import FoundFile, found_file, sort_out

METHODS = ("standard", "minmax", "maxabs", "robust")
RANK_ERROR = 0.001  # what a quantile sketch promises by default


def entry(path, number=0, rows=10):
    return CountedFile(str(path), 1000 + number, f"{number:032x}", rows)


def day(folder, name, *, rows=200, seed=0, **options):
    return write(folder / f"{name}.parquet", numbers(rows, start=seed or sum(map(ord, name))), **options)


@pytest.fixture
def data(tmp_path):
    """A folder with the files of three days."""
    for name in ("mon", "tue", "wed"):
        day(tmp_path / "data", name)
    return tmp_path / "data"


def names(scaler):
    return [os.path.basename(file.path) for file in scaler.summary_.files]


def quietly(call, *args, **options):
    """The result of a call that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*args, **options)


# --------------------------------------------------------------------------------------------------- the ledger


def test_a_ledger_is_in_order_however_it_was_put_together():
    files = [entry(f"/d/{(i * 7919) % 500:04}", i) for i in range(500)]
    at_once, one_by_one = Ledger(files), Ledger()
    for file in files:
        before = list(one_by_one)
        longer = one_by_one + Ledger([file])
        assert list(one_by_one) == before  # a ledger never changes
        one_by_one = longer
    halves = Ledger(files[250:]) + Ledger(files[:250])
    assert list(at_once) == list(one_by_one) == list(halves) == sorted(files)
    assert at_once == one_by_one == halves and at_once != Ledger(files[1:]) and at_once != files
    for ledger in (at_once, one_by_one, halves):
        assert ledger.at(files[7].path) == ledger.like(files[7].content) == [files[7]]
        assert ledger.at("/d/none") == ledger.like((1, "")) == []
        assert (len(ledger), ledger.count, ledger.rows) == (500, 500, 5000)
    assert len(one_by_one._blocks) <= 9


def test_what_is_counted_twice_is_there_twice():
    a, b = entry("/a", 1), entry("/b", 2)
    twice = Ledger([a, b]) + Ledger([a])
    assert list(twice) == [a, a, b] and twice.rows == 30
    assert list(twice.without(Ledger([a]))) == [a, b]
    assert twice.without(twice) == Ledger() and not Ledger() and twice


def test_taking_out_prefers_the_same_path_and_knows_what_is_not_there():
    here, there = entry("/here", 1), entry("/there", 1)
    assert list(Ledger([here, there]).without(Ledger([there]))) == [here]
    assert list(Ledger([here, there]).without(Ledger([entry("", 1)]))) == [there]
    with pytest.raises(KeyError) as caught:
        Ledger([here]).without(Ledger([here, there]))
    assert caught.value.args == (there,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_ledgers_are_copied_and_pickled(protocol):
    ledger = Ledger([entry("/a", 1)], [FoldedFiles(70, 700, "0" * 32)])
    for again in (pickle.loads(pickle.dumps(ledger, protocol)), copy.deepcopy(ledger)):
        assert again == ledger and again.folded == ledger.folded and again.at("/a")
    assert repr(ledger) == "<Ledger: 71 files, 710 rows>"


def test_json_and_back():
    ledger = Ledger([entry("/b ü", 1), entry("", 2)], [FoldedFiles(70, 700, "0" * 32)])
    assert Ledger.from_json(ledger.to_json()) == ledger
    assert ledger.to_json()[1] == {"path": "/b ü", "size": 1001, "footer": f"{1:032x}", "rows": 10}
    assert list(ledger.to_json()[0]) == ["size", "footer", "rows"]


GOOD = {"path": "/a", "size": 1, "footer": "0" * 32, "rows": 1}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "item 0 is not a file"),
        ({"path": "/a"}, "item 0 is not a file"),
        (GOOD | {"more": 1}, "item 0 is not a file"),
        (GOOD | {"path": ""}, "'path'"),
        (GOOD | {"path": None}, "'path'"),
        (GOOD | {"size": -1}, "'size'"),
        (GOOD | {"size": 1.0}, "'size'"),
        (GOOD | {"rows": True}, "'rows'"),
        (GOOD | {"rows": 1 << 60}, "'rows'"),
        (GOOD | {"footer": "0" * 31}, "'footer'"),
        (GOOD | {"footer": "F" * 32}, "'footer'"),
        ({"files": "1", "rows": 1, "hash": "0" * 32}, "'files'"),
    ],
)
def test_wrong_items_are_refused(item, message):
    with pytest.raises(ValueError, match=message):
        Ledger.from_json([item])


def test_files_are_known_by_size_and_footer_when_states_merge():
    mine, theirs = Ledger([entry("/a", 1), entry("/b", 2)]), Ledger([entry("/b", 3), entry("/c", 4)])
    mine.check_disjoint(theirs)  # one path with two contents: two machines have it
    mine.check_disjoint(Ledger())
    with pytest.raises(NotMergeableError, match=r"both have counted this file.*: /a; merge"):
        mine.check_disjoint(Ledger([entry("/a", 1)]))
    with pytest.raises(NotMergeableError, match=r"/z \(the same as /a\)"):
        mine.check_disjoint(Ledger([entry("/z", 1)]))
    many = Ledger(entry(f"/{i}", i) for i in range(20))
    with pytest.raises(NotMergeableError, match=r"these 20 files.*: /0, .* and 15 more; merge"):
        many.check_disjoint(many)
    assert named("abc", 5) == "a, b, c"


def test_a_footer_gets_no_paths_and_of_many_files_a_hash():
    few = Ledger(entry(f"/d/{i}", i) for i in range(FOOTER_FILES))
    assert {file.path for file in few.shortened()} == {""} and len(few.shortened()) == FOOTER_FILES
    with pytest.raises(NotMergeableError, match="these 64 files"):
        few.check_disjoint(few.shortened())
    many = few + Ledger([entry("/d/last", 99)])
    short = many.shortened()
    assert (len(short), short.count, short.rows) == (0, 65, 650)
    elsewhere = Ledger(file._replace(path=file.path.replace("/d/", "/e/")) for file in many)
    assert elsewhere.shortened() == short
    for a, b in ((short, short), (many, short), (short, many)):
        with pytest.raises(NotMergeableError, match="both have counted the same 65 files"):
            a.check_disjoint(b)
    with pytest.raises(NotMergeableError, match="how many files were counted and not which"):
        short.check_disjoint(Ledger([entry("/other", 100)]))
    assert (short + Ledger([entry("/other", 100)])).shortened().count == 66


def test_paths_that_are_no_text(tmp_path):
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet")
    assert absolute(strange) == f"{tmp_path}/\\xff.parquet"
    scaler = sn.fit(numbers(10))
    scaler.summary_.files = Ledger([entry(absolute(strange))])
    assert state.loads(state.dumps(scaler)).summary_.files == scaler.summary_.files


# ------------------------------------------------------------------------------------------- what fits leave in it


def test_a_fit_of_files_fills_it(data):
    scaler = sn.fit(data)
    first = next(iter(scaler.summary_.files))
    path = data / "mon.parquet"
    assert first == CountedFile(str(path), path.stat().st_size, read_footer(path).sha256[:32], 200)
    assert names(scaler) == ["mon.parquet", "tue.parquet", "wed.parquet"]
    assert scaler.fit(path) is scaler and names(scaler) == ["mon.parquet"]
    assert names(scaler.partial_fit(data / "wed.parquet")) == ["mon.parquet", "wed.parquet"]
    assert names(scaler.partial_fit(numbers(5))) == ["mon.parquet", "wed.parquet"]


def test_paths_are_absolute(data, monkeypatch):
    monkeypatch.chdir(data)
    assert [file.path for file in sn.fit("../data/mon.parquet").summary_.files] == [f"{data}/mon.parquet"]


def test_data_in_memory_leaves_it_empty(data, tmp_path):
    table = numbers(100)
    assert not sn.fit(table).summary_.files
    assert not sn.fit(np.zeros((3, 2))).summary_.files
    spooled = sn.normalize(table.to_reader(), tmp_path / "out.parquet", spool=True)
    assert not spooled.summary_.files
    assert '"files"' not in state.dumps(spooled)


@pytest.mark.parametrize("method", [*METHODS, {"a": "robust", "b": "minmax"}], ids=str)
def test_it_survives_copies_merges_files_and_pickles(method, data, tmp_path):
    scaler = sn.fit([data / "mon.parquet", data / "wed.parquet"], method)
    files = scaler.summary_.files
    scaler.save(tmp_path / "s.json")
    for again in (
        sn.load(tmp_path / "s.json"),
        pickle.loads(pickle.dumps(scaler)),
        copy.deepcopy(scaler),
        state.loads(state.dumps(scaler)),
    ):
        assert again.summary_.files == files and again.digest() == scaler.digest()
    both = scaler + sn.fit(data / "tue.parquet", method)
    assert names(both) == ["mon.parquet", "tue.parquet", "wed.parquet"] and scaler.summary_.files == files
    assert scaler.summary_.copy().files == files
    for part in getattr(scaler, "transformers_", {}).values():
        assert part.summary_.files == files


def test_an_output_does_not_tell_where_its_input_lay(data, tmp_path):
    outputs = []
    for folder in ("here", "there"):
        path = shutil.copytree(data, tmp_path / folder)
        scaler = sn.normalize(path, tmp_path / f"{folder}.parquet", state=tmp_path / f"{folder}.json")
        outputs.append(sha256(tmp_path / f"{folder}.parquet"))
        assert sn.load(tmp_path / f"{folder}.json").summary_.files == scaler.summary_.files
        carried = sn.load(tmp_path / f"{folder}.parquet").summary_.files
        assert carried == scaler.summary_.files.shortened() and not carried.has_all_paths
    assert outputs[0] == outputs[1]
    assert str(tmp_path).encode() not in (tmp_path / "here.parquet").read_bytes()


def test_outputs_of_one_run_are_undone_together(data, tmp_path):
    (tmp_path / "out").mkdir()
    sn.normalize(data, tmp_path / "out")
    assert sn.inverse(tmp_path / "out", tmp_path / "back.parquet") == 600


def test_a_footer_keeps_its_size(tmp_path):
    scaler = sn.fit(day(tmp_path, "mon"))
    scaler.summary_.files = Ledger(entry(f"/d/{i}", i) for i in range(100_000))
    sn.transform(tmp_path / "mon.parquet", tmp_path / "out.parquet", scaler)
    assert (tmp_path / "out.parquet").stat().st_size < 30_000
    assert sn.load(tmp_path / "out.parquet").summary_.files.count == 100_000


# ------------------------------------------------------------------------------------------------- sorting out


def found(path, number):
    return FoundFile(path, str(path), entry("", number).content)


def kinds(ledger, *files):
    result = sort_out(Ledger(ledger), files)
    return {
        "new": [file.at for file in result.new],
        "counted": [file.at for file in result.counted],
        "moved": [(file.at, old.path) for file, old in result.moved],
        "copies": [(file.at, where) for file, where in result.copies],
        "changed": [file.at for file in result.changed],
    }


def told(**lists):
    return {"new": [], "counted": [], "moved": [], "copies": [], "changed": []} | lists


def test_each_kind_of_file_is_told_from_the_others(tmp_path):
    kept = day(tmp_path, "kept")
    there = CountedFile(str(kept), *found_file(kept).content, 200)
    copied = FoundFile(None, "/copy", there.content)
    assert kinds([entry("/a", 1)], found("/a", 1), found("/b", 2)) == told(counted=["/a"], new=["/b"])
    assert kinds([entry("/a", 1)], found("/a", 2)) == told(changed=["/a"])
    assert kinds([entry("/a", 1)], found("/b", 1)) == told(moved=[("/b", "/a")])
    assert kinds([there], copied) == told(copies=[("/copy", str(kept))])
    assert kinds([entry("/a", 1)], found("/a", 1), found("/b", 1)) == told(counted=["/a"], copies=[("/b", "/a")])


def test_one_counted_file_stands_for_one():
    both = kinds([entry("/a", 1)], found("/b", 1), found("/c", 1))
    assert both == told(moved=[("/b", "/a")], copies=[("/c", "/b")])
    assert kinds([entry("/a", 1), entry("/d", 1)], found("/b", 1), found("/c", 1)) == told(
        moved=[("/b", "/a"), ("/c", "/d")]
    )


def test_names_that_go_round_are_no_change():
    rotated = kinds([entry("/log", 1)], found("/log", 2), found("/log.1", 1))
    assert rotated == told(moved=[("/log.1", "/log")], new=["/log"])
    swapped = kinds([entry("/a", 1), entry("/b", 2)], found("/a", 2), found("/b", 1))
    assert swapped == told(moved=[("/a", "/b"), ("/b", "/a")])


def test_a_file_that_was_counted_in_two_states_of_its_life():
    twice = [entry("/a", 1), entry("/a", 2)]
    assert kinds(twice, found("/a", 2)) == kinds(twice, found("/a", 1)) == told(counted=["/a"])
    assert kinds(twice, found("/a", 3)) == told(changed=["/a"])


def test_files_without_a_path_are_known_by_content():
    assert kinds([entry("", 1)], found("/a", 1), found("/b", 2)) == told(counted=["/a"], new=["/b"])


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/d/*.parquet", "/d/a.parquet", True),
        ("/d/*.parquet", "/d/e/a.parquet", False),
        ("/d/**/*.parquet", "/d/a.parquet", True),
        ("/d/**/*.parquet", "/d/e/f/a.parquet", True),
        ("/d/day=?/x[0-3].parquet", "/d/day=7/x2.parquet", True),
        ("/d/day=?/x[!0-3].parquet", "/d/day=7/x2.parquet", False),
        ("/d/x[.parquet", "/d/x[.parquet", True),
        ("/d/a+b*", "/d/a+b.parquet", True),
        ("/d/a.b*", "/d/aXb.parquet", False),
    ],
)
def test_patterns_mean_what_they_find(pattern, path, matches):
    assert bool(pattern_of(pattern).fullmatch(path)) is matches


# ----------------------------------------------------------------------------------------------------- updates


@pytest.mark.parametrize("method", [*METHODS, {"a": "robust", "b": "standard"}], ids=str)
def test_an_update_has_seen_the_new_file_as_well(method, data):
    before = sn.fit(data, method)
    digest = before.digest()
    day(data, "thu")
    after = quietly(sn.fit, data, update=before)
    assert names(after) == [*sorted(["mon.parquet", "tue.parquet", "wed.parquet", "thu.parquet"])]
    assert before.digest() == digest and len(names(before)) == 3
    assert type(after) is type(before) and after.get_params() == before.get_params()
    whole = sn.fit(data, method)
    for name in ("a", "b"):
        ours, theirs = after.summary_[name], whole.summary_[name]
        assert (ours.rows, ours.null_count, ours.min, ours.max) == (theirs.rows, 0, theirs.min, theirs.max)
    if method in ("minmax", "maxabs"):
        assert after.digest() == whole.digest()


def test_an_exact_update_has_the_bits_of_the_fit_of_all(data, tmp_path):
    scaler = None
    for name in ("zero", "mon2", "a", "tue2"):
        day(data, name, row_group_size=37)
        scaler = sn.fit(data, exact=True) if scaler is None else sn.fit(data, update=scaler)
    whole = sn.fit(data, exact=True)
    assert state.dumps(scaler) == state.dumps(whole)
    scaler.save(tmp_path / "s.json")
    assert state.dumps(sn.fit(data, update=tmp_path / "s.json")) == state.dumps(whole)


def test_an_update_from_a_path_leaves_the_file_alone(data, tmp_path):
    sn.fit(data).save(tmp_path / "s.json")
    before = sha256(tmp_path / "s.json")
    day(data, "thu")
    for path in (tmp_path / "s.json", str(tmp_path / "s.json")):
        assert sn.fit(data, update=path).summary_.rows == 800
    assert sha256(tmp_path / "s.json") == before


def make_unreadable(path):
    """Break the data pages of every column; the footer stays as it is."""
    size = path.stat().st_size
    for name in ("a", "b", "s"):
        start, length = column_chunk(path, 0, name)
        damage(path, start, b"\xff" * length)
    assert path.stat().st_size == size


def test_an_update_reads_the_new_file_alone(data):
    scaler = sn.fit(data)
    for path in data.iterdir():
        make_unreadable(path)
    with pytest.raises(DataError):
        sn.fit(data)
    assert sn.fit(data, update=scaler).digest() == scaler.digest()
    day(data, "thu")
    calls = []
    after = sn.fit(data, update=scaler, progress=lambda *call: calls.append(call))
    assert after.summary_.rows == 800 and calls[-1][:2] == (200, 200)


def test_nothing_new_says_so(data, caplog):
    scaler = sn.fit(data, "robust")
    with caplog.at_level(logging.INFO, "streamnorm"):
        caplog.clear()
        again = quietly(sn.fit, data, update=scaler)
    assert again is not scaler and state.dumps(again) == state.dumps(scaler)
    said = [record.getMessage() for record in caplog.records if not record.event.startswith(("job.", "pass."))]
    assert said == ["nothing is new: the 3 files were counted before"]


def test_a_new_file_without_rows_is_counted_too(data):
    scaler = sn.fit(data)
    day(data, "empty", rows=0)
    after = sn.fit(data, update=scaler)
    assert after.summary_.rows == 600 and "empty.parquet" in names(after)
    assert after.digest() == scaler.digest()
    day(data, "another", rows=0)  # with the same footer
    after = quietly(sn.fit, data, update=after)
    assert len(after.summary_.files) == 5
    assert (after + sn.fit([day(data, "last"), day(data, "third", rows=0)])).summary_.files.count == 7


def rewrite(path, rows):
    pq.write_table(numbers(rows, seed=5), path)


def test_a_file_that_changed_is_refused_by_name(data):
    scaler = sn.fit(data)
    rewrite(data / "tue.parquet", 300)
    with pytest.raises(DataError, match=r"1 of the 3 files was counted before and changed since: \S+/tue.parquet; .*fit again from all files, or count .*recount") as caught:  # fmt: skip  # noqa: E501
        sn.fit(data, update=scaler)
    assert caught.value.file == str(data / "tue.parquet")
    for i in range(9):
        day(data, f"x{i}")
    scaler = sn.fit(data, update=scaler, recount=True)
    for i in range(9):
        rewrite(data / f"x{i}.parquet", 10 + i)
    with pytest.raises(DataError, match=r"9 of the 12 files were .*x0.parquet, .* and 4 more;"):
        sn.fit(data, update=scaler)


def test_recount_counts_what_changed_and_nothing_else(data):
    scaler = sn.fit(data)
    rewrite(data / "tue.parquet", 300)
    after = sn.fit(data, update=scaler, recount=True)
    assert after.summary_.rows == 900
    assert names(after) == ["mon.parquet", "tue.parquet", "tue.parquet", "wed.parquet"]
    assert quietly(sn.fit, data, update=after).summary_.rows == 900


def test_files_that_vanished_stay_counted_and_are_named(data):
    scaler = sn.fit(data)
    (data / "mon.parquet").unlink()
    day(data, "thu")
    with pytest.warns(StreamnormWarning, match=r"a counted file is no longer there: \S+/mon.parquet; the rows stay") as caught:  # fmt: skip  # noqa: E501
        after = sn.fit(data, update=scaler)
    assert caught[0].filename == __file__ and caught[0].message.code == "vanished-files"
    assert after.summary_.rows == 800 and "mon.parquet" in names(after)
    pattern = f"{data}/t*.parquet"  # of which mon.parquet is none
    assert quietly(sn.fit, pattern, update=scaler).summary_.rows == 800
    with pytest.warns(StreamnormWarning, match="mon.parquet"):
        sn.fit(f"{data}/*", update=scaler)
    with pytest.warns(StreamnormWarning, match="mon.parquet"):
        sn.fit([data / "mon.parquet", data / "thu.parquet"], update=scaler)
    with pytest.raises(DataError, match="nosuch.parquet: there is no such file"):
        sn.fit([data / "nosuch.parquet", data / "thu.parquet"], update=scaler)


def test_files_of_other_folders_are_not_missed(data, tmp_path):
    scaler = sn.fit(data)
    day(tmp_path / "more", "thu")
    assert quietly(sn.fit, tmp_path / "more", update=scaler).summary_.rows == 800
    (data / "mon.parquet").unlink()
    assert quietly(sn.fit, tmp_path / "more", update=scaler).summary_.rows == 800


def test_a_moved_file_is_known(data, caplog):
    scaler = sn.fit(data)
    (data / "2026").mkdir()
    (data / "mon.parquet").rename(data / "2026" / "monday.parquet")
    with caplog.at_level(logging.INFO, "streamnorm"):
        after = quietly(sn.fit, data, update=scaler)
    assert after.digest() == scaler.digest() and after.summary_.files != scaler.summary_.files
    assert names(after) == ["monday.parquet", "tue.parquet", "wed.parquet"]
    assert "mon.parquet, now" in caplog.text
    assert quietly(sn.fit, data, update=after).summary_.files == after.summary_.files


def test_a_copied_file_is_refused_by_both_names(data):
    scaler = sn.fit(data)
    shutil.copy(data / "mon.parquet", data / "copy.parquet")
    with pytest.raises(DataError, match=r"copy.parquet is a copy of \S+/mon.parquet; .*recount") as caught:
        sn.fit(data, update=scaler)
    assert caught.value.file == str(data / "copy.parquet")
    after = sn.fit(data, update=scaler, recount=True)
    assert after.summary_.rows == 800 and quietly(sn.fit, data, update=after).summary_.rows == 800


def test_copies_within_one_fit_count(data):
    shutil.copy(data / "mon.parquet", data / "copy.parquet")
    scaler = sn.fit(data)
    assert scaler.summary_.rows == 800 and quietly(sn.fit, data, update=scaler).summary_.rows == 800
    (data / "copy.parquet").rename(data / "moved.parquet")
    assert "moved.parquet" in names(quietly(sn.fit, data, update=scaler))


def test_updates_of_sketches_are_not_correlated_with_what_was_counted(tmp_path):
    """Each unit of rows has a seed that no unit before it had."""
    rng = np.random.default_rng(3)
    seeds = []

    class Watching(sn.RobustScaler):
        def _new_stats(self, name, seed=0, error=0.001):
            seeds.append(seed)
            return super()._new_stats(name, seed, error)

    for name in "abc":
        write(tmp_path / "d" / f"{name}.parquet", pa.table({"v": rng.normal(size=30_000)}), row_group_size=10_000)
    scaler = Watching().fit(tmp_path / "d" / "a.parquet")
    before = set(seeds)
    seeds.clear()
    after = sn.fit(tmp_path / "d", update=scaler)
    units = len(scan_units([ParquetInput(tmp_path / "d" / f"{name}.parquet") for name in "bc"], ["v"], 1 << 28, 1))
    assert len(before) >= 1 and len(set(seeds)) == units and not before & set(seeds)
    assert isinstance(after, Watching)
    values = np.sort(np.concatenate([pq.read_table(f)["v"].to_numpy() for f in (tmp_path / "d").iterdir()]))
    rank = np.searchsorted(values, after.summary_["v"].quantile(0.5)) / len(values)
    assert abs(rank - 0.5) <= after.summary_["v"].rank_error + 1 / len(values) and after.summary_["v"].count == 90_000


def test_an_update_has_the_same_bits_for_any_threads_and_memory(data):
    scaler = sn.fit(data, "robust")
    for name in ("thu", "fri"):
        day(data, name, rows=5000, row_group_size=700)
    runs = [dict(threads=1), dict(threads=3), dict(memory="16MB")]
    assert len({sn.fit(data, update=scaler, **options).digest() for options in runs}) == 1


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (dict(method="robust"), r"is of StandardScaler\(\), not of RobustScaler\(\)"),
        (dict(method=sn.StandardScaler(ddof=1)), r"not of StandardScaler\(ddof=1\)"),
        (dict(method={"a": "standard"}), "not of ColumnScaler"),
        (dict(columns=["a"]), "is of the columns 'a', 'b': leave columns out"),
        (dict(exclude="a"), "has the column 'a', which is excluded"),
        (dict(exact=True), "is not exact"),
    ],
    ids=str,
)
def test_wishes_that_contradict_the_state_are_refused(wishes, message, data):
    with pytest.raises(DataError, match=message):
        sn.fit(data, update=sn.fit(data), **wishes)


@pytest.mark.parametrize(
    "wishes", [dict(method="standard"), dict(method=sn.StandardScaler()), dict(columns=["b", "a"]), dict(exclude="s")]
)
def test_wishes_that_repeat_the_state_are_none(wishes, data):
    sn.fit(data, update=sn.fit(data), **wishes)


def test_the_state_of_columns_by_name_takes_the_mapping_again(data):
    scaler = sn.fit(data, {"a": "robust"})
    assert sn.fit(data, {"a": "robust"}, update=scaler).digest() == scaler.digest()
    with pytest.raises(DataError, match="not of ColumnScaler"):
        sn.fit(data, {"a": "minmax"}, update=scaler)


def test_a_new_file_needs_the_columns_and_their_types(data):
    scaler = sn.fit(data)
    pq.write_table(numbers(5).drop_columns("b"), data / "thu.parquet")
    with pytest.raises(DataError, match=r"thu.parquet: .*no column 'b'"):
        sn.fit(data, update=scaler)
    pq.write_table(numbers(5).set_column(1, "b", pa.array([1, 2, 3, 4, 5], pa.int32())), data / "thu.parquet")
    with pytest.raises(DataError, match=r"thu.parquet: column 'b': its type is int32, but int64 in \S+mon.parquet"):
        sn.fit(data, update=scaler)
    pq.write_table(numbers(5).set_column(1, "b", pa.array([1.0] * 5)), data / "thu.parquet")
    with pytest.raises(DataError, match="column 'b': its type is double, but int was counted before"):
        sn.fit(data / "thu.parquet", update=scaler)


def test_what_does_not_know_its_files_is_not_updated(data, tmp_path):
    table = pq.read_table(data / "mon.parquet")
    in_memory = sn.fit(table)
    with pytest.raises(NotMergeableError, match="which files 200 of its 200 rows come from.*fit again.*recount"):
        sn.fit(data, update=in_memory)
    assert sn.fit(data, update=in_memory, recount=True).summary_.rows == 800
    some = sn.fit(data / "mon.parquet").partial_fit(table)
    with pytest.raises(NotMergeableError, match="200 of its 400 rows"):
        sn.fit(data, update=some)
    assert sn.fit(data, update=some, recount=True).summary_.rows == 800
    sn.normalize(data, tmp_path / "out.parquet")
    with pytest.raises(NotMergeableError, match="footer of an output.*saved as JSON"):
        sn.fit(data, update=tmp_path / "out.parquet")
    with pytest.raises(DataError, match="the source is in memory: use partial_fit"):
        sn.fit(table, update=sn.fit(data))
    with pytest.raises(sn.NotFittedError):
        sn.fit(data, update=sn.StandardScaler())
    with pytest.raises(ValueError, match="recount goes with update"):
        sn.fit(data, recount=True)


def test_an_update_warns_of_what_is_new(tmp_path):
    write(tmp_path / "d" / "a.parquet", pa.table({"n": [1, 2, 3]}))
    scaler = sn.fit(tmp_path / "d")
    write(tmp_path / "d" / "b.parquet", pa.table({"n": [2**60, 5]}))
    with pytest.warns(StreamnormWarning, match="column 'n': more digits than a double holds") as caught:
        scaler = sn.fit(tmp_path / "d", update=scaler)
    assert caught[0].filename == __file__
    write(tmp_path / "d" / "c.parquet", pa.table({"n": [2**60, 7]}))
    quietly(sn.fit, tmp_path / "d", update=scaler)


def test_exact_quantiles_are_not_updated(data):
    scaler = sn.fit(data, "robust", exact=True)
    assert len(scaler.summary_.files) == 3
    for recount in (False, True):
        with pytest.raises(NotMergeableError, match="quantiles.*fit over all sources at once"):
            sn.fit(data, update=scaler, recount=recount)


def test_what_is_spooled_leaves_no_trace():
    scaler = sn.fit(numbers(50).to_reader(), "robust", exact=True, spool=True)
    assert scaler.summary_.rows == 50 and not scaler.summary_.files


def test_a_damaged_new_file_leaves_the_state_alone(data):
    scaler = sn.fit(data)
    before = state.dumps(scaler)
    make_unreadable(day(data, "thu"))
    with pytest.raises(DataError, match=r"thu.parquet: row group 0, column 'a': cannot be read"):
        sn.fit(data, update=scaler)
    (data / "fri.parquet").write_bytes(b"PAR1 is not all")
    with pytest.raises(DataError, match="fri.parquet: the footer is truncated"):
        sn.fit(data, update=scaler)
    assert state.dumps(scaler) == before


# ---------------------------------------------------------------------------------------------------- refusals


def test_partial_fit_refuses_what_it_has_counted(data, tmp_path):
    scaler = sn.fit(data)
    before = state.dumps(scaler)
    thu = day(data, "thu")
    with pytest.raises(DataError, match=r"3 of the 4 files were counted before.*mon.parquet, .*recount") as caught:
        scaler.partial_fit(data)
    assert caught.value.file == str(data / "mon.parquet")
    shutil.copy(thu, tmp_path / "copy.parquet")
    scaler_of_four = copy.deepcopy(scaler).partial_fit(thu)
    with pytest.raises(DataError, match=r"the file was counted before.*copy.parquet \(a copy of \S+thu.parquet\)"):
        scaler_of_four.partial_fit(tmp_path / "copy.parquet")
    thu.unlink()
    with pytest.raises(DataError, match=r"copy.parquet \(counted as \S+thu.parquet\)"):
        scaler_of_four.partial_fit(tmp_path / "copy.parquet")
    rewrite(data / "mon.parquet", 7)
    with pytest.raises(DataError, match="changed since"):
        scaler.partial_fit(data / "mon.parquet")
    assert state.dumps(scaler) == before
    assert scaler.partial_fit(data / "mon.parquet", recount=True).summary_.rows == 607
    assert scaler.partial_fit(data / "tue.parquet", recount=True).summary_.rows == 807
    assert names(scaler).count("tue.parquet") == 2


def test_partial_fit_on_a_footer_refuses_what_it_has_counted(data, tmp_path):
    sn.normalize(data, tmp_path / "out.parquet")
    scaler = sn.load(tmp_path / "out.parquet")
    with pytest.raises(DataError, match="was counted before"):
        scaler.partial_fit(data / "mon.parquet")
    assert scaler.partial_fit(day(data, "thu")).summary_.rows == 800
    scaler.summary_.files = Ledger(folded=[FoldedFiles(70, 800, "0" * 32)])
    with pytest.raises(DataError, match="70 files were counted and not which"):
        scaler.partial_fit(day(data, "fri"))
    assert scaler.partial_fit(day(data, "fri"), recount=True).summary_.files.count == 71


ROUTES = {
    "merge": lambda a, b, **options: a.merge(b, **options),
    "sn.merge": lambda a, b, **options: sn.merge([a, b], **options),
    "summary": lambda a, b, **options: a.summary_.merge(b.summary_, **options),
    "+": lambda a, b: a + b,
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", METHODS)
def test_states_that_have_counted_the_same_file_do_not_merge(route, method, data):
    a, b = sn.fit([data / "mon.parquet", data / "tue.parquet"], method), sn.fit([data / "tue.parquet"], method)
    before = state.dumps(a)
    with pytest.raises(NotMergeableError, match=r"both have counted this file, .*: \S+tue.parquet; merge states of"):
        ROUTES[route](a, b)
    assert state.dumps(a) == before
    with pytest.raises(NotMergeableError):
        ROUTES[route](a, a)
    if route != "+":
        ROUTES[route](a, b, recount=True)


def test_recount_merges_them_all_the_same(data):
    scaler = sn.fit(data)
    assert sn.merge([scaler, scaler], recount=True).summary_.rows == 1200
    assert copy.deepcopy(scaler).merge(scaler, recount=True).summary_.files.rows == 1200


def test_states_of_footers_and_files_know_each_other(data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    sn.normalize(data, out)
    with pytest.raises(NotMergeableError, match="tue.parquet: cannot be merged with those before it: both have"):
        sn.merge(sorted(out.iterdir()))  # each carries the state of the whole run
    days = [tmp_path / f"{path.stem}.out.parquet" for path in sorted(data.iterdir())]
    for path, target in zip(sorted(data.iterdir()), days, strict=True):
        sn.normalize(path, target)
    assert sn.merge(days).summary_.rows == 600


def test_states_from_memory_merge_as_ever():
    a = sn.fit(numbers(10))
    assert (a + a).summary_.rows == sn.merge([a, a]).summary_.rows == a.merge(a).summary_.rows == 20
