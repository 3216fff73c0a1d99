"""Vocabulary: counting, codes, states."""

import json
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.children import measure

import streamnorm as sn
from streamnorm._text_counts import TokenCounts
from streamnorm._text_tokens import WORDS

TEXTS = ["The cat sat.", "the CAT, and the dog!", None, "", "  ", "dog-dog dog", "Ünïcode Straße", "12 3.4"]
LETTERS = "abcABC012 .,-_'\n\tÄäßéе́日本Σσ—“”…🎉\u0301\u00a0\u0130I"  # all older than the tables that are compared


def lowered(text):
    """Each code point by itself; Python's lower() makes two of U+0130, and minds where a word ends."""
    return "".join("i" if c == "\u0130" else c.lower() for c in text)


def words(text, lower=True):
    """The twin of the default tokens."""
    tokens, word = [], ""
    for c in lowered(text or "") if lower else text or "":
        if unicodedata.category(c)[0] in "LMN":
            word += c
        elif word:
            tokens.append(word)
            word = ""
    return tokens + [word] * bool(word)


def ranked(counts, most=None, least=1):
    found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(token, count) for token, count in found if count >= least][:most]


def twin(texts, **options):
    return ranked(Counter(token for text in texts for token in words(text)), **options)


def counted(vocabulary):
    return list(zip(vocabulary.tokens_[2:], vocabulary.counts_[2:].tolist(), strict=True))


def codes_of(vocabulary, text, length, padding="pre", truncating="pre"):
    number = {token: i for i, token in enumerate(vocabulary.tokens_) if i > 1}
    codes = [number.get(token, 1) for token in words(text)]
    codes = codes[-length:] if truncating == "pre" else codes[:length]
    zeros = [0] * (length - len(codes))
    return zeros + codes if padding == "pre" else codes + zeros


texts_of_letters = st.lists(st.one_of(st.none(), st.text(LETTERS, max_size=30)), max_size=20)


@given(texts_of_letters)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_the_twin(texts):
    vocabulary = sn.Vocabulary().fit(texts)
    assert counted(vocabulary) == twin(texts)
    assert vocabulary.rows_ == len(texts)
    assert vocabulary.count_error_ == 0


@given(texts_of_letters, st.integers(1, 6), st.sampled_from(["pre", "post"]), st.sampled_from(["pre", "post"]))
@settings(max_examples=60, deadline=None)
def test_codes_are_those_of_the_twin(texts, length, padding, truncating):
    vocabulary = sn.Vocabulary(max_tokens=5).fit([*texts, "a b c"])
    found = vocabulary.transform(texts, length, padding=padding, truncating=truncating)
    assert found.dtype == np.int32
    assert found.shape == (len(texts), length)
    assert found.tolist() == [codes_of(vocabulary, text, length, padding, truncating) for text in texts]


@given(texts_of_letters, st.data())
@settings(max_examples=60, deadline=None)
def test_any_chunks_and_merges_agree(texts, data):
    whole = sn.Vocabulary().fit(texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(texts)), max_size=3)))
    parts = [texts[a:b] for a, b in zip([0, *cuts], [*cuts, len(texts)], strict=True)]
    chunked = pa.chunked_array([pa.array(part, pa.string()) for part in parts])
    assert sn.Vocabulary().fit(chunked).digest() == whole.digest()
    step = sn.Vocabulary()
    for part in parts:
        step.partial_fit(part)
    assert step.digest() == whole.digest()
    apart = [sn.Vocabulary().fit(part) for part in parts]
    left = right = sn.Vocabulary().fit([])
    for one, other in zip(apart, reversed(apart), strict=True):
        left, right = left + one, other + right
    assert left.digest() == right.digest() == whole.digest()
    assert sum(len(part) for part in parts) == left.rows_
    assert counted(left) == counted(whole)


