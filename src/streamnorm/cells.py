"""Text in tables of a terminal: how wide it is, cut to a width, filled up to it."""

from __future__ import annotations

from .console import one_line

NAME = 48  # cells of a column's name in text that goes to a file or a pipe
NARROWEST = 12
ELLIPSIS = "…"


def width_of(text: str) -> int:
    """How many cells of a terminal a text takes; characters of East Asia take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def clipped(text: str, most: int) -> str:
    """The text, without its middle where it is wider: names that are long begin alike.

    Examples
    --------
    >>> clipped("sensor_temperature_12", 12), clipped("fare", 12)
    ('sensor…re_12', 'fare')
    """
    if width_of(text) <= most:
        return text
    tail = text[-((most - 1) // 2) :]
    while width_of(tail) > (most - 1) // 2:
        tail = tail[1:]
    head = text[: most - 1]
    while width_of(head) + 1 + width_of(tail) > most:
        head = head[:-1]
    return head + ELLIPSIS + tail


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with spaces behind it, or before it, up to a width."""
    room = " " * (width - width_of(text))
    return room + text if right else text + room


def name_cell(name: object, terminal: int | None = None) -> str:
    """A column's name on one line, in a third of a terminal's width; one that is nothing but blank can be seen.

    Examples
    --------
    >>> name_cell("a" * 99, 60), name_cell(""), name_cell(" "), name_cell("fare")
    ('aaaaaaaaaa…aaaaaaaaa', '(no name)', "' '", 'fare')
    """
    text = one_line(name)
    if not text.strip():
        return f"'{text}'" if text else "(no name)"
    return clipped(text, NAME if terminal is None else max(NARROWEST, terminal // 3))
