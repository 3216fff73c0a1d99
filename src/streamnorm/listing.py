"""What ``streamnorm inspect`` prints: a table that fits the terminal, or JSON."""

# Design: a terminal that is too narrow for all statistics gets the ones that matter most, whole, and a line
# that names the others. Turned down: rich's own way of making room, which cuts digits off numbers.

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from io import StringIO
from typing import Any

from .cells import name_cell
from .console import one_line
from .doubts import Doubt, grouped

FIRST = 40  # columns listed unless all are asked for
UNLIMITED = 1_000_000  # characters

# The statistics in the order in which they are given room; the table shows them in the order of `inspect`.
_BY_WEIGHT = (
    "name", "count", "mean", "std", "min", "max", "median", "shape", "center", "scale", "null_count",
    "nan_count", "q25", "q75", "offset", "rank_error",
)  # fmt: skip
_HEADINGS = {"null_count": "nulls", "nan_count": "NaN", "infinite_count": "infinite", "rank_error": "rank error"}
_BELOW = {"certificates", "sketch_error", "warnings"}  # told below the table
_SHAPE = "shape"  # a picture, which is no statistic
_PADDING = 2  # blanks between two columns of the table


def as_json(said: Mapping[str, Any]) -> str:
    """RFC 8259 JSON: NaN, infinities, decimals and integers beyond 2**53 are strings, as in state files."""
    return json.dumps(_jsonable(said), indent=2, allow_nan=False)


