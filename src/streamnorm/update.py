"""Which files of a source a state has counted: what an update reads, what it passes over, and what it refuses."""

# Design: files are sorted out from the bytes of their footers, which are not even parsed: 100,000 files that were
# counted before cost seconds. What cannot be told is refused: a file that changed may hold the old rows beside new
# ones, and a copy of a counted file may be one that is only alike. `recount` lifts the refusals; it never makes an
# update read again what is unchanged.

from __future__ import annotations

import glob
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .doubts import level_of_the_caller
from .errors import DataError, NotMergeableError, StreamnormWarning
from .globs import pattern_of
from .ledger import HASH_DIGITS, CountedFile, Ledger, absolute, named, short_hash
from .locations import StorePath, locate
from .masking import is_uri
from .matching import columns_of, matching_columns
from .parquet.footer import footer_bytes
from .parquet.random_access import RandomAccess
from .scalers import BaseScaler
from .scalers._paths import asked_for, check_place, is_list, places_in, storage_type
from .scalers._select import as_names
from .sources import ParquetInput, check_same_types, find_files, is_file_source
from .stores import explained
from .summary import ColumnSummary

logger = logging.getLogger("streamnorm")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a source, as far as it tells whether it was counted."""

    path: Path
    at: str
    content: tuple[int, str]


def counted_file(file: ParquetInput) -> CountedFile:
    """A file that is counted, for the ledger."""
    return CountedFile(absolute(file.path), *content_of(file), file.num_rows)


def content_of(file: ParquetInput) -> tuple[int, str]:
    return file.footer.file_size, file.footer.sha256[:HASH_DIGITS]


def found_file(path: Path) -> FoundFile:
    """What a file says of itself: one read at its end.

    Raises
    ------
    DataError
        If it cannot be opened or is not a Parquet file.
    """
    try:
        with RandomAccess(path) as file:
            return FoundFile(path, absolute(path), (file.size, short_hash(footer_bytes(file)[0])))
    except OSError as error:
        message = f"{path}: cannot be opened as Parquet ({error.strerror or explained(error)})"
        raise DataError(message, file=str(path)) from error


@dataclass(frozen=True, slots=True)
class SortedOut:
    """The files of a source, by what a ledger says of them.

    Attributes
    ----------
    new : list of FoundFile
    counted : list of FoundFile
        Which were counted under their path.
    moved : list of (FoundFile, CountedFile)
        Which were counted under a path where they are no longer.
    copies : list of (FoundFile, str)
        Which have size and footer of a counted file that is still where the second says.
    changed : list of FoundFile
        Whose path was counted with another size or footer.
    """

    new: list[FoundFile] = field(default_factory=list)
    counted: list[FoundFile] = field(default_factory=list)
    moved: list[tuple[FoundFile, CountedFile]] = field(default_factory=list)
    copies: list[tuple[FoundFile, str]] = field(default_factory=list)
    changed: list[FoundFile] = field(default_factory=list)


def sort_out(ledger: Ledger, files: Sequence[FoundFile]) -> SortedOut:
    """Tell new files from counted ones.

    A file that was counted stands for one found file: of two that are like it, one has moved and one is a copy.
    """
    result = SortedOut()
    here = {file.at: file for file in files}
    holders: dict[CountedFile, str] = {}  # where the content of a counted file was found
    unknown = []
    for file in files:
        entry = next((entry for entry in ledger.at(file.at) if entry.content == file.content), None)
        if entry is None:
            unknown.append(file)
        else:
            holders[entry] = file.at
            result.counted.append(file)
    strangers = []
    for file in unknown:
        alike = [entry for entry in ledger.like(file.content) if entry.rows]  # files without rows are all alike
        if not alike:
            strangers.append(file)
        elif any(not entry.path for entry in alike):
            result.counted.append(file)  # under a path that is not known
        else:
            gone = next((entry for entry in alike if entry not in holders and not _is_there(entry, here)), None)
            if gone is None:
                result.copies.append((file, holders.get(alike[0], alike[0].path)))
            else:
                holders[gone] = file.at
                result.moved.append((file, gone))
    for file in strangers:
        # A path whose counted content was found elsewhere has been given to another file.
        left = [entry for entry in ledger.at(file.at) if entry not in holders]
        (result.changed if left else result.new).append(file)
    return result


def _is_there(entry: CountedFile, here: Mapping[str, FoundFile]) -> bool:
    """Whether a counted file is still where it was, unchanged."""
    if entry.path in here:
        return here[entry.path].content == entry.content
    if is_uri(entry.path):
        return _is_in_store(entry, here)
    try:
        return os.path.getsize(entry.path) == entry.size and found_file(Path(entry.path)).content == entry.content
    except (OSError, DataError):
        return False


def _is_in_store(entry: CountedFile, here: Mapping[str, FoundFile]) -> bool:
    """The same in a store: that of a file that is here, or else the one that the address tells."""
    try:
        for file in here.values():
            if isinstance(file.path, StorePath) and entry.path.startswith(root := str(StorePath(file.path.store, ""))):
                place = StorePath(file.path.store, entry.path[len(root) :])
                break
        else:
            place = locate(entry.path)
        known = place.info()
        return known.kind == "file" and known.size == entry.size and found_file(place).content == entry.content
    except DataError:
        return False


def check_uncounted(ledger: Ledger, files: Sequence[ParquetInput]) -> None:
    """Raise DataError if a fit that goes on would count files twice."""
    if not ledger:
        return
    if ledger.folded:
        raise DataError(
            f"the state comes from the footer of an output, which tells that {ledger.count:,} files were counted and "
            "not which: go on from the state that was saved as JSON, or say that these are others (recount)",
            file=str(files[0].path),
        )
    sorted_out = sort_out(ledger, [FoundFile(file.path, absolute(file.path), content_of(file)) for file in files])
    twice = [(file, str(file.path)) for file in sorted_out.counted]
    twice += [(file, f"{file.path} (counted as {entry.path})") for file, entry in sorted_out.moved]
    twice += [(file, f"{file.path} (a copy of {where})") for file, where in sorted_out.copies]
    if twice:
        raise DataError(
            f"{_counted_of(len(twice), len(files))} counted before, and would count twice: "
            f"{named(name for _, name in twice)}; leave them out, let sn.fit(..., update=) do so, or count them again "
            "on purpose (recount)",
            file=str(twice[0][0].path),
        )
    refuse_changed(sorted_out.changed, len(files))


def _counted_of(number: int, of: int) -> str:
    if of == 1:
        return "the file was"
    return f"{number:,} of the {of:,} files {'was' if number == 1 else 'were'}"


def refuse_changed(changed: Sequence[FoundFile], of: int) -> None:
    if changed:
        raise DataError(
            f"{_counted_of(len(changed), of)} counted before and changed since: "
            f"{named(str(file.path) for file in changed)}; the old rows cannot be told from the new: fit again from "
            "all files, or count them as they are now beside the old rows (recount)",
            file=str(changed[0].path),
        )


# ------------------------------------------------------------------------------------------------ an update


@dataclass(frozen=True, slots=True)
class Update:
    """What is new in a source.

    Attributes
    ----------
    new : list of ParquetInput
        To be read.
    ledger : Ledger
        Of the state before, with the paths of files that have moved.
    known : ParquetInput or None
        A counted file, whose types the new ones must have.
    """

    new: list[ParquetInput]
    ledger: Ledger
    known: ParquetInput | None


def updated(
    source: Any,
    old: BaseScaler,
    fit_new: Callable[[BaseScaler, Sequence[ParquetInput]], None],
    *,
    recount: bool,
) -> BaseScaler:
    """A new scaler that has seen what the old one has, and what is new in the source.

    `fit_new` adds files to a scaler; otherwise see `streamnorm.fit`, which is the one to call this.
    """
    if not is_file_source(source):
        raise DataError("update tells new files from counted ones, and the source is in memory: use partial_fit for it")
    new = type(old)(**old.get_params(deep=False)).merge(old)
    plan = plan_update(source, old, recount)
    new.summary_.files = plan.ledger
    if any(file.num_rows for file in plan.new):
        check_same_kinds(new, plan.new, matching_columns(new, plan.new[0]), plan.known)
        fit_new(new, plan.new)
    else:
        new.summary_.files += Ledger(map(counted_file, plan.new))
    return new


def plan_update(source: Any, scaler: BaseScaler, recount: bool) -> Update:
    """Find what is new in a source.

    Raises
    ------
    DataError
        If a file cannot be read, has changed since it was counted, or is a copy of a counted one.
    NotMergeableError
        If the state does not know which files it has counted.
    """
    ledger = scaler.summary_.files
    if not recount:
        _check_ledger(scaler)
    items, absent = _present(source, ledger)
    found = [found_file(path) for path in find_files(items)] if items else []
    sorted_out = sort_out(ledger, found)
    to_read = sorted_out.new
    if recount:
        to_read = to_read + sorted_out.changed + [file for file, _ in sorted_out.copies]
    else:
        refuse_changed(sorted_out.changed, len(found))
        _refuse_copies(sorted_out.copies, len(found))
    if sorted_out.moved:
        pairs = [(old, CountedFile(file.at, *file.content, old.rows)) for file, old in sorted_out.moved]
        ledger = ledger.without(Ledger(old for old, _ in pairs)) + Ledger(new for _, new in pairs)
    _warn_of_vanished(ledger, source, {file.at for file in found}, absent)
    _say(len(found), len(to_read), sorted_out.moved)
    new = [ParquetInput(file.path) for file in sorted(to_read, key=lambda file: file.path)]
    known = [*sorted_out.counted, *(file for file, _ in sorted_out.moved)] if new else []
    return Update(new, ledger, ParquetInput(known[0].path) if known else None)


def _check_ledger(scaler: BaseScaler) -> None:
    ledger = scaler.summary_.files
    if not ledger.has_all_paths:
        raise NotMergeableError(
            "the state comes from the footer of an output, which does not say where the counted files lie: update the "
            "state that was saved as JSON, or say that what it has counted is not in the source (recount)"
        )
    missing = scaler.summary_.rows - ledger.rows
    if missing > 0:
        raise NotMergeableError(
            f"the state does not say which files {missing:,} of its {scaler.summary_.rows:,} rows come from (they were "
            "in memory, filtered by where, of another format than Parquet, or an earlier version saved it): fit again "
            "from all files, or say that these rows are not in the source (recount)"
        )


def _exists(item: Any) -> bool:
    place = locate(item)
    return place.exists() if isinstance(place, StorePath) else os.path.lexists(place)


def _present(source: Any, ledger: Ledger) -> tuple[list[Any], set[str]]:
    """The items of a source without listed files that were counted and are no more; and those."""
    items = list(source) if isinstance(source, (list, tuple)) else [source]
    if len(items) == 1:
        return items, set()
    gone = {
        os.fspath(item): absolute(item)
        for item in items
        if not _exists(item) and not glob.has_magic(os.fspath(item)) and ledger.at(absolute(item))
    }
    return [item for item in items if os.fspath(item) not in gone], set(gone.values())


def _refuse_copies(copies: Sequence[tuple[FoundFile, str]], of: int) -> None:
    if copies:
        names = named(f"{file.path} is a copy of {where}" for file, where in copies)
        raise DataError(
            f"{_counted_of(len(copies), of)} counted before under another path, by size and footer: {names}; move "
            "copies away, or count them again on purpose (recount)",
            file=str(copies[0][0].path),
        )


def _warn_of_vanished(ledger: Ledger, source: Any, here: set[str], absent: Iterable[str]) -> None:
    below = _region(source)
    gone = {file.path for file in ledger if file.path and file.path not in here and below(file.path)}
    gone.update(path for path in absent if path not in here and ledger.at(path))
    if gone:
        what = "a counted file is" if len(gone) == 1 else f"{len(gone):,} counted files are"
        text = f"{what} no longer there: {named(sorted(gone))}; the rows stay counted"
        warnings.warn(StreamnormWarning(text, code="vanished-files"), stacklevel=level_of_the_caller())


def _region(source: Any) -> Callable[[str], bool]:
    """Tells of an absolute path whether the source would find such a file."""
    folders, patterns = [], []
    for item in source if isinstance(source, (list, tuple)) else [source]:
        if locate(item).is_dir():
            folders.append(os.path.join(absolute(item), ""))
        elif not _exists(item) and glob.has_magic(os.fspath(item)):
            patterns.append(pattern_of(absolute(item)))

    def below(path: str) -> bool:
        if any(path.startswith(folder) for folder in folders):
            return True
        return any(pattern.fullmatch(path) for pattern in patterns)

    return below


def _say(found: int, new: int, moved: Sequence[tuple[FoundFile, CountedFile]]) -> None:
    files = "the file" if found == 1 else f"the {found:,} files"
    if found == 0:
        text = "nothing is there"
    elif new == 0:
        text = f"nothing is new: {files} {'was' if found == 1 else 'were'} counted before"
    else:
        text = f"{new:,} of {files} {'is' if new == 1 else 'are'} new" if found > 1 else "the file is new"
    if moved:
        names = named(f"{old.path}, now {file.path}" for file, old in moved)
        text += f"; counted under another path: {names}"
    extra = {"event": "update", "files": found, "new": new, "moved": len(moved)}
    logger.info("%s", text, extra=extra)


def check_same_kinds(scaler: BaseScaler, files: Sequence[ParquetInput], names: Sequence[str], known: Any) -> None:
    """Raise DataError if a new file's column has another type than what was counted."""
    columns = columns_of(files[0], names)
    if known is not None and all(known.schema.get_field_index(name) >= 0 for name in columns):
        check_same_types([known, *files], columns)
        return
    places = {feature: place for place, features in places_in(files[0].schema.names, names) for feature in features}
    for name, column in zip(names, scaler.summary_.values(), strict=True):
        kind = column.stats.kind
        for file in files:
            found = check_place(file.schema, places[name])
            while is_list(found):
                found = storage_type(found.value_type)
            if kind is not None and kind_of_type(found) != kind:
                raise file.error(f"its type is {found}, but {kind} was counted before: make them alike", column=name)


