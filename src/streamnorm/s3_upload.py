"""A multipart upload to S3 that can be given up: requests of our own, signed with version 4 of Amazon's signature."""

# Design: parts begin at 5 MiB, which is the least that S3 takes, and grow with their number, so that 10,000 of them
# make a terabyte; two are on their way while the next is filled. A file below one part is one PUT. Source: the
# Amazon S3 API reference (CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, and
# "Authenticating Requests: Using the Authorization Header").

from __future__ import annotations

import configparser
import contextlib
import hashlib
import hmac
import http.client
import os
import re
import ssl
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

PART = 5 << 20
PARTS_OF_A_SIZE = 250
IN_FLIGHT = 2
TRIES = 4
TIMEOUT = 60.0  # seconds without an answer


@dataclass(frozen=True)
class Access:
    """Where the store is and who asks."""

    scheme: str
    host: str
    region: str
    key: str
    secret: str
    token: str
    by_path: bool  # whether the bucket stands in the path, or before the host
    ca_file: str

    def __repr__(self) -> str:
        return f"Access({self.scheme}://{self.host})"


def access_of(filesystem: Any) -> Access | None:
    """What a pyarrow.fs.S3FileSystem was made with; None if its credentials are not to be had here."""
    from pyarrow.fs import S3FileSystem

    if not isinstance(filesystem, S3FileSystem):
        return None
    options = filesystem.__reduce__()[1][0]
    if options["role_arn"] or options["proxy_options"].get("host"):
        return None
    credentials = ("", "", "")
    if not options["anonymous"]:
        found = _credentials(options)
        if found is None:
            return None
        credentials = found
    endpoint = options["endpoint_override"]
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = options["region"] or "us-east-1"
    scheme = options["scheme"] or "https"
    if endpoint:
        if "://" in endpoint:
            scheme, endpoint = endpoint.split("://", 1)
        by_path = not options["force_virtual_addressing"]
        return Access(scheme, endpoint.rstrip("/"), region, *credentials, by_path, options.get("tls_ca_file_path", ""))
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return Access(scheme, f"s3.{region}.{domain}", region, *credentials, False, options.get("tls_ca_file_path", ""))


def _credentials(options: dict[str, Any]) -> tuple[str, str, str] | None:
    if options["access_key"]:
        return options["access_key"], options["secret_key"], options["session_token"] or ""
    environment = os.environ
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        token = environment.get("AWS_SESSION_TOKEN", "")
        return environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], token
    try:
        from botocore.session import Session
    except ImportError:
        return _from_file()
    found = Session().get_credentials()
    frozen = None if found is None else found.get_frozen_credentials()
    return None if frozen is None else (frozen.access_key, frozen.secret_key, frozen.token or "")


def _from_file() -> tuple[str, str, str] | None:
    """The keys in the file of shared credentials, if it has some."""
    path = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, OSError, UnicodeError):
        parser.read(path)
        profile = parser[os.environ.get("AWS_PROFILE", "default")] if parser.sections() else {}
        key, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
        if key and secret:
            return key, secret, profile.get("aws_session_token") or ""
    return None