def _jsonable(value: Any) -> Any:
    from . import state

    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _jsonable(item) for key, item in value.items()}
        return {"pairs": [[_jsonable(key), _jsonable(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return state._encode_int(value)
    if isinstance(value, float):
        return state._encode_float(value)
    if hasattr(value, "get_params"):
        return {"class": type(value).__name__, "params": _jsonable(value.get_params(deep=False))}
    return str(value)


def as_table(
    said: Mapping[str, Any],
    columns: Sequence[Mapping[str, Any]],
    hidden: int,
    *,
    tty: bool,
    shapes: Sequence[str] = (),
) -> str:
    """What `inspect` said for people: some of its columns, with histograms if there are any, and how many more."""
    from rich.console import Console

    # Rendered first and written by the caller: rich ends the process when a pipe breaks.
    text = StringIO()
    from .lineage import lines as lineage_lines

    terminal = Console(file=text, force_terminal=tty, width=None if tty else UNLIMITED)
    if said["scaler"] is None:
        terminal.print(f"{one_line(said['path'])}: carries no statistics", **_PLAIN)
        for line in lineage_lines(said["lineage"]):
            terminal.print(one_line(line), **_PLAIN)
        return text.getvalue()
    terminal.print(f"{one_line(said['path'])}: {said['scaler']}{_params(said['params'])}", **_PLAIN)
    terminal.print(f"{len(said['columns'])} columns{_files(said['file_count'])}, digest {said['digest']}", **_PLAIN)
    for line in lineage_lines(said["lineage"]) if said.get("lineage") else ():
        terminal.print(one_line(line), **_PLAIN)
    cells = {key: [_cell(key, column) for column in columns] for key in _keys(columns)}
    cells["name"] = [_name(column["name"], terminal) for column in columns]
    if any(shapes):
        cells = {"name": cells.pop("name"), _SHAPE: list(shapes), **cells}
    left_out = [key for key in _print_table(terminal, cells) if key != _SHAPE]
    left_out += _print_certificates(terminal, columns[: FIRST // 3] if hidden else columns)
    _print_warnings(terminal, said["columns"] if hidden else columns)
    if hidden:
        terminal.print(f"and {hidden:,} more columns: --all lists them, --columns NAME some of them", **_PLAIN)
    if left_out:
        names = ", ".join(map(_heading, left_out))
        terminal.print(f"no room for {names}: a wider terminal, a pipe or --json has them", **_PLAIN)
    return text.getvalue()


def _print_table(terminal: Any, cells: Mapping[str, Sequence[str]]) -> list[str]:
    """Print columns of cells by their keys, and return those that there is no room for."""
    from rich.table import Table

    chosen, left_out = _fitting(cells, terminal.width)
    table = Table(box=None, pad_edge=False, padding=(0, _PADDING, 0, 0))
    for key in chosen:
        side: Any = "left" if key in ("name", "quantile", _SHAPE) else "right"
        table.add_column(_heading(key), justify=side, no_wrap=True)
    for row in zip(*(cells[key] for key in chosen), strict=True):
        table.add_row(*(_text(cell) for cell in row))
    terminal.print()
    terminal.print(table)
    return left_out


def _print_certificates(terminal: Any, columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """How sure the quantiles are; of exact ones there is nothing to say but that. Returns what there is no room for."""
    certified = [c for c in columns if "certificates" in c and not math.isnan(c["certificates"][0]["value"])]
    exact = [column["name"] for column in certified if all(each["exact"] for each in column["certificates"])]
    doubtful = [column for column in certified if column["name"] not in exact]
    rows = [(column["name"], each) for column in doubtful for each in column["certificates"]]
    left_out: list[str] = []
    if rows:
        cells: dict[str, list[str]] = {key: [] for key in ("name", "quantile", "value", "ranks", "values")}
        for i, (name, each) in enumerate(rows):
            value, low, high = _apart(each["value"], each["value_low"], each["value_high"])
            cells["name"].append("" if i and rows[i - 1][0] == name else _name(name, terminal))
            cells["quantile"].append("median" if each["q"] == 0.5 else f"{100 * each['q']:g} %")
            cells["value"].append(value)
            cells["ranks"].append("exact" if each["exact"] else _ranks(each["low"], each["high"]))
            cells["values"].append(f"{low} to {high}")
        left_out = _print_table(terminal, cells)
        shown = " and ".join(key for key in ("ranks", "values") if key not in left_out)
        confidence = f"{100 * rows[0][1]['confidence']:g} %"
        if shown:
            terminal.print(f"({shown} between which a quantile lies, each at {confidence} confidence)", **_PLAIN)
    if exact:
        names = ", ".join(one_line(name) for name in exact) if rows else "all columns"
        terminal.print(f"{'' if rows else chr(10)}the quantiles of {names} are exact", **_PLAIN)
    return left_out


def _name(name: object, terminal: Any) -> str:
    """A column's name, which leaves room for figures."""
    return name_cell(name, None if terminal.width == UNLIMITED else terminal.width)


def _apart(*values: float) -> list[str]:
    """With as many digits as tell the values apart, six at the least."""
    for digits in (6, 9, 12, 17):
        texts = [f"{value:.{digits}g}" for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def _ranks(low: float, high: float) -> str:
    """Rounded outwards, to two digits of the difference at the least."""
    digits = max(4, 1 - math.floor(math.log10(max(high - low, 1e-12))))
    down = math.floor(low * 10**digits) / 10**digits
    up = math.ceil(high * 10**digits) / 10**digits
    return f"{down:.{digits}f} to {up:.{digits}f}"


def _print_warnings(terminal: Any, columns: Sequence[Mapping[str, Any]]) -> None:
    found = {column["name"]: [Doubt(**doubt) for doubt in column["warnings"]] for column in columns}
    for i, warning in enumerate(grouped(found)):
        terminal.print(f"{'' if i else chr(10)}warning: {one_line(warning)}", **_PLAIN)


_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


def _text(cell: str) -> Any:
    from rich.text import Text

    return Text(cell)  # a name in brackets is no markup


def _files(count: int) -> str:
    return f" of {count:,} file{'' if count == 1 else 's'}" if count else ""


def _params(params: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name}={one_line(repr(value))}" for name, value in params.items() if name != "copy")
    return f"({shown})"


def _keys(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every key that one of the columns has, in the order in which the fullest one has them."""
    fullest = max(columns, key=len, default={"name": ""})
    keys = [*fullest, *dict.fromkeys(key for column in columns for key in column if key not in fullest)]
    return [key for key in keys if key not in _BELOW]


def _heading(key: str) -> str:
    return _HEADINGS.get(key, key)


def _cell(key: str, column: Mapping[str, Any]) -> str:
    value = column.get(key)
    if key not in column:
        return ""
    if value is None:
        return "-"
    if key.endswith("count"):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return one_line(format(value, "f") if isinstance(value, Decimal) else value)


def _fitting(cells: Mapping[str, Sequence[str]], width: int) -> tuple[list[str], list[str]]:
    """The statistics that fit side by side, and those that do not; the name always does."""
    known = [key for key in _BY_WEIGHT if key in cells]
    by_weight = known + [key for key in cells if key not in known]
    room = width
    chosen: set[str] = set()
    for key in by_weight:
        need = max(map(len, [_heading(key), *cells[key]])) + _PADDING
        if need - _PADDING > room and chosen:
            break
        chosen.add(key)
        room -= need
    return [key for key in cells if key in chosen], [key for key in cells if key not in chosen]
