"""Values in a state's JSON: how numbers are written, and the checks that what is read is what was written."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

MAX_EXACT = 1 << 53  # JSON readers commonly hold numbers in doubles
MAX_SCALE = 76  # of Arrow's decimals
MAX_EXPONENT = 1100  # of the unit of m2: doubles end at 2**1024 and 2**-1074
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_INTEGER = re.compile(r"-?\d{1,40}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,100}(\.\d{1,100})?(E[+-]?\d{1,4})?", re.ASCII)


class _Damage(Exception):
    """What is wrong with a state, as the middle of a sentence, and what helps, as its end."""

    def __init__(
        self, problem: str, advice: str = "fit again and save it anew, or use an intact copy"
    ) -> None:
        super().__init__(f"{problem}: {advice}")


def _guard(action: Callable[[], Any], problem: str, damage: type[_Damage] = _Damage) -> Any:
    """Run code that may stumble over nonsense, and say so in our words."""
    try:
        return action()
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise damage(f"{problem} ({_one_line(error)})") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _check_keys(obj: Mapping[str, Any], expected: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    for key in expected:
        if key not in obj:
            raise _Damage(f"lacks {key!r}")
    for key in obj:
        if key not in expected and key not in optional:
            raise _Damage(f"has an unknown member {key[:40]!r}")


def _member(obj: Mapping[str, Any], key: str, kind: type) -> Any:
    """A member of exactly this type: True is not a number, and 1 is not 1.0."""
    if type(obj.get(key)) is not kind:
        raise _Damage(f"has no {key!r} of type {kind.__name__}")
    return obj[key]


def _encode_float(value: float) -> float | str:
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _encode_int(value: int) -> int | str:
    value = int(value)
    return value if abs(value) <= MAX_EXACT else str(value)


def _encode_extremum(value: Any, kind: str | None) -> Any:
    if value is None:
        return None
    if kind == "decimal":
        return str(value)
    return _encode_int(int(value)) if kind == "int" else _encode_float(value)


def _decode_int(value: Any, key: str) -> int:
    if type(value) is int and abs(value) <= MAX_EXACT:
        return value
    if type(value) is str and _INTEGER.fullmatch(value) and abs(int(value)) > MAX_EXACT:
        return int(value)
    raise _Damage(f"has no whole number for {key!r}")


def _decode_exponent(value: Any) -> int:
    if type(value) is int and abs(value) <= MAX_EXPONENT:
        return value
    raise _Damage("has an impossible exponent")


def _decode_scale(value: Any) -> int:
    if type(value) is int and abs(value) <= MAX_SCALE:
        return value
    raise _Damage("has an impossible scale of decimals")


def _decode_float(value: Any, key: str) -> float:
    if type(value) is float:
        return value
    if type(value) is str and value in _SPECIAL:
        return _SPECIAL[value]
    raise _Damage(f"has no float for {key!r}")


def _decode_extremum(value: Any, key: str, kind: str | None) -> Any:
    """As the kernel's own state has it: digits for whole numbers and decimals, a float, or None."""
    if value is None:
        return None
    if kind == "float":
        return _decode_float(value, key)
    if kind == "int":
        return str(_decode_int(value, key))
    if kind == "decimal" and type(value) is str and _DECIMAL.fullmatch(value):
        return value
    raise _Damage(f"has no value of its kind for {key!r}")