def test_merging_leaves_the_other_alone():
    one, other = sn.Vocabulary().fit(["a b"]), sn.Vocabulary().fit(["b c"])
    before = other.digest()
    both = one + other
    one.partial_fit(["x y z"])
    assert other.digest() == before
    assert counted(both) == [("b", 2), ("a", 1), ("c", 1)]
    assert counted(sn.Vocabulary().merge(other)) == counted(other)


def test_vocabularies_that_count_differently_do_not_merge():
    with pytest.raises(sn.NotMergeableError, match="lower is True here and False there"):
        sn.Vocabulary().fit(["a"]).merge(sn.Vocabulary(lower=False).fit(["a"]))
    with pytest.raises(TypeError, match="merged with another one"):
        sn.Vocabulary().merge({"a": 1})


def test_scikit_learn_counts_the_same():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    rng = np.random.default_rng(5)
    said = [" ".join(f"Word{int(i)}." for i in rng.zipf(1.4, 20) % 500) for _ in range(300)]
    theirs = text.CountVectorizer(token_pattern=r"[a-z0-9]+")
    sums = np.asarray(theirs.fit_transform(said).sum(axis=0))[0]
    expected = dict(zip(theirs.get_feature_names_out(), sums.tolist(), strict=True))
    assert dict(counted(sn.Vocabulary().fit(said))) == expected


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        pa.array,
        lambda x: pa.array(x, pa.large_string()),
        lambda x: pa.array(x, pa.string_view()),
        lambda x: pa.array(x, pa.binary()),
        lambda x: pa.array(x, pa.large_binary()),
        lambda x: pa.array(x).dictionary_encode(),
        lambda x: pa.chunked_array([pa.array(x[:3]), pa.array([None, None], pa.string()), pa.array(x[3:])]),
        lambda x: pa.chunked_array([["nothing"], [*x, "nothing"]])[1:-1],
        lambda x: np.array(x, object),
    ],
)
def test_every_kind_of_text_is_taken(make):
    made = make(TEXTS)
    assert counted(sn.Vocabulary().fit(made)) == twin(TEXTS)


def test_arrays_of_strings_and_series_are_taken():
    texts = [text or "" for text in TEXTS]
    vocabulary = sn.Vocabulary().fit(np.array(texts))
    assert counted(vocabulary) == twin(texts)
    for library in ("pandas", "polars"):
        series = pytest.importorskip(library).Series(TEXTS)
        assert counted(sn.Vocabulary().fit(series)) == twin(TEXTS)
        assert np.array_equal(vocabulary.transform(series, 4), vocabulary.transform(texts, 4))


def test_columns_of_frames_and_tables_are_taken():
    table = pa.table({"text": TEXTS, "n": list(range(len(TEXTS)))})
    assert counted(sn.Vocabulary().fit(table, "text")) == twin(TEXTS)
    for library in ("pandas", "polars"):
        frame = pytest.importorskip(library).DataFrame({"text": TEXTS})
        assert counted(sn.Vocabulary().fit(frame, column="text")) == twin(TEXTS)


@pytest.mark.parametrize("dictionary", [True, False])
def test_files_are_read_in_order_with_any_threads(tmp_path, dictionary):
    rng = np.random.default_rng(3)
    said = [None if i % 7 == 0 else f"token{i % 40} Other{int(rng.integers(900))}" for i in range(60_000)]
    for part in range(3):
        rows = said[part::3]
        table = pa.table({"text": pa.array(rows, pa.string())})
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=17_000, use_dictionary=dictionary)
    empty = pa.table({"text": pa.nulls(50, pa.string())})
    pq.write_table(empty, tmp_path / "none.parquet")
    one, two = (sn.Vocabulary().fit(tmp_path, "text", threads=threads) for threads in (1, 2))
    assert counted(one) == twin(said)
    assert one.digest() == two.digest() == sn.Vocabulary().fit(said + [None] * 50).digest()
    assert one.rows_ == 60_050
    turned = [tmp_path / "2.parquet", tmp_path / "none.parquet", tmp_path / "0.parquet", tmp_path / "1.parquet"]
    assert sn.Vocabulary().fit(turned, "text").digest() == one.digest()
    first = tmp_path / "0.parquet"
    assert np.array_equal(one.transform(first, 3, column="text"), one.transform(said[::3], 3))


