"""Values of options from a file (streamnorm.toml) and from the environment, for every command there is."""

# Design: click asks a command's `default_map` where the command line is silent, so all that is done here is to fill
# one: the file's top level, the command's table, STREAMNORM_<OPTION>, STREAMNORM_<COMMAND>_<OPTION>, each over the one
# before. Keys are read off the commands' own parameters: a command that is added tomorrow can be set from a file
# without a line here. The whole file is checked, whichever command runs: a misspelt key that nobody reads would be
# believed. Turned down: click's own auto_envvar_prefix, which knows one name for each option, none for arguments, and
# calls them by the names of Python's parameters.

from __future__ import annotations

import csv
import difflib
import io
import os
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

FILE = "streamnorm.toml"
VARIABLE = "STREAMNORM_CONFIG"
PREFIX = "STREAMNORM_"
REST = "*"  # in a table of columns: those that are not named
_OWN = {"config", "help", "version"}  # what says where the values are, or asks for no work


@dataclass(frozen=True)
class Given:
    """What the file and the environment give to a command.

    Attributes
    ----------
    values : dict of str to object
        By the name of click's parameter.
    origins : dict of str to str
        Where each is from, for people.
    file : str or None
        The file that was read.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    file: str | None = None


def given_to(
    name: str, commands: Mapping[str, click.Command], args: Sequence[str], environ: Mapping[str, str]
) -> Given:
    """The values that a command takes where its command line has none.

    Parameters
    ----------
    name : str
        Of the command.
    commands : mapping
        All commands, by name.
    args : sequence of str
        The command line, for its ``--config``.
    environ : mapping
        The environment.

    Raises
    ------
    click.UsageError
        If the file cannot be read, or a key or a value of it makes no sense.
    """
    path = _path(args, environ)
    table = {} if path is None else _read(path)
    _check_names(path, table, commands)
    tables = [(f"table [{name}]", table.get(name)), ("at the top", _top(table, commands))]
    given = Given(file=path)
    for param in settable(commands[name]):
        key = key_of(param)
        found = _from_environment(param, [_variable(name, key), _variable(key)], environ)
        if found is None and path is not None:
            found = _from_file(param, path, tables)
        if found is not None:
            value, origin = found
            given.values[param.name or ""] = value
            given.origins[param.name or ""] = origin
    return given


def key_of(param: click.Parameter) -> str:
    """What a parameter is called in a file: an option by its long name, an argument by what the help calls it.

    Examples
    --------
    >>> import click
    >>> key_of(click.Option(["--row-group-size"]))
    'row_group_size'
    >>> key_of(click.Argument(["path"], metavar="FILE")), key_of(click.Argument(["source"], nargs=-1))
    ('file', 'inputs')
    """
    if isinstance(param, click.Argument):
        return "inputs" if param.nargs == -1 else (param.metavar or param.name or "").lower()
    return max((name for name in param.opts), key=len).lstrip("-").replace("-", "_")


def settable(command: click.Command) -> list[click.Parameter]:
    """The parameters of a command that a file or the environment may set."""
    return [param for param in command.params if key_of(param) not in _OWN]


def variables(commands: Mapping[str, click.Command]) -> set[str]:
    """Every environment variable that is looked at."""
    names = {VARIABLE}
    for name, command in commands.items():
        for param in settable(command):
            names |= {_variable(key_of(param)), _variable(name, key_of(param))}
    return names


def unknown_variables(commands: Mapping[str, click.Command], environ: Mapping[str, str]) -> list[str]:
    """A sentence for each environment variable that is nearly one of ours, and none that a command looks at."""
    ours = [name for name in sorted(environ) if name.startswith(PREFIX)]
    known = variables(commands) if ours else set()
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.85) for name in ours if name not in known}
    return [
        f"the environment variable {name} is that of no option; did you mean {close[0]}?"
        for name, close in near.items()
        if close
    ]


def open_to_files(command: click.Command) -> None:
    """Let older versions of click ask the default_map for a command's list of arguments, too."""
    for param in command.params:
        if isinstance(param, click.Argument) and param.nargs == -1 and param.envvar is None:
            param.envvar = ()  # no variable; but before 8.3, None means that nothing but the command line is asked


def option_in(args: Sequence[str], option: str) -> str | None:
    """The value of an option, as it stands last on a command line."""
    found = None
    for i, arg in enumerate(args):
        if arg == "--":
            break
        if arg == option and i + 1 < len(args):
            found = args[i + 1]
        elif arg.startswith(option + "="):
            found = arg[len(option) + 1 :]
    return found


def _path(args: Sequence[str], environ: Mapping[str, str]) -> str | None:
    named = option_in(args, "--config") or environ.get(VARIABLE)
    if named:
        return named
    return FILE if os.path.isfile(FILE) else None


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise click.UsageError(f"{path}: the file of settings cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: is no TOML ({error})") from None


