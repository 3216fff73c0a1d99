"""The option --dry-run of every command that writes: what is said of the run that does not happen."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import click

from .console import Console, one_line
from .dry_run import Plan

SHOWN = 20  # files and columns that are listed for people


def options_for(command: click.Command) -> list[click.Parameter]:
    """The options of a dry run, for a command that writes files and does not have them."""
    has = {name for param in command.params for name in param.opts}
    if not has & {"--output", "--overwrite"} or "--dry-run" in has:
        return []
    found = [
        click.Option(
            ["--dry-run"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set,
            help="Say what would be read and written, as far as the metadata tell, and change nothing.",
        )
    ]
    if "--json" not in has:
        text = "With --dry-run, say it as JSON."
        found.append(click.Option(["--json"], is_flag=True, expose_value=False, callback=_set_json, help=text))
    return list(found)


def _set(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    console = ctx.find_object(Console)
    if console is not None:
        console.dry_run = value


def _set_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    console = ctx.find_object(Console)
    asked = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
    if value and asked and console is not None and not console.dry_run:
        raise click.UsageError("--json goes with --dry-run", ctx)
    if console is not None:
        console.plan_as_json = value


def described(plan: Plan, ctx: click.Context, console: Console) -> dict[str, Any]:
    """What a plan says, for machines."""
    params = ctx.params
    if not plan.inputs:
        _note_arguments(plan, ctx)
    inputs = list(plan.inputs.values())
    outputs = [
        {"path": path, "exists": facts["exists"], "action": "replace" if facts["exists"] else "create"}
        for path, facts in plan.outputs.items()
    ]
    if not outputs or params.get("sink") == "-":
        outputs.append({"path": "-", "exists": False, "action": "standard output"})
    said: dict[str, Any] = {
        "dry_run": True,
        "command": ctx.info_name,
        "inputs": {
            "count": len(inputs),
            "format": inputs[0]["format"] if inputs else None,
            **{key: _sum(facts[key] for facts in inputs) for key in ("rows", "bytes", "row_groups")},
            "files": [{"path": path, **facts} for path, facts in plan.inputs.items()],
        },
        "columns": _columns(plan, params) or _logged_columns(console.columns),
        "outputs": outputs,
    }
    if "memory" in params:
        said |= _running(params)
    return said | {"options": _options(ctx, console), "config": console.given.file}


def _note_arguments(plan: Plan, ctx: click.Context) -> None:
    """What a command reads that is no data: states."""
    for param in ctx.command.params:
        if isinstance(param, click.Argument):
            value = ctx.params.get(param.name or "")
            for path in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(path, str) and os.path.isfile(path):
                    facts = {"format": "states", "rows": None, "bytes": os.stat(path).st_size, "row_groups": None}
                    plan.inputs.setdefault(path, facts)


def _sum(values: Any) -> int | None:
    found = list(values)
    return None if None in found else sum(found)


def _running(params: Mapping[str, Any]) -> dict[str, int]:
    from .memory import parse_memory
    from .pipeline import resolve_threads

    memory = parse_memory(params["memory"] or "256MB")
    return {"memory": memory, "threads": resolve_threads(params.get("threads"), memory)}


def _columns(plan: Plan, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    if plan.schema is None:
        return []
    import pyarrow as pa

    from .scalers import METHODS
    from .scalers._paths import places_in

    methods = plan.scaler._methods(dict.fromkeys(plan.features, pa.float64()))
    names: dict[type, str] = {kind: name for name, kind in METHODS.items()}
    inside: dict[str, set[str]] = {}
    for place, features in places_in(plan.schema.names, plan.features):
        found = {names.get(type(methods[feature]), "normalizer") for feature in features if feature in methods}
        inside.setdefault(place.column, set()).update(found)
    columns = []
    for item in plan.schema:
        method = ", ".join(sorted(inside.get(item.name, ()))) or None
        why = None if method else _why(item, plan.schema, params)
        columns.append({"name": item.name, "type": str(item.type), "method": method, "passes_because": why})
    return columns


def _why(item: Any, schema: Any, params: Mapping[str, Any]) -> str:
    from .scalers._select import index_columns, is_number, is_numeric_when_named

    if item.name in (params.get("exclude") or ()):
        return "it is excluded"
    if item.name == params.get("sample_weight"):
        return "it holds the weights"
    if "method" not in params:
        return "the statistics have no such column"
    if params.get("columns"):
        return "--columns does not name it"
    if item.name in index_columns(schema):
        return "it is pandas' index"
    if is_number(item.type):
        return "no method is for it"
    if is_numeric_when_named(item.type):
        return f"{item.type} is normalized only when --columns names it"
    return f"{item.type} is no number"


def _logged_columns(fields: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """Of a command that learns from columns, and does not normalize them."""
    if fields is None:
        return None
    passing = set(fields["passing"])
    used = [{"name": name, "used": True} for name in fields["columns"]]
    return used + [{"name": name, "used": False} for name in fields["passing"] if name in passing]


def _options(ctx: click.Context, console: Console) -> dict[str, dict[str, Any]]:
    """The options that were given, and from where."""
    from .config import key_of

    found = {}
    for param in ctx.command.params:
        name = param.name or ""
        source = ctx.get_parameter_source(name)
        if source is None or source.name == "DEFAULT" or isinstance(param, click.Argument):
            continue
        where = console.given.origins.get(name, "") if source.name == "DEFAULT_MAP" else "the command line"
        value = ctx.params.get(name, True)
        found[key_of(param)] = {"value": _plain(value), "from": where}
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


def as_json(said: Mapping[str, Any]) -> str:
    """A plan for machines."""
    return json.dumps(said, indent=2)


def as_text(said: Mapping[str, Any]) -> str:
    """A plan for people."""
    lines = [f"dry run of {said['command']}: nothing is written"]
    inputs = said["inputs"]
    if inputs["count"]:
        lines.append(f"reads {_files(inputs)}{_facts(inputs)}")
        lines += _listed([f"  {item['path']}{_facts(item)}" for item in inputs["files"]], "files")
    columns = said["columns"]
    if columns and "method" in columns[0]:
        chosen = sum(item["method"] is not None for item in columns)
        doing = "restores" if said["command"] == "inverse" else "normalizes"
        lines.append(f"{doing} {chosen} of {len(columns)} columns")
        lines += _listed([f"  {item['name']} ({item['type']}): {_fate(item)}" for item in columns], "columns")
    elif columns:
        lines.append("learns from " + ", ".join(item["name"] for item in columns if item["used"]))
    for i, item in enumerate(said["outputs"][:SHOWN]):
        how = " (there is one, which is replaced)" if item["exists"] else ""
        name = "standard output" if item["path"] == "-" else item["path"]
        lines.append(f"{'writes ' if i == 0 else '       '}{name}{how}")
    lines += _listed([""] * len(said["outputs"]), "files")[SHOWN:]
    if "memory" in said:
        threads = said["threads"]
        lines.append(f"within {said['memory'] / 1e6:,.0f} MB, on {threads} thread{'' if threads == 1 else 's'}")
    lines += [
        f"--{name.replace('_', '-')} is from {item['from']}"
        for name, item in said["options"].items()
        if item["from"] != "the command line"
    ]
    return "\n".join(map(one_line, lines)) + "\n"


def _listed(lines: list[str], what: str) -> list[str]:
    more = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"  and {more:,} more {what}"] if more > 0 else [])


def _files(inputs: Mapping[str, Any]) -> str:
    count = inputs["count"]
    return f"{count:,} file{'' if count == 1 else 's'} of {inputs['format']}"


def _facts(item: Mapping[str, Any]) -> str:
    known = []
    if item["rows"] is not None:
        known.append(f"{item['rows']:,} row{'' if item['rows'] == 1 else 's'}")
    if item["row_groups"] is not None:
        known.append(f"{item['row_groups']:,} row group{'' if item['row_groups'] == 1 else 's'}")
    if item["bytes"] is not None:
        size = item["bytes"]
        known.append(f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes")
    return ": " + ", ".join(known) if known else ""


def _fate(item: Mapping[str, Any]) -> str:
    return item["method"] or f"passes through, as {item['passes_because']}"