def test_a_row_of_several_columns_is_one_text():
    table = pa.table(
        {
            "a": pa.array(["x", None, "z"]).dictionary_encode(),
            "b": pa.array(["y y", "u", None], pa.large_string()),
            "c": pa.array([None, "v", None], pa.string_view()),
        }
    )
    vocabulary = sn.Vocabulary().fit(table, ["a", "b", "c"])
    assert counted(vocabulary) == [("y", 2), ("u", 1), ("v", 1), ("x", 1), ("z", 1)]
    found = vocabulary.transform(table, 3, column=["a", "b", "c"])
    assert vocabulary.inverse_transform(found) == ["x y y", "u v", "z"]


def test_repeated_texts_count_as_often_as_they_occur():
    texts = ["a b", "b c c", None, "b"] * 1000  # enough to be counted by the distinct text
    assert counted(sn.Vocabulary().fit(texts)) == [("b", 3000), ("c", 2000), ("a", 1000)]
    large = pa.DictionaryArray.from_arrays(pa.array([3, None, 0]), pa.array(["a", "x", "y", "b a", "z"]))
    vocabulary = sn.Vocabulary().fit(large)
    assert counted(vocabulary) == [("a", 2), ("b", 1)]
    assert vocabulary.transform(large, 2).tolist() == [[3, 2], [0, 0], [0, 2]]
    unused = pa.DictionaryArray.from_arrays(pa.array([1, 1, 1]), pa.array(["x y", "z"]))
    of_unused = sn.Vocabulary().fit(unused)
    assert counted(of_unused) == [("z", 3)]
    assert len(of_unused._counts.tokens) == 1
    with_null = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["a", None]))
    assert vocabulary.transform(with_null, 1).tolist() == [[2], [0], [2]]
    assert vocabulary.transform(texts, 2).tolist() == [[2, 3], [1, 1], [0, 0], [0, 3]] * 1000


def test_unicode_is_lowered_and_cut_as_the_documentation_says():
    said = ["I \u0130 ı", "e\u0301t\u00e9 \u00c9", "ΣΑΣ", "go🎉home", "日本語 テスト"]
    found = sn.Vocabulary().fit(said).tokens_[2:]
    assert sorted(found) == sorted(["i", "ı", "e\u0301t\u00e9", "\u00e9", "σασ", "go", "home", "日本語", "テスト"])
    assert sn.Vocabulary(pattern=r"\s+").fit(["Go 🎉 🎉"]).tokens_[2:] == ["🎉", "go"]
    assert sn.Vocabulary(lower=False).fit(["Go go É"]).tokens_[2:] == ["Go", "go", "É"]


def test_equal_counts_go_by_code_points():
    order = ["B", "a", "é", "\uffff", "\U0001f600"]
    vocabulary = sn.Vocabulary(pattern=" ", lower=False).fit(list(reversed(order)))
    assert vocabulary.tokens_[2:] == order


def test_characters_are_tokens():
    vocabulary = sn.Vocabulary(pattern="characters").fit(["Ab é🎉", None, "b"])
    assert counted(vocabulary) == [("b", 2), (" ", 1), ("a", 1), ("é", 1), ("🎉", 1)]
    codes = vocabulary.transform(["é🎉x", "", None], 4)
    assert vocabulary.inverse_transform(codes) == ["é🎉[UNK]", "", ""]


