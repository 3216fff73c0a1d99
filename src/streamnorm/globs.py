"""Patterns of paths as regular expressions."""

from __future__ import annotations

import re


def pattern_of(pattern: str) -> re.Pattern[str]:
    """What ``glob.glob(pattern, recursive=True)`` finds, as a regular expression."""
    *folders, name = pattern.split("/")
    above = ["(?:[^/]+/)*" if part == "**" else _part(part) + "/" for part in folders]
    return re.compile("".join([*above, ".+" if name == "**" else _part(name)]), re.DOTALL)


def _part(part: str) -> str:
    """One name of a pattern; fnmatch's own translation would let * stand for a slash."""
    return "".join(
        _WILDCARDS.get(token) or (_set_of(token) if token[0] == "[" and token[1:] else re.escape(token))
        for token in re.findall(r"\[!?\]?[^\]]*\]|.", part, re.DOTALL)
    )


_WILDCARDS = {"*": "[^/]*", "?": "[^/]"}


def _set_of(token: str) -> str:
    inside = token[1:-1].replace("\\", r"\\")
    return f"[^{inside[1:]}]" if inside[0] == "!" else f"[{inside}]"
