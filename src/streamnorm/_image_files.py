"""Which images a folder holds, and what is to be learned of each."""

# Design: an image is known by its path relative to the folder, with forward slashes, as a table of targets writes it.
# A list of those is what an ImageFolder keeps for each image, some hundred bytes. What is no image is told by its
# name's extension, as Keras and torchvision do: telling by content would open every file before the first batch.

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .errors import DataError

# In lower case.
EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
              ".webp")  # fmt: skip

Targets = tuple[list[str], np.ndarray | None, list[str] | None]


def find_images(root: str) -> list[str]:
    """The images anywhere below a folder, hidden files and folders apart, sorted folder by folder."""
    if not os.path.isdir(root):
        what = "is no folder" if os.path.exists(root) else "there is no such folder"
        raise DataError(f"{root}: {what}: give the folder that holds the images", file=root)
    found = list(_walk(root, "", frozenset()))
    if not found:
        raise DataError(f"{root}: holds no images: their names end in {', '.join(EXTENSIONS)}", file=root)
    return found


def _walk(folder: str, before: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """The images below a folder whose names begin with `before`; links are followed, but not back to what is above."""
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in above:
            return
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}", file=folder) from error
    above |= {(status.st_dev, status.st_ino)}
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, f"{before}{entry.name}/", above)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and (entry.is_file() or _leads_nowhere(entry)):
            yield before + entry.name


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether this is a link to a file that is gone, which reading is to tell rather than to leave out."""
    return entry.is_symlink() and not os.path.exists(entry.path)


def by_folder(root: str) -> Targets:
    """Images, their classes' numbers, and the classes, which are the folders right below `root`."""
    found = find_images(root)
    with os.scandir(root) as entries:
        classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise DataError(
            f"{root}: holds images, but no folders to be their classes: make one for each class, or give targets= a "
            "table (or None, for images alone)",
            file=root,
        )
    numbers = {name: number for number, name in enumerate(classes)}
    paths = [path for path in found if "/" in path]  # what lies beside the folders has no class
    targets = np.array([numbers[path.partition("/")[0]] for path in paths], np.int64)
    counts = np.bincount(targets, minlength=len(classes))
    if not counts.all():
        empty = os.path.join(root, classes[int(np.argmin(counts))])
        raise DataError(f"{empty}: the folder of a class holds no images: add some, or remove it", file=empty)
    return paths, targets, classes


def by_table(root: str, targets: Any, columns: tuple[str, str] | None, missing: str) -> Targets:
    """Images, what a table says of each, and the classes if that is names."""
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(targets, Mapping):
        if columns is not None:
            raise ValueError("target_columns goes with a file of targets, and a mapping has none")
        where, pairs = "targets", targets.items()
    elif not isinstance(targets, str | os.PathLike):
        raise TypeError(f"targets must be 'folders', a file, a mapping or None, got a {type(targets).__name__}")
    else:
        where = os.fspath(targets)
        pairs = _read_pairs(where, columns)
    listed = find_images(root)
    known: dict[str, Any] = {}
    present = set(listed)
    for name, target in pairs:
        path = _as_path(name, where)
        if path in known:
            raise DataError(f"{where}: {path} comes twice: keep one target for each image", file=_file(where))
        if path not in present and not os.path.isfile(os.path.join(root, path)):
            raise DataError(f"{where}: names {path}, and {root} has no such file: add it, or take it out of the table",
                            file=_file(where))  # fmt: skip
        known[path] = None if _is_missing(target) else target
    without = [path for path in listed if known.get(path) is None]
    without += [path for path, target in known.items() if target is None and path not in present]
    if without and missing == "error":
        more = f" (and {len(without) - 1:,} more)" if len(without) > 1 else ""
        file = os.path.join(root, without[0])
        raise DataError(f"{file}: has no target in {where}{more}: add it, or say missing='drop'", file=file)
    paths = sorted((path for path, target in known.items() if target is not None), key=lambda path: path.split("/"))
    if not paths:
        raise DataError(f"{where}: has no target for any image of {root}", file=_file(where))
    return paths, *_numbered([known[path] for path in paths], paths, where)


def _file(where: str) -> str | None:
    return None if where == "targets" else where


def _as_path(name: Any, where: str) -> str:
    if not isinstance(name, str | os.PathLike):
        raise DataError(f"{where}: images are named by their paths, got {name!r}", file=_file(where))
    path = posixpath.normpath(os.fspath(name))
    if posixpath.isabs(path) or path.startswith("../"):
        raise DataError(f"{where}: {path} leads out of the folder: paths are relative to it", file=_file(where))
    return path


def _is_missing(target: Any) -> bool:
    return target is None or (isinstance(target, float | np.floating) and math.isnan(target))


def _numbered(values: list[Any], paths: list[str], where: str) -> tuple[np.ndarray, list[str] | None]:
    """Class numbers and names, or numbers and None."""
    if all(isinstance(value, str) for value in values):
        classes = sorted(set(values))
        numbers = {name: number for number, name in enumerate(classes)}
        return np.array([numbers[value] for value in values], np.int64), classes
    made = np.empty(len(values), np.float32)
    for i, value in enumerate(values):
        try:
            number = math.nan if isinstance(value, str) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise DataError(
                f"{where}: the target of {paths[i]} is {value!r}: targets are finite numbers, or all names of classes",
                file=_file(where),
            )
        made[i] = number
    return made, None


def _read_pairs(file: str, columns: tuple[str, str] | None) -> Iterable[tuple[Any, Any]]:
    """Paths and targets of a table in a CSV or Parquet file."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    try:
        if file.lower().endswith((".parquet", ".pq")):
            names = pq.read_schema(file).names
            path, target = _two_of(names, columns, file)
            table = pq.read_table(file, columns=[path, target])
        else:
            with pa.csv.open_csv(file) as reader:
                names = reader.schema.names
            path, target = _two_of(names, columns, file)
            options = pa.csv.ConvertOptions(
                include_columns=[path, target], column_types={path: pa.string()}, strings_can_be_null=True
            )
            table = pa.csv.read_csv(file, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: cannot be read as a table of targets: {error}", file=file) from error
    return zip(table.column(path).to_pylist(), table.column(target).to_pylist(), strict=True)


def _two_of(names: list[str], columns: tuple[str, str] | None, file: str) -> tuple[str, str]:
    if columns is None:
        if len(names) != 2:
            raise DataError(
                f"{file}: has the columns {names}: give target_columns=(that of paths, that of targets)", file=file
            )
        return names[0], names[1]
    for name in columns:
        if name not in names:
            raise DataError(f"{file}: has no column {name!r}, but {names}", file=file, column=name)
    return columns
