"""What goes wrong, as exceptions: each message is one sentence that says where and what to do.

Design: ``NotFittedError`` must be caught by people who write ``except sklearn.exceptions.NotFittedError`` and
by people who have never heard of scikit-learn, and importing scikit-learn for it would cost a second and 60
MB. So the name resolves, at the moment it is asked for, to scikit-learn's class if that is loaded and to ours
if it is not, and what is raised while scikit-learn is loaded derives from both: code that took hold of our
class before scikit-learn came in still catches it. Turned down: always our own class (scikit-learn's callers
would miss it).
"""

import sys
from collections.abc import Sequence
from typing import Any

__all__ = [
    "DataError",
    "NotFittedError",  # noqa: F822 (by __getattr__)
    "NotMergeableError",
    "StateError",
    "StatisticNotCollected",
    "StreamnormError",
    "StreamnormWarning",
    "not_fitted_error",
]


class StreamnormError(Exception):
    """The base of every error that streamnorm raises on purpose."""


class DataError(StreamnormError, ValueError):
    """The data, a file or a table, cannot be used as asked.

    Parameters
    ----------
    message : str
        One sentence that names the place and says what to do.
    file : str or None
        The file at fault.
    row_group : int or None
        The row group at fault, counted from 0.
    column : str, int or None
        The column at fault.
    """

    def __init__(
        self,
        message: str = "",
        *,
        file: str | None = None,
        row_group: int | None = None,
        column: str | int | None = None,
    ) -> None:
        super().__init__(message)
        self.file = file
        self.row_group = row_group
        self.column = column


class BadRow(DataError):
    """A row cannot be used as asked; whoever knows the rows before it says which one.

    Parameters
    ----------
    row : int
        Counted from the first one that was looked at.
    problem, advice : str
        What is wrong, as a clause that "in row 7" can follow, and what helps.
    column : str, int or None
    """

    def __init__(self, row: int, problem: str, advice: str, column: str | int | None = None) -> None:
        where = "" if column is None else f"column {column!r} "
        super().__init__(f"{where}{problem}, in row {row}: {advice}", column=column)
        self.row, self.problem, self.advice = row, problem, advice

    def behind(self, rows: int, column: str | int) -> "BadRow":
        """The error where so many rows came before those that were looked at, of this column."""
        return BadRow(self.row + rows, self.problem, self.advice, column)


class StateError(StreamnormError, ValueError):
    """A saved state is damaged, edited, of an unknown version, or not a state at all."""


class NotMergeableError(StreamnormError, ValueError):
    """Two states do not describe the same columns in the same way, have counted the same file, or hold statistics that
    cannot be merged or subtracted by their nature."""


class StatisticNotCollected(StreamnormError, AttributeError):
    """A statistic was asked for that the method did not collect, or that is not known."""


class StreamnormWarning(UserWarning):
    """Something that a job passes over and its caller should know.

    Parameters
    ----------
    message : str
        One sentence that names the columns.
    code : str or None
        Of what kind it is, for programs; :mod:`streamnorm.doubts` lists them.
    columns : sequence of str or int
        All columns that it is about.
    """

    def __init__(self, message: str = "", *, code: str | None = None, columns: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.columns = list(columns)


class _OwnNotFittedError(StreamnormError, ValueError, AttributeError):
    """A scaler was used before it was fitted."""

    def __reduce__(self) -> tuple[Any, ...]:
        return not_fitted_error, (str(self),)


_OwnNotFittedError.__name__ = _OwnNotFittedError.__qualname__ = "NotFittedError"


def _scikit_learn_class() -> type[Exception] | None:
    """scikit-learn's NotFittedError if scikit-learn is loaded; never a reason to load it."""
    module = sys.modules.get("sklearn.exceptions")
    return getattr(module, "NotFittedError", None)


def not_fitted_error(message: str) -> Exception:
    """Make the error for use before fit, of the class that whoever is around will catch.

    Parameters
    ----------
    message : str
        What was called, and what to call first.

    Returns
    -------
    Exception
        An instance of scikit-learn's ``NotFittedError`` and of ours if scikit-learn is loaded, else of ours.
    """
    theirs = _scikit_learn_class()
    if theirs is None:
        return _OwnNotFittedError(message)
    return type("NotFittedError", (_OwnNotFittedError, theirs), {"__module__": __name__})(message)


def __getattr__(name: str) -> Any:
    if name == "NotFittedError":
        return _scikit_learn_class() or _OwnNotFittedError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
