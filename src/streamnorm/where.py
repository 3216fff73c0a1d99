"""Row filters: the text of ``where=``, parsed into a tree of conditions on columns."""

# Design: a small grammar of our own, the conditions of an SQL WHERE on columns and literals, read by recursive descent
# over tokens that know their position. Turned down: Python's `eval`, which runs whatever it is given, and pandas' or
# DuckDB's parser, which would have to be installed.

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .errors import DataError

OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
FLIPPED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
MOST_NESTED = 50
KEYWORDS = frozenset({"and", "or", "not", "in", "is", "null", "between", "true", "false"})

Literal = int | Decimal | str | bool


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Value:
    value: Literal
    at: int


@dataclass(frozen=True, slots=True)
class Compare:
    """A column against a literal or another column."""

    left: Column
    op: str
    right: Column | Value


@dataclass(frozen=True, slots=True)
class IsIn:
    column: Column
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    column: Column


@dataclass(frozen=True, slots=True)
class IsTrue:
    """A column of booleans that stands alone."""

    column: Column


@dataclass(frozen=True, slots=True)
class Not:
    part: Node


@dataclass(frozen=True, slots=True)
class Both:
    """All of several conditions (and), or any of them (or)."""

    op: str
    parts: tuple[Node, ...]


Node = Compare | IsIn | IsNull | IsTrue | Not | Both


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed filter.

    Attributes
    ----------
    text : str
    root : Node
    columns : tuple of Column
        Those that it names, each once.
    """

    text: str
    root: Node
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [column.name for column in self.columns]

    def error(self, message: str, at: int, column: str | None = None) -> DataError:
        """A DataError that says where in the text."""
        return fault(self.text, message, at, column)


def fault(text: str, message: str, at: int, column: str | None = None) -> DataError:
    here = "at its end" if at >= len(text) else f"at position {at + 1} ({text[at : at + 20]!r})"
    return DataError(f"where {text!r}, {here}: {message}", column=column)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "name", "word" (a keyword), "value", "op", "(" ")" "," or "end"
    value: Any
    at: int


_PATTERN = re.compile(
    r"""\s*(?:
    (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<name>[^\W\d]\w*)
    | '(?P<string>(?:[^']|'')*)'
    | "(?P<quoted>(?:[^"]|"")+)"
    | (?P<op><=|>=|<>|!=|==|[=<>])
    | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while text[at:].strip():
        match = _PATTERN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise fault(text, _why_not(text[at]), at)
        kind, start = match.lastgroup, match.end() - len(match.group().lstrip())
        found.append(_token(str(kind), match[str(kind)], start))
        at = match.end()
    return [*found, _Token("end", None, len(text))]


def _why_not(character: str) -> str:
    if character == "'":
        return "the string does not end: close it with a single quote, and write one within it twice"
    if character == '"':
        return "the name does not end: close it with a double quote, and write one within it twice"
    return "this is no part of a condition: write column > 500, column in ('a', 'b'), column is not null, and, or, not"


def _token(kind: str, text: str, at: int) -> _Token:
    if kind == "number":
        return _Token("value", int(text) if re.fullmatch(r"[-+]?\d+", text) else Decimal(text), at)
    if kind == "string":
        return _Token("value", text.replace("''", "'"), at)
    if kind == "quoted":
        return _Token("name", text.replace('""', '"'), at)
    if kind == "name":
        word = text.lower()
        if word in ("true", "false"):
            return _Token("value", word == "true", at)
        return _Token("word", word, at) if word in KEYWORDS else _Token("name", text, at)
    if kind == "op":
        return _Token("op", {"<>": "!=", "==": "="}.get(text, text), at)
    return _Token(text, text, at)


