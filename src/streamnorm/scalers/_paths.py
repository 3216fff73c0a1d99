"""What a name in ``columns=`` stands for: a column, a field of structs, or the positions of lists.

``"fare"`` is a column, whatever its name holds. Where there is no such column, dots lead into structs (``"pos.x"``;
``"a\\.b.x"`` is field x of column "a.b"), and ``[*]`` at the end asks for statistics of each position of a list
(``"embedding[*]"``), which are then features of their own, ``embedding[0]`` and so on. Without ``[*]``, all values of a
column of lists have one statistic.

Design: a path is a string, so that it can be given wherever a column can: on the command line, in a mapping of columns
to methods, in a state. Turned down: a scaler around a scaler that says where its columns lie, for which every function
that takes names would need another argument.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..errors import DataError
from ..summary import near_matches
from ._select import as_names, index_columns, is_numeric_when_named, select_columns

_POSITION = re.compile(r"(.+)\[(\d+)\]", re.DOTALL)
EACH = "[*]"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the values of a name are.

    Attributes
    ----------
    name : str
        As it is asked for.
    column : str
        The column of the table.
    fields : tuple of str
        The fields that lead to the values, from the outermost struct on.
    each : bool
        Whether each position of the lists there is a feature.
    """

    name: str
    column: str
    fields: tuple[str, ...] = ()
    each: bool = False

    @property
    def path(self) -> str:
        """As Parquet calls it."""
        return ".".join((self.column, *self.fields))

    def features(self, length: int) -> list[str]:
        """The names of the features, of lists so long."""
        return [f"{self.name.removesuffix(EACH)}[{i}]" for i in range(length)] if self.each else [self.name]


def each_of(feature: str) -> str | None:
    """What a feature's name is asked for by, if it is that of a position: "v[*]" for "v[3]"."""
    found = _POSITION.fullmatch(feature) if feature.endswith("]") else None
    return None if found is None else found[1] + EACH


def asked_for(features: Iterable[str]) -> list[str]:
    """The features' names, with ``[*]`` in place of all positions of a column."""
    return list(dict.fromkeys(each_of(feature) or feature for feature in features))


def place_of(name: str, columns: Iterable[str]) -> Place:
    """What a name means in a table of these columns; the column need not be there."""
    if not isinstance(name, str):
        raise DataError(f"these columns have names, and {name!r} is none: give the column's name", column=name)
    if name in columns:
        return Place(name, name)
    steps = _steps(name.removesuffix(EACH))
    return Place(name, steps[0], tuple(steps[1:]), name.endswith(EACH))


def _steps(path: str) -> list[str]:
    """A path cut at its dots, but for those behind a backslash."""
    steps, escaped = [""], False
    for character in path:
        if escaped:
            steps[-1] += character if character in ".\\" else "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ".":
            steps.append("")
        else:
            steps[-1] += character
    steps[-1] += "\\" if escaped else ""
    return steps


def places_in(columns: Sequence[str], features: Sequence[str]) -> list[tuple[Place, list[str]]]:
    """The features by the place that they come from, in a table of these columns; the positions of a list are one."""
    known = set(columns)
    found: dict[str, tuple[Place, list[str]]] = {}
    for feature in features:
        name = feature if feature in known else each_of(feature) or feature
        if name not in found:
            found[name] = place_of(name, known), []
        found[name][1].append(feature)
    return list(found.values())


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is of lists that have values one after the other."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_list_view(kind: pa.DataType) -> bool:
    """Whether a type is of lists that may lie anywhere in their values."""
    return pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)


def storage_type(kind: pa.DataType) -> pa.DataType:
    """The type under extensions; lists for views of lists, which is what becomes of them where they are normalized."""
    if isinstance(kind, pa.BaseExtensionType):
        return storage_type(kind.storage_type)
    if is_list_view(kind):
        return (pa.list_ if pa.types.is_list_view(kind) else pa.large_list)(kind.value_field)
    return kind


def check_place(schema: pa.Schema, place: Place, index: Collection[str] | None = None) -> pa.DataType:
    """The type at a place of a table, of which these columns are pandas' index: of numbers, or of lists of them.

    Raises
    ------
    DataError
        If there is no such column or field, or it does not hold numbers.
    """
    found = schema.get_all_field_indices(place.column)
    if not found:
        near = near_matches(place.name, schema.names)
        raise DataError(f"there is no column {place.name!r}: {near}", column=place.name)
    if len(found) > 1:
        raise DataError(
            f"there are {len(found)} columns {place.column!r}: give them different names", column=place.column
        )
    if place.column in (index_columns(schema) if index is None else index):
        raise DataError(
            f"column {place.name!r} is the index of a pandas frame, which is not normalized: reset the index first",
            column=place.name,
        )
    kind = storage_type(schema.field(found[0]).type)
    for depth, name in enumerate(place.fields):
        where = ".".join((place.column, *place.fields[:depth]))
        if not pa.types.is_struct(kind):
            raise DataError(
                f"there is no column {place.name!r}: {where!r} holds {kind}, which has no fields", column=place.name
            )
        if kind.get_field_index(name) < 0:
            names = [kind.field(i).name for i in range(kind.num_fields)]
            raise DataError(
                f"there is no column {place.name!r}: of the fields of {where!r}, {near_matches(name, names)}",
                column=place.name,
            )
        kind = storage_type(kind.field(name).type)
    _check_values(place, kind)
    return kind


