"""Whether a text is a URI, and URIs without the secrets that some hold."""

# Design: every message that may hold a URI goes through `masked`, also what Arrow's and fsspec's errors say, as those
# repeat the address that failed. What is hidden goes by where it stands: the password before an @, and the values of
# parameters whose names tell. Turned down: hiding whole queries, where the number that tells two files apart may be.

from __future__ import annotations

import re

_URI = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*::)*[A-Za-z][A-Za-z0-9+.\-]+://", re.ASCII)
_CHAIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*::)+[A-Za-z][A-Za-z0-9+.\-]+://", re.ASCII)
_USER = re.compile(r"(?<=://)[^/?#\s:@'\"]*:[^\s'\"]*?@(?=[A-Za-z0-9\[][^\s@'\"]*)", re.ASCII)
_SECRET = re.compile(
    r"([?&;][^=&;\s]*(?:secret|token|passw|signature|credential|access_?key|api_?key|\bsig\b|\bkey\b)[^=&;\s]*=)"
    r"[^&;\s'\"#]*?(?=:?\s|:?$|[&;'\"#])",  # a colon after it is the message's
    re.IGNORECASE,
)
HIDDEN = "***"


def is_uri(text: object) -> bool:
    """Whether it begins with a scheme and ``://``, as no path that people give does."""
    return isinstance(text, str) and _URI.match(text) is not None


def is_chained(text: str) -> bool:
    """Whether it is a URI of fsspec's that leads through another, such as ``zip://a.csv::s3://bucket/b.zip``."""
    return _CHAIN.match(text) is not None or "::" in text


def masked(text: str) -> str:
    """The text with the secrets of its URIs hidden.

    Examples
    --------
    >>> masked("s3://key:secret@bucket/a.parquet?region=eu-west-1&token=abc")
    's3://***@bucket/a.parquet?region=eu-west-1&token=***'
    """
    if "://" not in text and "=" not in text:
        return text
    return _SECRET.sub(rf"\1{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))