def test_a_pattern_says_what_separates():
    vocabulary = sn.Vocabulary(pattern=r"[|;]").fit(["New York|LA;;New York|"])
    assert counted(vocabulary) == [("new york", 2), ("la", 1)]
    for pattern in ("", r"\s*", "a?"):
        with pytest.raises(ValueError, match="at least"):
            sn.Vocabulary(pattern=pattern)
    with pytest.raises(ValueError, match="RE2"):
        sn.Vocabulary(pattern="((")
    assert counted(sn.Vocabulary(pattern=r"\b").fit(["ab cd"])) == [(" ", 1), ("ab", 1), ("cd", 1)]
    assert counted(sn.Vocabulary(pattern=WORDS + "|zzz").fit(TEXTS)) == twin(TEXTS)


def test_few_codes_keep_the_most_frequent():
    texts = ["a a a b b c c d"]
    vocabulary = sn.Vocabulary(max_tokens=4).fit(texts)
    assert counted(vocabulary) == twin(texts, most=2)
    assert vocabulary.counts_.tolist() == [0, 3, 3, 2]
    assert len(vocabulary) == 4
    assert counted(sn.Vocabulary(min_count=2).fit(texts)) == twin(texts, least=2)


def test_a_very_long_text_and_a_very_long_token():
    long = "ab " * 2_000_000
    vocabulary = sn.Vocabulary(memory="16MB").fit([long, "x" * 3_000_000, "ab"])
    assert vocabulary.counts_[2] == 2_000_001
    assert vocabulary.transform([long], 3).tolist() == [[2, 2, 2]]


def true_and_counted(memory, chunks):
    counts, truth = TokenCounts(memory), Counter()
    for chunk in chunks:
        seen = Counter(chunk)
        truth.update(seen)
        counts.add(pa.array(list(seen), pa.string()), np.array(list(seen.values())))
    return counts, truth


def check_bounds(counts, truth):
    tokens, often, slack = counts.ranked()
    found = {token: (int(n), int(s)) for token, n, s in zip(tokens.to_pylist(), often, slack, strict=True)}
    assert counts.total == sum(truth.values())
    for token, true in truth.items():
        if token in found:
            count, missed = found[token]
            assert count <= true <= count + missed
            assert missed <= counts.error
        else:
            assert true <= counts.error


@pytest.mark.parametrize("seed", range(4))
def test_counts_that_do_not_fit_are_within_their_error(seed):
    rng = np.random.default_rng(seed)
    halves = [[[f"t{int(i)}" for i in rng.zipf(1.2 + 0.1 * seed, 2_000) % 50_000] for _ in range(20)] for _ in range(2)]
    memory = 8 * 30 * 1_000  # about a thousand tokens
    (one, first), (other, second) = (true_and_counted(memory, chunks) for chunks in halves)
    for counts, truth in ((one, first), (other, second), (one.merged(other), first + second)):
        check_bounds(counts, truth)
        assert 0 < counts.error < counts.total / 100
        assert len(counts.tokens) <= 1_100


def test_a_flood_of_rare_tokens_hides_no_frequent_one():
    chunks = [["often"] * 20 + [f"r{i}-{j}" for j in range(500)] for i in range(100)]
    counts, truth = true_and_counted(8 * 30 * 1_000, chunks)
    check_bounds(counts, truth)
    assert counts.ranked(1)[0].to_pylist() == ["often"]
    assert counts.error <= 4 * counts.total / 1_000


A_MILLION = """
import sys
import numpy as np, pyarrow as pa, streamnorm as sn
def texts(): # no list of them is held
    for i in range(0, 1_000_000, 20):
        yield " ".join(f"w{j}" for j in range(i, i + 20)) + " common"
vocabulary = sn.Vocabulary(memory=sys.argv[1]).fit(texts())
print(vocabulary.count_error_, vocabulary.tokens_[2], vocabulary.counts_[2], len(vocabulary))
"""
A_SINGLE_ONE = 'import streamnorm as sn; print(sn.Vocabulary().fit(iter(["a"])).tokens_)'
KEPT = 20 * 10**6  # bytes that the allocator and the interpreter may hold on top of the memory that was asked for