def _check_values(place: Place, kind: pa.DataType) -> None:
    inner = kind
    if pa.types.is_map(kind):
        raise DataError(
            f"column {place.name!r} holds {kind}, whose keys differ from row to row: leave it out, or make the values "
            "that are to be normalized a column or a struct",
            column=place.name,
        )
    while is_list(inner):
        inner = storage_type(inner.value_type)
    if not is_numeric_when_named(inner) or (inner is not kind and pa.types.is_null(inner)):
        raise DataError(
            f"column {place.name!r} holds {kind}, not numbers: leave it out, or convert it first", column=place.name
        )
    if place.each and not (is_list(kind) and kind.value_type == inner):
        raise DataError(
            f"column {place.name!r} has no positions: {place.path!r} holds {kind}, not lists of numbers",
            column=place.name,
        )


def has_lists(schema: pa.Schema, place: Place) -> bool:
    """Whether all values of lists at a place have one statistic."""
    return not place.each and is_list(check_place(schema, place))


def check_whole_lists(schema: pa.Schema, names: Sequence[str]) -> None:
    """Raise DataError unless there are whole lists under all of these names, as a Normalizer wants them."""
    known = set(schema.names)
    for place in (place_of(name, known) for name in names):
        kind = check_place(schema, place)
        if place.each:
            raise DataError(
                f"Normalizer takes lists as a whole: name {place.name.removesuffix(EACH)!r} without [*]",
                column=place.name,
            )
        if not is_list(kind):
            raise DataError(
                f"Normalizer brings lists to unit length, and column {place.name!r} holds {kind}, single numbers: name "
                "a column of lists, or give an array or a frame in memory, whose rows are to have unit length, to a "
                "Normalizer alone",
                column=place.name,
            )


def check_features(schema: pa.Schema, features: Sequence[str]) -> None:
    """Raise DataError unless each feature is there and can be normalized."""
    index = index_columns(schema)
    for place, _ in places_in(schema.names, features):
        check_place(schema, place, index)


def select_features(
    schema: pa.Schema, columns: str | Sequence[str] | None = None, exclude: str | Sequence[str] | None = None
) -> list[str]:
    """:func:`~streamnorm.scalers.select_columns`, where `columns` may hold paths.

    The positions of lists are still one name, which :func:`expanded` takes apart.
    """
    wanted, left_out = as_names(columns), set(as_names(exclude) or ())
    if wanted is None or left_out.intersection(wanted) == set(wanted):
        return select_columns(schema, columns, exclude)
    names = schema.names
    for name in left_out.difference(names, wanted):
        raise DataError(f"there is no column {name!r} to exclude: {near_matches(name, names)}", column=name)
    return ordered(schema, [name for name in wanted if name not in left_out])


def ordered(schema: pa.Schema, names: Iterable[str]) -> list[str]:
    """Names that were checked, in the order of the columns; each place may be named once."""
    known = set(schema.names)
    places = [place_of(name, known) for name in dict.fromkeys(names)]
    seen: dict[tuple[str, ...], str] = {}
    index = index_columns(schema)
    for place in places:
        check_place(schema, place, index)
        key = (place.column, *place.fields)
        if key in seen:
            raise DataError(f"{seen[key]!r} and {place.name!r} are the same values: leave one out", column=place.name)
        seen[key] = place.name
    return [place.name for place in sorted(places, key=lambda place: schema.get_field_index(place.column))]


def expanded(
    schema: pa.Schema, names: Sequence[str], arrays: Callable[[Place], Iterator[pa.Array]]
) -> list[str]:
    """The features of names that were selected; `arrays` gives the values at a place whose type says no length.

    Raises
    ------
    DataError
        If there is no list to tell how many positions there are, or a column has the name of a position.
    """
    known = set(schema.names)
    if all(name in known or not name.endswith(EACH) for name in names):
        return list(names)
    features: list[str] = []
    for name in names:
        place = place_of(name, known)
        features += place.features(_length(check_place(schema, place), place, arrays)) if place.each else [name]
    for feature in features:
        if feature in known and feature not in names:
            raise DataError(
                f"a position of {each_of(feature)!r} would have the name of the column {feature!r}: rename that column",
                column=feature,
            )
    return features


def _length(kind: pa.DataType, place: Place, arrays: Callable[[Place], Iterator[pa.Array]]) -> int:
    length = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    if length is None:
        for array in arrays(place):
            whole = next((one for one in array if one.is_valid), None)
            if whole is not None:
                length = len(whole)
                break
    if not length:
        raise DataError(
            f"column {place.name!r} has no positions: {'every list is null' if length is None else 'lists are empty'}",
            column=place.name,
        )
    return length
