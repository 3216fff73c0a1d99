"""NIST's nine univariate sets: how many digits of mean and standard deviation are right, however the data comes."""

import decimal
import functools
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.truth import Moments, log_relative_error, root

import streamnorm as sn

FOLDER = Path(__file__).parent / "data" / "nist"
NAMES = ("PiDigits", "Lottery", "Lew", "Mavro", "Michelso", "NumAcc1", "NumAcc2", "NumAcc3", "NumAcc4")
STATED = ("values", "certified mean", "certified standard deviation")
CERTIFIED_DIGITS = 15
EXACT_LRE = 15.0  # in fact every result has all 53 bits; see below
DEFAULT_LRE = 14.0
CAP = 17.0
OFFSETS = (0.0, 1e9)
SEED = 1879


@dataclass(frozen=True)
class Set:
    """One of NIST's sets; the truth is that of the doubles, as few of the decimals are doubles."""

    decimals: tuple[str, ...]
    certified_mean: str
    certified_std: str

    @functools.cached_property
    def doubles(self) -> np.ndarray:
        return np.array([float(text) for text in self.decimals])


@functools.cache
def load(name: str) -> Set:
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    notes = [line.removeprefix("# ") for line in lines if line.startswith("#")]
    stated = {key: note.removeprefix(key).strip() for note in notes for key in STATED if note.startswith(key)}
    decimals = tuple(line for line in lines if not line.startswith("#"))
    assert len(decimals) == int(stated["values"])
    return Set(decimals, stated["certified mean"], stated["certified standard deviation"])


@functools.cache
def shifted(name: str, offset: float) -> tuple[np.ndarray, Moments]:
    """A set's doubles after an addition in double arithmetic, and the truth about them."""
    doubles = load(name).doubles + offset
    return doubles, Moments(doubles)


def rounded(x: Fraction) -> Decimal:
    context = decimal.Context(prec=CERTIFIED_DIGITS, rounding=decimal.ROUND_HALF_EVEN)
    return context.divide(Decimal(x.numerator), Decimal(x.denominator))


@pytest.mark.parametrize("name", NAMES)
def test_certified_values_are_those_of_the_decimals(name):
    data = load(name)
    truth = Moments(Fraction(text) for text in data.decimals)
    assert rounded(truth.exact_mean()) == Decimal(data.certified_mean)
    assert rounded(root(truth.exact_var(1))[0]) == Decimal(data.certified_std)


def cut(values, rng):
    """Slices between random cuts, some of them empty."""
    ends = np.sort(rng.integers(0, len(values) + 1, min(len(values), 40)))
    return np.split(values, ends)


def stream(parts, make):
    moments = make()
    for part in parts:
        moments.update(part)
    return moments


def left_fold(parts, make):
    return functools.reduce(lambda a, b: a.merge(b), [make().update(part) for part in parts])


def balanced_tree(parts, make):
    level = [make().update(part) for part in parts]
    while len(level) > 1:
        pairs = [level[i].merge(level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def one_by_one(values, rng):
    return np.split(values, len(values))


WAYS = {
    "whole": (lambda values, rng: [values], stream),
    "one row a chunk": (one_by_one, stream),
    "random chunks": (cut, stream),
    "left fold of parts": (cut, left_fold),
    "balanced tree of parts": (cut, balanced_tree),
    "left fold of one-row parts": (one_by_one, left_fold),
    "balanced tree of one-row parts": (one_by_one, balanced_tree),
}


def digits(found, truth):
    """Log relative errors of mean and standard deviation."""
    return (
        log_relative_error(found.mean, truth.exact_mean(), CAP),
        log_relative_error(found.std(1), root(truth.exact_var(1))[0], CAP),
    )


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_default_moments_have_14_digits(name, way, offset):
    split, gather = WAYS[way]
    values, truth = shifted(name, offset)
    found = gather(split(values, np.random.default_rng(SEED)), sn.Moments)
    mean, std = digits(found, truth)
    assert found.count == truth.count
    assert mean >= DEFAULT_LRE and std >= DEFAULT_LRE, f"mean {mean:.2f}, standard deviation {std:.2f} digits"


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_exact_moments_are_the_nearest_doubles(name, way, offset):
    split, gather = WAYS[way]
    values, truth = shifted(name, offset)
    found = gather(split(values, np.random.default_rng(SEED)), functools.partial(sn.Moments, exact=True))
    mean, std = digits(found, truth)
    assert mean >= EXACT_LRE and std >= EXACT_LRE, f"mean {mean:.2f}, standard deviation {std:.2f} digits"
    assert (found.count, found.mean) == (truth.count, truth.mean)
    for ddof in (0, 1):
        assert found.var(ddof) == truth.var(ddof)
        assert found.std(ddof) == truth.std(ddof)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
@pytest.mark.parametrize("name", NAMES)
def test_scalers_have_the_digits_of_the_moments(name, exact, offset):
    """Fitted whole, in parts by partial_fit, and by merges in a random order."""
    values, truth = shifted(name, offset)
    scaler = functools.partial(sn.StandardScaler, ddof=1, **({"exact": True} if exact else {}))
    rng = np.random.default_rng(SEED)
    parts = [part[:, None] for part in cut(values, rng) if len(part)]
    streamed = scaler()
    for part in parts:
        streamed.partial_fit(part)
    fitted = [scaler().fit(part) for part in parts]
    rng.shuffle(fitted)
    summed = functools.reduce(lambda a, b: a + b, fitted)
    for found in (scaler().fit(values[:, None]), streamed, sn.merge(fitted), summed):
        mean, std = digits(found.summary_[0], truth)
        least = EXACT_LRE if exact else DEFAULT_LRE
        assert mean >= least and std >= least, f"mean {mean:.2f}, standard deviation {std:.2f} digits"
        if exact:
            assert (found.mean_[0], found.var_[0], found.scale_[0]) == (truth.mean, truth.var(1), truth.std(1))
            assert found.digest() == streamed.digest()
