"""The rules of advice: what a column looks like, which scaler follows, and why."""

# Design: one list, read from the top; the first rule that says something decides, and what it says holds the figure
# that it decided by. First come columns that no scaler helps (no values, times, identifiers, codes), then those whose
# zeros or bounds mean something, then those whose tails would spoil a mean and a standard deviation; what is left is
# standardized. Turned down: a score for each scaler, whose weights nobody could check, and a fit of distributions,
# which says less.
#
# Thresholds are passed only by more than the sketch's error and two standard errors of a sample of that size, so that
# a few hundred rows of a normal column are not called skewed by chance.
#
# A rule that needs a figure which a saved state does not know says nothing.

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .describe import ColumnDescription
from .shape import NORMAL_QUARTILES

PASSTHROUGH = "passthrough"

OUTLIER_SHARE = 0.02  # beyond Tukey's fences; of a normal distribution 0.7 %
SPREAD_RATIO = 2.0  # standard deviation over what the quartiles tell of it
FAR = 25.0  # interquartile ranges between median and extremes; of 10**9 normal values 4.4, of exponential ones 19
SKEWNESS = 0.2  # Bowley's; of an exponential distribution 0.26
FLAT_TAILS = 0.64  # tail weight; 0.57 uniform, 1 normal
OF_SKEWNESS, OF_TAILS = 1.37, 0.57  # standard errors for one value: Bowley's if normal, tail weight if uniform
ZERO_SHARE = 0.5
CODES = 32  # different whole numbers
ROWS_A_CODE = 20
MIN_ROWS = 50  # below which an order or uniqueness may be chance
UNIQUE = 0.95
PIXELS = 16  # columns
PIXEL_MAX = 255

_IDENTIFIER = re.compile(
    r"(?:^|[_\s.-])(?i:id|ids|key|uuid|guid|zip|zipcode|postcode|code)$|[a-z](?:Id|ID|Key|Code)$"
)
_TIMES = ("timestamp", "date", "time")  # a duration is an amount
_UNIX = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
_FROM, _UNTIL = 631_152_000, 4_102_444_800  # 1990 and 2100


