"""Curves of losses, drawn with characters."""

# Design: a terminal that shows colors gets braille, whose cells have 2 x 4 dots; everything else gets ASCII, which a
# log file, a pipe and any font can show. Turned down: plotext, a dependency for thirty lines of drawing.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

HEIGHT = 10  # lines of the drawing itself
MARKS = "*o+x"
COLORS = (36, 33, 32, 35)  # of ANSI: cyan, yellow, green, magenta
LOG_RATIO = 20.0  # between the largest and the smallest loss, from which the axis is logarithmic

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row in a cell


def draw(series: Mapping[str, Sequence[float]], *, width: int = 80, fancy: bool = False) -> str:
    """Draw one or more series of numbers, one number an epoch, into a box of characters.

    Parameters
    ----------
    series : mapping of str to sequence of float
        By name. What is not finite is left out.
    width : int, default 80
        Characters of a line, at most.
    fancy : bool, default False
        Whether to draw with braille dots in colors, and not with ASCII.

    Returns
    -------
    str
        Lines; empty if there are not two epochs to draw.

    Examples
    --------
    >>> print(draw({"loss": [3.0, 1.0, 0.5]}, width=24))
      3 |*
        | *
        |  **
        |    *
        |     *
        |      *
        |       **
        |         **
        |           *****
    0.5 |                ***
        +-------------------
         1                 3
    * loss by epoch
    """
    epochs = max(map(len, series.values()), default=0)
    values = [value for losses in series.values() for value in losses if math.isfinite(value)]
    if epochs < 2 or not values:
        return ""
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= LOG_RATIO
    top, bottom = f"{high:.4g}", f"{low:.4g}"
    margin = max(len(top), len(bottom))
    columns = max(8, width - margin - 2)
    across, down = (2, 4) if fancy else (1, 1)
    cells: dict[tuple[int, int], tuple[int, int]] = {}  # (line, column) -> (number of the series, dots)

    def height(value: float) -> float:
        if high == low:
            return 0.5
        if logarithmic:
            return (math.log(high) - math.log(value)) / (math.log(high) - math.log(low))
        return (high - value) / (high - low)

    for number, losses in enumerate(series.values()):
        for x, value in _line(losses, columns * across, epochs):
            y = round(height(value) * (HEIGHT * down - 1))
            place = y // down, x // across
            held = cells[place][1] if place in cells and cells[place][0] == number else 0
            cells[place] = number, held | _DOTS[x % across][y % down]
    lines = []
    for line in range(HEIGHT):
        label = top if line == 0 else bottom if line == HEIGHT - 1 else ""
        row = _row([cells.get((line, column)) for column in range(columns)], fancy)
        lines.append(f"{label:>{margin}} |{row}".rstrip())
    lines.append(" " * margin + " +" + "-" * columns)
    lines.append(" " * (margin + 2) + "1" + f"{epochs:>{columns - 1}}")
    names = "  ".join(_paint(MARKS[i % len(MARKS)] if not fancy else "─", i, fancy) + f" {name}"
                      for i, name in enumerate(series))  # fmt: skip
    lines.append(f"{names} by epoch{', on a logarithmic axis' if logarithmic else ''}")
    return "\n".join(lines)


def _line(losses: Sequence[float], columns: int, epochs: int) -> list[tuple[int, float]]:
    """The series at each column between its epochs."""
    points = []
    for column in range(columns):
        at = column * (epochs - 1) / (columns - 1)
        before = min(int(at), len(losses) - 1)
        after = min(before + 1, len(losses) - 1)
        if at <= len(losses) - 1 + 1e-9 and math.isfinite(losses[before]) and math.isfinite(losses[after]):
            points.append((column, losses[before] + (losses[after] - losses[before]) * (at - before)))
    return points


def _row(cells: Sequence[tuple[int, int] | None], fancy: bool) -> str:
    """A line of the drawing; neighbours of a color are painted together."""
    parts = []
    for number, run in groupby(cells, key=lambda cell: None if cell is None else cell[0]):
        if number is None:
            parts.append(" " * len(list(run)))
        elif fancy:
            parts.append(_paint("".join(chr(_BRAILLE | cell[1]) for cell in run if cell), number, fancy))
        else:
            parts.append(MARKS[number % len(MARKS)] * len(list(run)))
    return "".join(parts)


def _paint(text: str, number: int, fancy: bool) -> str:
    return f"\x1b[{COLORS[number % len(COLORS)]}m{text}\x1b[0m" if fancy else text
