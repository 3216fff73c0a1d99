"""Curves of losses in characters."""

import math
import re

import pytest

from streamnorm.curves import HEIGHT, draw

ANSI = re.compile(r"\x1b\[\d+m")
FALLING = [1 / (1 + i) for i in range(30)]


@pytest.mark.parametrize("width", [52, 80, 100])
@pytest.mark.parametrize("fancy", [False, True])
@pytest.mark.parametrize("epochs", [2, 3, 30, 500])
def test_no_line_is_wider_than_asked(width, fancy, epochs):
    losses = [1e-9 + math.exp(-i / 7) for i in range(epochs)]
    lines = ANSI.sub("", draw({"loss": losses, "val_loss": losses[::-1]}, width=width, fancy=fancy)).splitlines()
    assert len(lines) == HEIGHT + 3
    assert max(map(len, lines)) <= width and len(lines[HEIGHT]) == width


def test_plain_curves_are_ascii_and_others_are_not():
    assert draw({"loss": FALLING}).isascii()
    assert not draw({"loss": FALLING}, fancy=True).isascii()


def test_a_falling_loss_falls():
    rows = [line.partition("|")[2] for line in draw({"loss": FALLING}).splitlines()[:HEIGHT]]
    assert rows[0].startswith("*") and rows[-1].endswith("*")
    heights = [next(y for y, row in enumerate(rows) if row.ljust(80)[x] == "*") for x in range(70)]
    assert heights == sorted(heights)


def test_the_axes_say_where_it_begins_and_ends():
    lines = draw({"loss": [4.0, 2.0, 3.0]}, width=50).splitlines()
    assert lines[0].startswith("4 |") and lines[HEIGHT - 1].startswith("2 |")
    assert lines[HEIGHT + 1].split() == ["1", "3"]
    assert lines[-1] == "* loss by epoch"


def test_a_large_range_has_a_logarithmic_axis():
    lines = draw({"loss": [1.0, 0.1, 0.01]}, width=43).splitlines()
    assert lines[-1] == "* loss by epoch, on a logarithmic axis"
    middle = [line.partition("|")[2] for line in lines[:HEIGHT]]
    assert sum("*" in row for row in middle) == HEIGHT  # a straight line


@pytest.mark.parametrize("losses", [[], [1.0], [math.nan, math.nan], [math.inf, math.inf]])
def test_there_is_nothing_to_draw_of_less_than_two_numbers(losses):
    assert draw({"loss": losses}) == ""


def test_numbers_that_are_none_leave_gaps():
    text = draw({"loss": [3.0, math.nan, math.nan, 1.0, 2.0]})
    assert "nan" not in text and "*" in text


def test_a_constant_loss_is_a_line():
    rows = draw({"loss": [2.0] * 5}).splitlines()[:HEIGHT]
    assert sum("*" in row for row in rows) == 1