@pytest.mark.parametrize("memory", [32, 256])
def test_a_million_distinct_tokens_in_bounded_memory(memory):
    libraries = measure(A_SINGLE_ONE).peak
    run = measure(A_MILLION, f"{memory}MB")
    assert run.status == 0, run.err
    error, first, count, _ = run.out.split()
    assert first == "common"
    assert 50_000 - int(error) <= int(count) <= 50_000
    assert (int(error) == 0) == (memory == 256)
    assert run.peak < libraries + memory * 10**6 + KEPT


A_FILE = """
import sys
import streamnorm as sn
vocabulary = sn.Vocabulary(memory="48MB").fit(sys.argv[1], "t")
rows = sum(len(y) for x, y in vocabulary.batches(sys.argv[1], "t", "y", length=50, memory="48MB"))
print(vocabulary.rows_, rows)
"""


def test_files_are_read_in_bounded_memory(tmp_path):
    few, many = tmp_path / "few.parquet", tmp_path / "many.parquet"
    texts = [" ".join(f"w{(i * 31 + j * j) % 30_000}" for j in range(100)) for i in range(10_000)]  # 6 MB
    table = pa.table({"t": texts, "y": np.arange(10_000.0)})
    pq.write_table(table.slice(0, 10), few)
    with pq.ParquetWriter(many, table.schema, compression="snappy") as writer:
        for _ in range(8):
            writer.write_table(table, row_group_size=5_000)
    libraries = measure(A_FILE, few).peak
    run = measure(A_FILE, many)
    assert run.out.split() == ["80000", "80000"], run.err
    assert run.peak < libraries + 48 * 10**6 + KEPT


def test_saved_and_loaded(tmp_path):
    vocabulary = sn.Vocabulary(max_tokens=5, pattern=r"\s+", min_count=2, memory="20MB").fit(["a b 🎉 a", "b a é \x01"])
    vocabulary.save(tmp_path / "v.json")
    loaded = sn.load(tmp_path / "v.json")
    assert loaded.digest() == vocabulary.digest()
    assert repr(loaded) == repr(vocabulary)
    assert loaded.tokens_ == vocabulary.tokens_
    assert loaded.counts_.tolist() == vocabulary.counts_.tolist()
    assert loaded.rows_ == 2
    assert (loaded + vocabulary).digest() == (vocabulary + loaded).digest()
    with pytest.raises(sn.StateError, match="is a vocabulary"):
        sn.merge([tmp_path / "v.json"])


def test_slack_is_saved(tmp_path):
    texts = [" ".join(f"w{i}" for i in range(start, start + 3000)) + " w" for start in range(0, 240_000, 3000)]
    texts += ["late late late"] * 10
    vocabulary = sn.Vocabulary(memory="16MB").fit(texts)
    assert vocabulary.count_error_ > 0
    vocabulary.save(tmp_path / "v.json")
    assert "slack" in json.loads((tmp_path / "v.json").read_text())
    assert sn.load(tmp_path / "v.json").digest() == vocabulary.digest()