def kind_of_type(kind: Any) -> str:
    """What statistics call a type of numbers: "float", "int" or "decimal"."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return "float" if pa.types.is_floating(kind) else "decimal" if pa.types.is_decimal(kind) else "int"


def check_same_wishes(
    scaler: BaseScaler,
    method: BaseScaler | None,
    given: Any,
    columns: Any,
    exclude: Any,
    exact: bool,
    sample_weight: Any,
) -> None:
    """Raise DataError if what was asked for beside `update` is not what the state was fitted with.

    `method` is the scaler that `given`, the argument, stands for; a name asks for a class, a scaler for parameters too.
    """
    scaler._check_fitted()
    if method is not None:
        same = type(method)._class_name() == type(scaler)._class_name()
        if same and isinstance(given, BaseScaler):
            same = repr(method.get_params()) == repr(scaler.get_params())
        elif same:
            try:
                method._check_mergeable(scaler)
            except NotMergeableError:
                same = False
        if not same:
            raise DataError(
                f"the state to update is of {scaler!r}, not of {method!r}: leave the method out, or fit anew"
            )
    if exact and not all(map(_is_exact, scaler.summary_.values())):
        raise DataError("the state to update is not exact: leave exact out, or fit anew")
    if any(column.stats.weighted for column in scaler.summary_.values()) != (sample_weight is not None):
        raise DataError(
            "the state to update has weighed its rows: name the column of the weights again (sample_weight)"
            if sample_weight is None
            else "the state to update has not weighed its rows: leave sample_weight out, or fit anew"
        )
    names = asked_for(map(str, scaler.summary_)) if scaler.summary_.named else list(scaler.summary_)
    wanted, unwanted = as_names(columns), as_names(exclude)
    if wanted is not None and set(asked_for(set(wanted).difference(unwanted or ()))) != set(names):
        raise DataError(f"the state to update is of the columns {_few(names)}: leave columns out, or fit anew")
    for name in unwanted or ():
        if name in names:
            raise DataError(
                f"the state to update has the column {name!r}, which is excluded: leave exclude out, or fit anew",
                column=name,
            )


def _is_exact(column: ColumnSummary) -> bool:
    return not column.stats.has_sketch and (column.stats.exact or not column.stats.has_moments)


def _few(names: Sequence[Any]) -> str:
    return named((repr(name) for name in names), 8)
