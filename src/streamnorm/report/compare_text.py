"""A comparison as text: a table that fits the terminal, and the verdict."""

from __future__ import annotations

import textwrap
from io import StringIO
from typing import TYPE_CHECKING, Any

from ..console import one_line
from .comparison import label

if TYPE_CHECKING:
    from .comparison import Comparison, Figures

WIDTH = 100  # where there is no terminal
# The columns in the order in which they are given room, and how each is shown.
_COLUMNS: dict[str, Any] = {
    "scaler": lambda each: one_line(label("scaler", each.scaler)),
    "norm": lambda each: label("norm", each.norm),
    "R²": lambda each: f"{each.r2:.4f}",
    "± std": lambda each: f"{each.std:.4f}",
    "against the best": None,
    "diverged": lambda each: f"{each.diverged} of {each.runs}",
    "RMSE": lambda each: "" if each.rmse is None else f"{each.rmse:.4g}",
    "steps": lambda each: "never" if each.steps is None else f"{each.steps:,}",
    "seconds": lambda each: f"{each.seconds:.3g}",
    "worst": lambda each: f"{each.worst:.4f}",
    "by fold": lambda each: f"{each.fold_spread:.4f}",
    "by seed": lambda each: "" if each.seed_spread is None else f"{each.seed_spread:.4f}",
}
_ORDER = ("scaler", "norm", "R²", "± std", "worst", "by fold", "by seed", "RMSE", "diverged", "steps", "seconds",
          "against the best")  # fmt: skip
_LEFT = ("scaler", "norm", "against the best")


def as_text(found: Comparison, *, tty: bool = False, width: int | None = None) -> str:
    """What was compared, the table, what its columns mean, and the verdict."""
    from rich.console import Console
    from rich.table import Table

    text = StringIO()
    room = width or (Console(force_terminal=True).width if tty else WIDTH)
    terminal = Console(file=text, force_terminal=tty, width=room)
    cells = {name: [_cell(found, each, name) for each in found.figures] for name in _COLUMNS}
    chosen: list[str] = []
    left = room
    for name, column in cells.items():
        need = max(map(len, [name, *column])) + 2
        if chosen and need > left + 2:
            break
        chosen.append(name)
        left -= need
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown = [name for name in _ORDER if name in chosen]
    for name in shown:
        table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=True)
    for row in zip(*(cells[name] for name in shown), strict=True):
        table.add_row(*(_plain(cell) for cell in row))
    terminal.print(table)
    parts = [said_of(found), "", _legend(found, shown), "", found.verdict]
    lines = [line for part in parts for line in (textwrap.wrap(one_line(part), room) or [""])]
    head, rest = lines[: lines.index("")], lines[lines.index("") :]
    table_lines = [line.rstrip() for line in text.getvalue().rstrip("\n").splitlines()]
    return "\n".join([*head, "", *table_lines, *rest]) + "\n"


def _plain(cell: str) -> Any:
    from rich.text import Text

    return Text(cell)


def _cell(found: Comparison, each: Figures, name: str) -> str:
    return found.standing(each) if name == "against the best" else _COLUMNS[name](each)


def said_of(found: Comparison) -> str:
    """What was compared on what, in a sentence or two."""
    said = found.settings
    rows, all_rows = said["rows"], said["source_rows"] - said["left_out"]
    part = f"{rows:,} rows" if rows == all_rows else f"a sample of {rows:,} of {all_rows:,} rows"
    seeds = len(said["seeds"])
    for_seeds = "for 1 seed" if seeds == 1 else f"for each of {seeds} seeds"
    by = {"random": "at random", "group": f"by {said['group']}", "time": f"in order of {said['time']}"}[said["split"]]
    how = f"{said['folds']} folds {by} {for_seeds}"
    target = ", ".join(said["target"])
    width = len(said["features"])
    columns = f"{width} column{'' if width == 1 else 's'}"
    notes = "".join(f" {note}" for note in said["notes"])
    return f"Predicting {target} from {columns} of {part}: {how}, {len(found.runs)} trainings.{notes}"


def _legend(found: Comparison, shown: list[str]) -> str:
    said = ["R²: over rows held out, of predictions, -1 where training diverged."]
    if "steps" in shown:
        said.append(f"steps: of the optimizer, until the loss of training is below {found.reach:.4g}.")
    if "seconds" in shown:
        said.append("seconds: of the processor, for a training.")
    pairs = len(found.pairs)
    if pairs:
        alpha = found.settings["alpha"]
        said.append(
            f"Differences are tested by the corrected t-test over folds (Nadeau and Bengio), at {alpha:g} for all "
            f"{pairs} of them together (Holm)."
            if pairs > 1
            else f"The difference is tested by the corrected t-test over folds (Nadeau and Bengio), at {alpha:g}."
        )
    return " ".join(said)