@dataclass(frozen=True)
class Look:
    """A column, and what the others of its table are like.

    Attributes
    ----------
    column : ColumnDescription
    alike : int
        Columns of its type whose names differ from its name in numbers alone, itself included.
    alike_max : float
        The largest value of these; -1 if one holds anything but whole numbers from 0 on.
    """

    column: ColumnDescription
    alike: int = 1
    alike_max: float = -1

    def share(self, count: int | None) -> float:
        """Of the values."""
        return (count or 0) / self.column.count if self.column.count else 0.0


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes
    ----------
    name : str
    when : str
        The condition, in words.
    reason : callable
        Takes a :class:`Look`; what speaks for the rule, with the figure, or None if it does not hold.
    method : str
        "standard", "minmax", "maxabs", "robust" or "passthrough".
    source : str
        Where it comes from.
    """

    name: str
    when: str
    reason: Callable[[Look], str | None]
    method: str
    source: str


def _empty(look: Look) -> str | None:
    column = look.column
    if column.count != 0:
        return None
    return "no finite value in any row" if column.infinite_count else "no value in any row"


def _constant(look: Look) -> str | None:
    column = look.column
    if not column.constant:
        return None
    return f"the only value is {short(column.min)}" if column.min == column.max else "no spread beside its size"


def _temporal(look: Look) -> str | None:
    kind = look.column.type
    if not kind.startswith(_TIMES):
        return None
    if kind.startswith("time") and not kind.startswith("timestamp"):
        return "a time of day: midnight has two ends; use its sine and cosine"
    order = f", {look.column.monotone} row by row" if look.column.monotone else ""
    return f"{kind.partition('[')[0]}{order}: new rows lie outside of any range; derive an hour, a weekday or an age"


def _span(look: Look) -> str | None:
    column = look.column
    if column.min is None or column.max is None or math.isfinite(float(column.max) - float(column.min)):
        return None
    return (
        f"spans more than a float64 can hold, {short(column.min)} to {short(column.max)}: divide it by a constant first"
    )


def _two_values(look: Look) -> bool:
    return look.column.distinct == 2 and look.column.distinct_error == 0


def _flag(look: Look) -> str | None:
    column = look.column
    if column.type == "bool" or (_two_values(look) and (column.min, column.max) == (0, 1)):
        return f"a flag: 0 and 1 already, 1 in {percent(column.mean or 0.0)} of the values"
    return None


def _pair(look: Look) -> str | None:
    column = look.column
    if not _two_values(look):
        return None
    return f"two values, {ends(column.min, column.max, ' and ')}: they become 0 and 1"


def _named(look: Look) -> str | None:
    column = look.column
    name = str(column.name)
    if column.whole and _IDENTIFIER.search(name) and column.distinct is not None:
        return f"named like an identifier, {about(column)} whole numbers: a distance between two means nothing"
    return None


def _key(look: Look) -> str | None:
    column = look.column
    if not (column.whole and _is_unique(column) and column.tail_weight is not None) or column.type.startswith("dur"):
        return None
    skew = abs(column.quantile_skew or 0.0)
    if column.tail_weight > FLAT_TAILS + _chance(look, OF_TAILS) or skew > SKEWNESS / 2 + _chance(look, OF_SKEWNESS):
        return None
    number = about(column).removesuffix(" different")
    return f"a key: {number} of {column.count:,} values are different, evenly spread whole numbers"


def _is_unique(column: ColumnDescription) -> bool:
    if column.count is None or column.distinct is None or column.count < MIN_ROWS:
        return False
    return column.distinct * (1 + 3 * (column.distinct_error or 0.0)) >= UNIQUE * column.count


def _clock(look: Look) -> str | None:
    column = look.column
    if column.count is None or column.count < MIN_ROWS or column.distinct is None:
        return None
    unix = _unix_time(column) if column.whole or column.monotone else None  # with fractions, in order
    if unix:
        return f"{unix}: new rows lie outside of any range; derive an hour, a weekday or an age"
    if column.whole and column.monotone and column.distinct >= column.count / 2:
        return f"{column.monotone} row by row, {about(column)}: a clock or a counter, new rows lie outside of any range"
    return None


def _unix_time(column: ColumnDescription) -> str | None:
    if column.distinct is None or column.distinct <= CODES:
        return None
    for unit, factor in _UNIX:
        if _FROM * factor <= column.min and column.max <= _UNTIL * factor:
            first, last = (datetime.fromtimestamp(int(end) // factor, UTC).date() for end in (column.min, column.max))
            return f"reads as Unix {unit} from {first} to {last}"
    return None


def _pixels(look: Look) -> str | None:
    column = look.column
    if "uint8" in column.type and column.max is not None and column.max > CODES and (column.distinct or 0) > CODES:
        return f"8-bit intensities, {column.min} to {column.max} of 255"
    if look.alike >= PIXELS and 0 < look.alike_max <= PIXEL_MAX:
        return f"one of {look.alike:,} columns alike, whole numbers up to {short(look.alike_max)}: intensities"
    if "list" in column.type and column.whole and column.min == 0 and column.max <= PIXEL_MAX:
        return f"lists of whole numbers, 0 to {short(column.max)}: intensities"
    return None


def _codes(look: Look) -> str | None:
    column = look.column
    if not column.whole or column.distinct is None or column.count is None or column.distinct_error:
        return None
    few = 2 < column.distinct <= CODES and column.count >= ROWS_A_CODE * column.distinct
    if not few or column.max - column.min + 1 > 2 * column.distinct:
        return None
    return (
        f"{column.distinct} whole numbers, {short(column.min)} to {short(column.max)}: if codes, encode them as "
        "categories; if amounts, minmax"
    )


def _sparse(look: Look) -> str | None:
    share = look.share(look.column.zero_count)
    return f"{percent(share)} zeros, which stay zeros" if share >= ZERO_SHARE else None


def _spike(look: Look) -> str | None:
    q = look.column.quantiles
    if 0.25 not in q or 0.75 not in q or q[0.25] != q[0.75]:
        return None
    return f"half of the values or more are {short(q[0.25])}, so that quartiles have no range to divide by"


def _outliers(look: Look) -> str | None:
    column = look.column
    if column.outlier_count is None:
        return None
    sure = look.share(column.outlier_count - (column.outlier_error or 0))
    if sure < OUTLIER_SHARE + 2 * math.sqrt(OUTLIER_SHARE / (column.count or 1)):
        return None
    return f"{percent(look.share(column.outlier_count))} of the values beyond Tukey's fences (normal: 0.7 %)"


def _far(look: Look) -> str | None:
    column = look.column
    q = column.quantiles
    reach = _quartile_range(q)
    if not reach or column.min is None:
        return None
    if column.std is not None and column.std * NORMAL_QUARTILES / reach >= SPREAD_RATIO:
        return f"the standard deviation is {column.std * NORMAL_QUARTILES / reach:.3g} times what the quartiles tell"
    low, high = (q[0.5] - float(column.min)) / reach, (float(column.max) - q[0.5]) / reach
    if max(low, high) >= FAR:
        which, end = ("maximum", column.max) if high >= low else ("minimum", column.min)
        return f"the {which}, {short(end)}, is {max(low, high):.3g} interquartile ranges from the median"
    return None


def _quartile_range(q: dict[float, float]) -> float | None:
    if any(at not in q for at in (0.25, 0.5, 0.75)):
        return None
    reach = q[0.75] - q[0.25]
    return reach if 0 < reach < math.inf else None


def _skewed(look: Look) -> str | None:
    skew = look.column.quantile_skew
    if skew is None or abs(skew) < SKEWNESS + _chance(look, OF_SKEWNESS):
        return None
    return f"skewed: {skew:.2f} by its quartiles (symmetric: 0)"


def _chance(look: Look, error: float) -> float:
    """Two standard errors of a figure of so many values; `error` is that of one."""
    return 2 * error / math.sqrt(look.column.count or 1)


def _bounded(look: Look) -> str | None:
    column = look.column
    if column.tail_weight is None or column.outlier_count is None:
        return None
    if column.tail_weight > FLAT_TAILS + _chance(look, OF_TAILS):
        return None
    if column.fences is None or column.min < column.fences[0] or column.max > column.fences[1]:
        return None
    tails = f"tails {column.tail_weight:.2f} (normal: 1)"
    return f"ends in bounds, {ends(column.min, column.max)}, with {tails}"


def _rest(look: Look) -> str | None:
    column = look.column
    if column.tail_weight is None or column.quantile_skew is None:
        return "no quantiles are known that speak against it"
    return (
        f"nothing against it: skewness {column.quantile_skew:.2f} and tails {column.tail_weight:.2f} (normal: 0 and 1)"
    )


RULES: Sequence[Rule] = (
    Rule("empty", "no finite value at all", _empty, PASSTHROUGH, "there is nothing to fit"),
    Rule("time", "a type of dates or times of day", _temporal, PASSTHROUGH,
         "bounds and means hold for data like that of the fit, and time goes on"),
    Rule("constant", "no spread, relative to the size of the values", _constant, PASSTHROUGH,
         "Chan, Golub and LeVeque (1983), as in scikit-learn: what is left is rounding"),
    Rule("span", "minimum and maximum further apart than a float64 can say", _span, PASSTHROUGH,
         "IEEE 754: no scale could be computed; a fit refuses such a column"),
    Rule("flag", "a boolean, or 0 and 1 alone", _flag, PASSTHROUGH,
         "Gelman, Scaling regression inputs by dividing by two standard deviations (2008): binary inputs stay"),
    Rule("pair", "two different values", _pair, "minmax", "the same, after coding as 0 and 1"),
    Rule("name", "whole numbers under a name that ends in id, key, uuid, zip or code", _named, PASSTHROUGH,
         "Stevens, On the theory of scales of measurement (1946): nominal numbers have no mean"),
    Rule("clock", "whole numbers that never step back and mostly differ, or numbers, whole or in order, that lie "
         f"between 1990 and 2100 as Unix time, {MIN_ROWS} values or more", _clock, PASSTHROUGH,
         "as for times: the next rows lie outside of what was fitted"),
    Rule("key", f"whole numbers, at least {UNIQUE:.0%} of them different, spread evenly, {MIN_ROWS} values or more",
         _key, PASSTHROUGH, "Stevens (1946); distinct values by HyperLogLog, Flajolet et al. (2007)"),
    Rule("pixels", f"8-bit numbers, or {PIXELS} columns alike of whole numbers from 0 up to at most {PIXEL_MAX}",
         _pixels, "minmax", "scikit-learn's guide: MinMaxScaler for data of known bounds, such as intensities"),
    Rule("codes", f"3 to {CODES} different whole numbers, nearly all of a range, {ROWS_A_CODE} rows for each or more",
         _codes, PASSTHROUGH, "Stevens (1946): whether they are codes or amounts, data cannot tell"),
    Rule("sparse", f"{ZERO_SHARE:.0%} zeros or more", _sparse, "maxabs",
         "scikit-learn's guide, Scaling sparse data: MaxAbsScaler keeps zeros"),
    Rule("spike", "first and third quartile are equal", _spike, "standard",
         "RobustScaler divides by the difference of the two"),
    Rule("outliers", f"more than {OUTLIER_SHARE:.0%} beyond Tukey's fences, and not by chance", _outliers, "robust",
         "Tukey, Exploratory Data Analysis (1977); scikit-learn's guide, Scaling data with outliers"),
    Rule("far", f"a standard deviation {SPREAD_RATIO:g} times what the quartiles tell, or an extreme {FAR:g} "
         "interquartile ranges from the median", _far, "robust",
         "Huber, Robust Statistics (1981): one value can move a standard deviation without bound"),
    Rule("skewed", f"Bowley's skewness {SKEWNESS:g} or more, either way, and not by chance", _skewed, "robust",
         "Bowley, Elements of Statistics (1920)"),
    Rule("bounded", f"tails at most {FLAT_TAILS:g} of a normal distribution's, and no value beyond Tukey's fences",
         _bounded, "minmax", "tail weight after Crow and Siddiqui (1967); scikit-learn's guide: bounded data"),
    Rule("rest", "none of these", _rest, "standard", "z-scores suit what has a mean, a spread and no long tails"),
)  # fmt: skip


def short(value: Any) -> str:
    """A number for people."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def ends(low: Any, high: Any, between: str = " to ") -> str:
    """Two numbers for people, with as many digits as tell them apart.

    >>> ends(0, 12), ends(1.6e9, 1.6e9 + 2000.25)
    ('0 to 12', '1600000000 to 1600002000')
    """
    if not (isinstance(low, float) and isinstance(high, float) and math.isfinite(high - low) and high > low):
        return f"{short(low)}{between}{short(high)}"
    digits = max(6, min(17, 4 + math.ceil(math.log10(max(abs(low), abs(high))) - math.log10(high - low))))
    return f"{low:.{digits}g}{between}{high:.{digits}g}"


def percent(share: float) -> str:
    """A share for people; never 0 % or 100 % for what is not quite that.

    >>> percent(0.0524), percent(0.99999), percent(0.00001), percent(1.0)
    ('5.2 %', '> 99.9 %', '< 0.1 %', '100 %')
    """
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.3g} %" if share >= 0.1 else f"{100 * share:.1f} %"


def about(column: ColumnDescription) -> str:
    """The number of different values, for people."""
    return f"{'about ' if column.distinct_error else ''}{column.distinct:,} different"


def looks(columns: Sequence[ColumnDescription]) -> list[Look]:
    """Each column with what is known of those like it."""
    groups: dict[tuple[str, str], list[ColumnDescription]] = {}
    keys = [(column.type, re.sub(r"\d+", "#", str(column.name))) for column in columns]
    for key, column in zip(keys, columns, strict=True):
        groups.setdefault(key, []).append(column)
    return [Look(column, len(groups[key]), _largest(groups[key])) for key, column in zip(keys, columns, strict=True)]


def _largest(columns: Sequence[ColumnDescription]) -> float:
    held = [column for column in columns if column.count]
    if not held or any(not column.whole or column.min is None or column.min < 0 for column in held):
        return -1
    return max(float(column.max) for column in held)