def _check_names(path: str | None, table: Mapping[str, Any], commands: Mapping[str, click.Command]) -> None:
    keys = {name: {key_of(param) for param in settable(command)} for name, command in commands.items()}
    every = set().union(*keys.values())
    for key, value in table.items():
        if key in commands and isinstance(value, dict):
            _check_keys(f"{path}: table [{key}]", value, keys[key], keys)
        elif key in commands and key not in every:
            raise click.UsageError(f"{path}: {key} is a command: give it a table, [{key}]")
        elif _plain(key) not in every:
            what = "table" if isinstance(value, dict) else "key"
            near = _nearest(key, [*commands, *every] if what == "table" else every)
            raise click.UsageError(f"{path}: at the top, {what} {key!r} is that of no command{near}")
    _check_twice(f"{path}: at the top,", _top(table, commands))


def _top(table: Mapping[str, Any], commands: Mapping[str, click.Command]) -> dict[str, Any]:
    """What a file says beside the tables of commands."""
    return {key: value for key, value in table.items() if not (key in commands and isinstance(value, dict))}


def _check_keys(where: str, table: Iterable[str], known: set[str], keys: Mapping[str, set[str]]) -> None:
    for key in table:
        if _plain(key) in known:
            continue
        near = _nearest(key, known)
        others = [name for name, theirs in keys.items() if _plain(key) in theirs]
        of = f"; it is one of {' and '.join(others[:3])}" if others and not near else ""
        raise click.UsageError(f"{where} has no key {key!r}{near or of}")
    _check_twice(where, table)


def _check_twice(where: str, keys: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for key in keys:
        other = seen.setdefault(_plain(key), key)
        if other != key:
            raise click.UsageError(f"{where} has {other!r} and {key!r}, which are one key: keep one of them")


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _nearest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(_plain(key), sorted(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


def _variable(*parts: str) -> str:
    return PREFIX + "_".join(part.upper().replace("-", "_") for part in parts)


# ------------------------------------------------------------------------------------------------ values


def _from_environment(
    param: click.Parameter, names: Sequence[str], environ: Mapping[str, str]
) -> tuple[Any, str] | None:
    for name in names:
        text = environ.get(name)
        if not text:
            continue
        if not _is_list(param) or _are_names(param):
            return ([text] if _is_list(param) else text), name
        try:
            return shlex.split(text), name
        except ValueError as error:
            raise click.UsageError(f"the environment variable {name} cannot be taken apart ({error})") from None
    return None


def _from_file(
    param: click.Parameter, path: str, tables: Sequence[tuple[str, Any]]
) -> tuple[Any, str] | None:
    for where, table in tables:
        for key, value in table.items() if isinstance(table, dict) else ():
            if _plain(key) == key_of(param):
                return _value(param, value, f"{path}: {where}, key {key!r}"), f"{path}, {where}, {key}"
    return None


def _value(param: click.Parameter, value: Any, where: str) -> Any:
    """A value of a file as click would have it from the command line."""
    metavar = param.metavar or ""
    if isinstance(value, dict) and "=" in metavar:
        pairs = [_pair(key, item, where) for key, item in value.items()]
        return pairs if _is_list(param) else ",".join(pairs)
    if _is_list(param):
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            raise _wrong(where, "a string or a list of strings", value)
        return [_quoted(item) for item in items] if isinstance(value, list) and _are_names(param) else items
    if isinstance(value, list) and ",..." in metavar:
        return ",".join(str(_scalar(param, item, where)) for item in value)
    return _scalar(param, value, where)


def _scalar(param: click.Parameter, value: Any, where: str) -> Any:
    kind = param.type
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if getattr(param, "is_flag", False):
        if not isinstance(value, bool):
            raise _wrong(where, "true or false", value)
    elif isinstance(kind, click.types.IntParamType):
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(where, "a whole number", value)
    elif isinstance(kind, click.types.FloatParamType):
        if not number:
            raise _wrong(where, "a number", value)
    elif isinstance(value, int) and number and param.metavar in ("SIZE", "N,..."):
        return str(value)
    elif not isinstance(value, str):
        raise _wrong(where, "a string", value)
    return value


def _pair(key: str, item: Any, where: str) -> str:
    if not isinstance(item, str):
        raise _wrong(f"{where}, {key!r}", "a string", item)
    return item if key == REST else f"{_quoted(key)}={item}"


def _wrong(where: str, wanted: str, value: Any) -> click.UsageError:
    kinds = {bool: "a truth value", str: "a string", int: "a whole number", float: "a number", list: "a list",
             dict: "a table"}  # fmt: skip
    return click.UsageError(f"{where} must be {wanted}, and is {kinds.get(type(value), 'a date or a time')}")


def _is_list(param: click.Parameter) -> bool:
    return param.nargs == -1 or bool(getattr(param, "multiple", False))


def _are_names(param: click.Parameter) -> bool:
    """Whether each value of an option is a line of CSV."""
    return bool(getattr(param, "multiple", False)) and (param.metavar or "").startswith("NAME,")


def _quoted(name: str) -> str:
    """A name as a field of a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([name])
    return text.getvalue()