class MultipartUpload:
    """One object on its way.

    Parameters
    ----------
    access : Access
    key : str
        Bucket and name.
    in_flight : int
        Parts that are under way while the next is filled.
    """

    def __init__(self, access: Access, key: str, in_flight: int = IN_FLIGHT) -> None:
        self._access, self._in_flight = access, in_flight
        self._bucket, _, self._name = key.partition("/")
        self._part = bytearray()
        self._id: str | None = None
        self._tags: list[Future[str]] = []
        self._waiting: deque[Future[str]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def _size(self) -> int:
        return PART * (1 + len(self._tags) // PARTS_OF_A_SIZE)

    def write(self, data: memoryview) -> None:
        """Gather it, and send the parts that are full."""
        while len(data):
            room = self._size - len(self._part)
            self._part += data[:room]
            data = data[room:]
            if len(self._part) == self._size:
                self._send()

    def _send(self) -> None:
        """Hand the part to a thread, once fewer than the most are under way."""
        if self._id is None:
            self._id = self._begin()
            self._pool = ThreadPoolExecutor(max(1, self._in_flight), thread_name_prefix="streamnorm-upload")
        assert self._pool is not None
        self._wait(self._in_flight - 1)
        part, self._part = self._part, bytearray()
        number = len(self._tags) + 1
        future = self._pool.submit(self._put_part, number, part)
        self._tags.append(future)
        self._waiting.append(future)
        self._wait(self._in_flight)

    def _wait(self, most: int) -> None:
        while len(self._waiting) > max(0, most):
            self._waiting.popleft().result()

    def _begin(self) -> str:
        answer, _ = self._ask("POST", {"uploads": ""})
        return _between(answer, "UploadId")

    def _put_part(self, number: int, part: bytearray) -> str:
        assert self._id is not None
        _, headers = self._ask("PUT", {"partNumber": str(number), "uploadId": self._id}, part)
        return headers["etag"]

    def commit(self) -> None:
        """Send what is left, and complete the object."""
        try:
            if self._id is None:
                self._ask("PUT", {}, self._part)
            else:
                if self._part:
                    self._send()
                parts = "".join(
                    f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(future.result())}</ETag></Part>"
                    for number, future in enumerate(self._tags, 1)
                )
                body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
                answer, _ = self._ask("POST", {"uploadId": self._id}, bytearray(body))
                if b"<Error>" in answer:  # S3 may say so after it has begun to answer that all is well
                    raise OSError(_between(answer, "Message") or _between(answer, "Code"))
                self._id = None
        except BaseException:
            self.abort()
            raise
        self._close()

    def abort(self) -> None:
        """Give up the parts that were sent; nothing of them stays in the store."""
        self._part = bytearray()
        for future in self._tags:
            future.cancel()
        self._close()  # a part that arrives after the upload was given up would stay
        self._tags, self._waiting = [], deque()
        if self._id is not None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._ask("DELETE", {"uploadId": self._id})
            self._id = None

    def remove(self) -> None:
        """Remove the object that has the name; pyarrow, which could, puts a marker of its folder in its place."""
        self._ask("DELETE", {})

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None

    def _ask(
        self, method: str, query: dict[str, str], body: bytes | bytearray = b""
    ) -> tuple[bytes, dict[str, str]]:
        """A request, made again a few times where the store is busy or the line breaks."""
        for trial in range(TRIES):
            try:
                status, headers, answer = self._ask_once(method, query, body)
            except (OSError, http.client.HTTPException):
                if trial == TRIES - 1:
                    raise
            else:
                if status < 300:
                    return answer, headers
                if status < 500 and status not in (408, 429):
                    why = _between(answer, "Message") or _between(answer, "Code")
                    raise OSError(f"S3 answers {status}: {why or 'no reason given'}")
                if trial == TRIES - 1:
                    raise OSError(f"S3 answers {status}: {_between(answer, 'Message') or 'it is busy'}")
            time.sleep(0.2 * 2**trial)
        raise AssertionError

    def _ask_once(
        self, method: str, query: dict[str, str], body: bytes | bytearray
    ) -> tuple[int, dict[str, str], bytes]:
        access = self._access
        by_path = access.by_path or "." in self._bucket
        host = access.host if by_path else f"{self._bucket}.{access.host}"
        path = quote((f"/{self._bucket}" if by_path else "") + "/" + self._name, safe="/~-_.")
        text = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
        headers = signed(access, method, host, path, text, body)
        parts = urlsplit(f"//{host}")
        if access.scheme == "https":
            context = ssl.create_default_context(cafile=access.ca_file or None)
            line: Any = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT, context=context)
        else:
            line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
        try:
            line.request(method, path + (f"?{text}" if text else ""), body=bytes(body), headers=headers)
            answer = line.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            line.close()


def signed(
    access: Access, method: str, host: str, path: str, query: str, body: bytes | bytearray, now: datetime | None = None
) -> dict[str, str]:
    """The headers of a request, with its signature unless nobody signs."""
    moment = now or datetime.now(UTC)
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": hashlib.sha256(body).hexdigest(), "x-amz-date": stamp}
    if access.token:
        headers["x-amz-security-token"] = access.token
    if access.key:
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join([method, path, query, lines, names, headers["x-amz-content-sha256"]])
        scope = f"{day}/{access.region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = ("AWS4" + access.secret).encode()
        for step in (day, access.region, "s3", "aws4_request"):
            key = hmac.new(key, step.encode(), hashlib.sha256).digest()
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={access.key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
    return headers


def _between(answer: bytes, tag: str) -> str:
    found = re.search(rf"<{tag}>([^<]*)</{tag}>", answer.decode("utf-8", "replace"))
    return found[1] if found is not None else ""
