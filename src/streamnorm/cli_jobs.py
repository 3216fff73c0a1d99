"""What every command has in common, whichever module it is from: settings from files and the environment, and logs."""

# Design: commands are taken as click has them, by their parameters, when they are added to the program; none of them
# knows of this module, and none can be forgotten.

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from functools import partial, wraps
from typing import Any

import click

from . import cli_dry_run, config
from .cli_parts import standard_output
from .console import Console, one_line
from .dry_run import planning
from .logs import place, places


def join(command: click.Command) -> None:
    """Prepare a command that is added to the program."""
    config.open_to_files(command)
    ours = cli_dry_run.options_for(command)
    command.params = [*sorted(command.params, key=_place), *ours]
    let_turn_off(command)


# The options that commands share, in the order in which the help of each has them: after its own.
SHARED = ("where", "input_format", "types", "output_format", "spool", "json", "overwrite", "memory", "threads",
          "config", "verbose", "quiet", "log_format", "log_level", "job_id")  # fmt: skip


def _place(param: click.Parameter) -> int:
    """Where an option stands in the help: --output first, then what is a command's own, as it has it, then the rest."""
    if not isinstance(param, click.Option):
        return -2
    key = config.key_of(param)
    return -1 if key == "output" else SHARED.index(key) + 1 if key in SHARED else 0


def let_turn_off(command: click.Command) -> None:
    """Give each flag of a command its ``--no-`` form, which beats what a file or the environment turns on.

    The forms stand in no list of options, which would be twice as long: one sentence of the help tells of them.
    """
    for param in config.settable(command):
        if isinstance(param, click.Option) and param.is_flag and not param.secondary_opts:
            long = max(param.opts, key=len)
            param.secondary_opts = [f"--no-{long.removeprefix('--')}"]
            param.get_help_record = partial(_help_record, param)  # type: ignore[method-assign]


def _help_record(param: click.Option, ctx: click.Context) -> Any:
    """The line of an option, without the name that turns it off."""
    plain = copy.copy(param)
    plain.secondary_opts = []
    return click.Option.get_help_record(plain, ctx)


def bound(
    ctx: click.Context, name: str, command: click.Command, args: Sequence[str], commands: Mapping[str, click.Command]
) -> click.Command:
    """The command as it is about to run: what its command line does not say comes from elsewhere, and it is logged."""
    console: Console = ctx.obj
    console.command = name
    if not {"--help", "-h"} & set(args):  # help is to be had even while the file of settings is broken
        console.given = config.given_to(name, commands, args, os.environ)
        ctx.default_map = {name: console.given.values}
        if config.option_in(args, "--log-format") is None and "log_format" in console.given.values:
            console.as_json = console.given.values["log_format"] == "json"
        for text in config.unknown_variables(commands, os.environ):
            console.warn(text, code="unknown-variable")
    run = copy.copy(command)
    if command.callback is not None:
        run.callback = _logged(console, command.callback)
    return run


def _logged(console: Console, callback: Any) -> Any:
    @wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        ctx = click.get_current_context()
        arguments = [param.name for param in ctx.command.params if isinstance(param, click.Argument)]
        sources: list[Any] = []
        for name in arguments:
            value = ctx.params.get(name or "")
            sources += value if isinstance(value, (list, tuple)) else [] if value is None else [value]
        sink = ctx.params.get("sink")
        console.outputs = [] if sink is None else [place(sink)]
        fields = {**places(sources), "outputs": console.outputs, **({"dry_run": True} if console.dry_run else {})}
        console.job_started({key: value for key, value in fields.items() if sources or not key.startswith("input")})
        if console.dry_run:
            with planning() as plan:
                callback(*args, **options)
            _say(cli_dry_run.described(plan, ctx, console), console.plan_as_json or bool(ctx.params.get("as_json")))
            result = None
        else:
            result = callback(*args, **options)
        console.job_finished()
        return result

    return run


def _say(said: Mapping[str, Any], as_json: bool) -> None:
    with standard_output() as stdout:
        stdout.write(cli_dry_run.as_json(said) + "\n" if as_json else cli_dry_run.as_text(said))


def origin_of(error: click.UsageError, console: Console) -> str:
    """Where a value came from that click refuses, if it was not the command line."""
    param = getattr(error, "param", None)
    ctx = error.ctx
    if param is None or ctx is None or param.name is None or param.name not in console.given.origins:
        return ""
    try:
        source = ctx.get_parameter_source(param.name)
    except KeyError:
        return ""
    if source is not click.core.ParameterSource.DEFAULT_MAP:
        return ""
    return one_line(f", from {console.given.origins[param.name]}")
