"""What tests of errors share: the jobs that may fail, and what one clear error looks like."""

import re

import pytest

import streamnorm as sn
from support.files import (
    numbers,
)

METHODS = ("standard", "minmax", "maxabs", "robust")
JOBS = {
    "fit": lambda source, target: sn.fit(source),
    "normalize": lambda source, target: sn.normalize(source, target),
    "transform": lambda source, target: sn.transform(source, target, sn.fit(numbers(10))),
    "to a reader": lambda source, target: sn.transform(source, None, sn.fit(numbers(10))).read_all(),
}


def fails(kind, call, *, file=None, row_group=None, column=None, match=None):
    """The one error of a call: its class, the place that it names in attributes and in words."""
    with pytest.raises(kind, match=match) as caught:
        call()
    error = caught.value
    assert isinstance(error, sn.StreamnormError)
    text = str(error)
    assert "\n" not in text and 20 < len(text) < 400, text
    assert not re.search(r"<.* object at|Traceback|None", text), text
    if isinstance(error, sn.DataError):
        assert error.file == (None if file is None else str(file)), text
        assert error.row_group == row_group, text
        assert error.column == column, text
    if file is not None:
        assert str(file) in text
    if row_group is not None:
        assert f"row group {row_group}" in text
    if column is not None:
        assert repr(column) in text
    return text