def test_damage_is_a_state_error(tmp_path):
    path = tmp_path / "v.json"
    sn.Vocabulary().fit(["a b b"]).save(path)
    good = path.read_bytes()
    content = json.loads(good)
    for bad in (good[:-9], good.replace(b'"b"', b'"c"'), good.replace(b"2", b"3", 1), good + b"x", b"\xff" + good):
        path.write_bytes(bad)
        with pytest.raises(sn.StateError, match="v.json"):
            sn.load(path)
    from streamnorm.documents import digest_of

    edits = [
        {"version": 2}, {"counts": [2]}, {"counts": [2, -1]}, {"counts": [2, 1.0]}, {"tokens": ["b", "b"]},
        {"tokens": ["b", ""]}, {"total": 2}, {"error": -1}, {"slack": [1, 0]}, {"more": 1}, {"rows": True},
        {"params": {**content["params"], "pattern": "(("}}, {"params": {"lower": True}}, {"tokens": ["b", None]},
    ]  # fmt: skip
    for edit in edits:
        edited = content | edit
        edited["digest"] = digest_of({key: value for key, value in edited.items() if key != "digest"})
        path.write_text(json.dumps(edited))
        with pytest.raises(sn.StateError):
            sn.load(path)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda v: v.fit("a text"), "single text"),
        (lambda v: v.fit(pa.table({"a": ["x"]})), "name the column"),
        (lambda v: v.fit(pa.table({"a": ["x"]}), "b"), "there is no column 'b'"),
        (lambda v: v.fit(pa.table({"a": [1]}), "a"), "column 'a' is int64"),
        (lambda v: v.fit(np.zeros((3, 2)), "a"), "array of numbers"),
        (lambda v: v.fit(np.zeros(3)), "float64"),
        (lambda v: v.fit(["a", 3]), "give strings"),
        (lambda v: v.fit(["\ud800"]), "surrogate"),
        (lambda v: v.fit([1, 2]), "int64"),
        (lambda v: v.fit(pa.array([b"\xff\xfe"])), "not UTF-8"),
    ],
)
def test_errors_say_what_to_do(action, message):
    with pytest.raises(sn.DataError, match=message):
        action(sn.Vocabulary())


@pytest.mark.parametrize("options", [{"lower": True}, {"lower": False}, {"pattern": ","}, {"pattern": "characters"}])
def test_texts_that_are_not_utf8_are_found(tmp_path, options):
    rows = [b"good"] * 2500 + ["né".encode(), b"b\xe9d"] + [b"fine"] * 400
    pq.write_table(pa.table({"t": rows}), tmp_path / "x.parquet", row_group_size=1000)
    with pytest.raises(sn.DataError, match="row group 2, column 't'") as caught:
        sn.Vocabulary(**options).fit(tmp_path / "x.parquet", "t")
    assert (caught.value.row_group, caught.value.column) == (2, "t")
    vocabulary = sn.Vocabulary(**options).fit(["good"])
    with pytest.raises(sn.DataError, match="row group 2, column 't'"):
        vocabulary.transform(tmp_path / "x.parquet", 2, column="t")


def test_arguments_are_checked():
    for options in ({"max_tokens": 2}, {"max_tokens": 1 << 25}, {"min_count": 0}, {"lower": 1}, {"memory": "1MB"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            sn.Vocabulary(**options)
    vocabulary = sn.Vocabulary()
    with pytest.raises(sn.NotFittedError, match="fit"):
        vocabulary.transform(["a"])
    vocabulary.fit(["a b"])
    for options in ({"length": 0}, {"padding": "left"}, {"truncating": None}):
        with pytest.raises(ValueError, match=next(iter(options))):
            vocabulary.transform(["a"], **options)
    for codes in ([[4]], [[-1]], [[0.5]], [1, 2]):
        with pytest.raises(ValueError, match="codes"):
            vocabulary.inverse_transform(codes)
    assert vocabulary.transform([], 3).shape == (0, 3)
    assert vocabulary.inverse_transform(np.zeros((0, 3))) == []
    assert sn.Vocabulary().fit([None, ""]).tokens_ == ["", "[UNK]"]
    assert sn.Vocabulary().fit([]).transform(["a"], 2).tolist() == [[0, 1]]


def test_a_fit_that_fails_changes_nothing():
    vocabulary = sn.Vocabulary().fit(["a b"])
    before = vocabulary.digest()
    for action in (vocabulary.fit, vocabulary.partial_fit):
        with pytest.raises(sn.DataError):
            action(pa.array([b"c d", b"\xff"]))
        assert vocabulary.digest() == before
