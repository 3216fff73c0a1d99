"""Documents that streamnorm keeps: JSON that says its format and version, and ends in a digest of the rest.

States, vocabularies and model files have this in common. A reader takes no more than RFC 8259 has, each key once, and
numbers that a double holds; what is wrong is raised as the caller's kind of damage, a sentence without its beginning.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .state_values import _Damage, _guard, _one_line


def canonical(content: Any) -> bytes:
    """Keys sorted, no spaces, UTF-8: what digests are taken of."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of(content: Any) -> str:
    """The digest of an object without its own."""
    return "sha256:" + hashlib.sha256(canonical(content)).hexdigest()


def parsed(text: str | bytes, problem: str, damage: type[_Damage] = _Damage) -> Any:
    """The value of a JSON text; `problem` says of a text that is none what is wrong with it."""
    try:
        return json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_literal,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise damage(f"{problem} ({_one_line(error)})") from None


def check_format(
    content: Any, name: str, versions: Sequence[int], problem: str, damage: type[_Damage] = _Damage
) -> int:
    """The version of an object that must be of this format; `problem` says of another what is wrong with it."""
    if type(content) is not dict or content.get("format") != name:
        raise damage(problem)
    version = content.get("version")
    if type(version) is not int:
        raise damage("has no 'version' of type int")
    if version not in versions:
        known = " and ".join(filter(None, [", ".join(map(str, versions[:-1])), str(versions[-1])]))
        raise damage(
            f"has format version {version}, and this version of streamnorm reads {known}",
            f"read it with the streamnorm that wrote it, {content.get('streamnorm')!s:.20}",
        )
    return version


def check_digest(
    content: dict[str, Any], digest: Callable[[dict[str, Any]], str] = digest_of, damage: type[_Damage] = _Damage
) -> None:
    """Take the digest out of an object, and check it by that of the rest."""
    claimed = content.pop("digest")
    if _guard(lambda: digest(content), "holds text that is not Unicode", damage) != claimed:
        raise damage("was changed after it was written (the digest does not match its content)")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result


def _refuse_literal(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:30]} is beyond any double")
    return value