def parse(text: str) -> Condition:
    """Parse a filter.

    Raises
    ------
    DataError
        Names the position, and what is expected there.

    Examples
    --------
    >>> parse("distance > 500 and zone in ('a', 'b')").names
    ['distance', 'zone']
    """
    if not isinstance(text, str):
        raise TypeError(f"where must be a str such as 'distance > 500', got {type(text).__name__}")
    if not text.strip():
        raise DataError("where is empty: write a condition such as distance > 500, or leave it out")
    parser = _Parser(text)
    return Condition(text, parser.whole(), tuple(parser.columns.values()))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._at, self._depth = text, _tokens(text), 0, 0
        self.columns: dict[str, Column] = {}

    def whole(self) -> Node:
        root = self._any()
        if self._next.kind != "end":
            raise self._expected("and, or, or the end")
        return root

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _takes(self, *words: str) -> bool:
        """Go past these words if they are next."""
        ahead = self._tokens[self._at : self._at + len(words)]
        if [token.value for token in ahead if token.kind == "word"] != list(words):
            return False
        self._at += len(words)
        return True

    def _expected(self, what: str) -> DataError:
        return fault(self._text, f"expected {what}", self._next.at)

    def _any(self) -> Node:
        return self._joined("or", self._all)

    def _all(self) -> Node:
        return self._joined("and", self._negated)

    def _joined(self, word: str, part: Any) -> Node:
        parts = [part()]
        while self._takes(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Both(word, tuple(parts))

    def _negated(self) -> Node:
        negative = False
        while self._takes("not"):
            negative = not negative
        node = self._simple()
        return Not(node) if negative else node

    def _simple(self) -> Node:
        if self._next.kind != "(":
            return self._condition()
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise fault(self._text, f"parentheses are nested more than {MOST_NESTED} deep", self._next.at)
        self._take()
        node = self._any()
        self._close()
        self._depth -= 1
        return node

    def _close(self) -> None:
        if self._next.kind != ")":
            raise self._expected("a closing parenthesis")
        self._take()

    def _condition(self) -> Node:
        left = self._operand()
        if isinstance(left, Value):
            op = self._operator(left)
            right = self._operand()
            if isinstance(right, Value):
                raise fault(self._text, "compares two literals: name a column (strings stand in single quotes, column "
                            "names in none or in double ones)", left.at)  # fmt: skip
            return Compare(right, FLIPPED[op], left)
        if self._next.kind == "op":
            op = self._operator(left)
            return Compare(left, op, self._operand())
        if self._takes("is", "not", "null"):
            return Not(IsNull(left))
        if self._takes("is", "null"):
            return IsNull(left)
        if self._takes("not", "in"):
            return Not(self._list(left))
        if self._takes("in"):
            return self._list(left)
        if self._takes("not", "between"):
            return Not(self._between(left))
        if self._takes("between"):
            return self._between(left)
        if self._next.kind in ("end", ")") or self._next.value in ("and", "or"):
            return IsTrue(left)
        raise self._expected("a comparison (= != < <= > >=), in, between, is null, and or or")

    def _operator(self, left: Column | Value) -> str:
        if self._next.kind != "op":
            raise self._expected("a comparison (= != < <= > >=)")
        return str(self._take().value)

    def _operand(self) -> Column | Value:
        token = self._next
        if token.kind == "value":
            return self._value()
        if token.kind == "word" and token.value == "null":
            raise fault(self._text, "nothing is equal to null: write 'is null' or 'is not null'", token.at)
        if token.kind != "name":
            raise self._expected("the name of a column or a literal (a keyword as a name stands in double quotes)")
        self._take()
        return self.columns.setdefault(token.value, Column(token.value, token.at))

    def _value(self) -> Value:
        if self._next.kind != "value":
            raise self._expected("a number, a string in single quotes, true or false")
        token = self._take()
        return Value(token.value, token.at)

    def _between(self, column: Column) -> Node:
        low = self._value()
        if not self._takes("and"):
            raise self._expected("and (column between 1 and 2)")
        return Both("and", (Compare(column, ">=", low), Compare(column, "<=", self._value())))

    def _list(self, column: Column) -> Node:
        if self._next.kind != "(":
            raise self._expected("a list in parentheses")
        self._take()
        values = [self._value()]
        while self._next.kind == ",":
            self._take()
            values.append(self._value())
        self._close()
        return IsIn(column, tuple(values))
