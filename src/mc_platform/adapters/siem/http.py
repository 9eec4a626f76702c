"""HTTP as the SIEM sinks need it: one place for TLS, time limits, and what an answer means.

The key travels in a header to the configured URL and nowhere else: redirects are not followed,
no proxy of the environment is used, and neither key, URL nor body comes into an error's text.
"""

from __future__ import annotations

import email.utils
import math
import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec

from mc_platform.adapters.http import Outgoing
from mc_platform.deliver import BatchRejected, SinkRefused
from mc_platform.errors import Misconfigured, PeerFailed
from mc_platform.model.shape import ShapeLimits, shape_problem

_TIMEOUT_S = 30.0
MOST_ANSWER_BYTES = 65_536
"""Of an answer that tells of a batch as a whole."""
# Of one that tells of each of a thousand events, with all that a server may say beside it
_ANSWER_SHAPE = ShapeLimits(values=50_000, depth=32)
_GREATEST_RETRY_AFTER_S = 300.0
_GZIP_LEVEL = 1  # higher ones cost more CPU than the bytes they save cost anybody
_GZIP_FORMAT = 31  # zlib's number of it
_PIECE_BYTES = 65_536
_BAD_CONTENT = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
# OpenSSL's verification codes that a wrong set-up meets; its own text would name the host.
_VERIFY = {
    10: "it has expired",
    18: "it is self-signed",
    19: "its chain ends in an unknown CA",
    20: "its issuer is unknown",
    62: "it is for another host",
    64: "it is for another address",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is cut at the most bytes that were asked for."""

    status: int
    body: bytes
    retry_after_s: float | None

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def json(self) -> dict[str, Any]:
        """The body as an object; empty if it is anything else, or holds more than any answer needs."""
        if shape_problem(self.body, _ANSWER_SHAPE):
            return {}
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return value if isinstance(value, dict) else {}


class SiemHttp:
    """What sinks over HTTP share: one sink's connections, opened at the first post."""

    name = "siem"
    most = 1000

    def __init__(self, *, headers: Mapping[str, str], ca_file: str | None = None) -> None:
        """Read the CA file; nothing is connected yet.

        Raises:
            Misconfigured: `ca_file` cannot be used.
        """
        self._http = Outgoing(headers=headers, tls=tls_context(ca_file))

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = MOST_ANSWER_BYTES,
    ) -> Answer:
        """Post bytes; of the answer's body `most_bytes` are read.

        Raises:
            SinkRefused: no answer came, or not one that could be read.
        """
        try:
            reply = await self._http.exchange(
                "POST",
                url,
                body=body,
                headers=headers,
                timeout_s=_TIMEOUT_S,
                most_bytes=most_bytes,
                whole=False,  # what was taken stays taken, however long the answer
            )
        except PeerFailed as error:
            raise SinkRefused(told(error.__cause__ or error)) from error
        return Answer(reply.status, reply.body, retry_after_s(reply.headers))

    async def close(self) -> None:
        await self._http.close()


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS that verifies name and chain: by the system's CAs, or by those of the file alone.

    Raises:
        Misconfigured: the file cannot be read, or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"AUDIT_SIEM_CA_FILE cannot be used: {type(error).__name__}",
            hint="it must be a readable PEM file with the CA's certificate",
        ) from error


def json_lines(objects: Iterable[Any]) -> Iterator[bytes]:
    """Each object as JSON and a line end.

    One is written before the next is made: a thousand at once would have the garbage collector walk
    them, which costs as much as writing them.
    """
    encoder = msgspec.json.Encoder()
    for one in objects:
        yield encoder.encode(one) + b"\n"


def compressed(lines: Iterable[bytes]) -> bytes:
    """The lines gzipped, without a time in the header: same events, same bytes.

    They go in by pieces that stay in the processor's cache, and each piece lets other threads have
    the interpreter.
    """
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    packed, piece = [], bytearray()
    for line in lines:
        piece += line
        if len(piece) >= _PIECE_BYTES:
            packed.append(packer.compress(piece))
            piece.clear()
    return b"".join((*packed, packer.compress(piece), packer.flush()))


def refusal_of(answer: Answer, prefix: str = "HTTP") -> SinkRefused:
    """What an answer that is not a 2xx means to the shipper."""
    reason = f"{prefix} {answer.status}"
    if answer.status in _BAD_CONTENT:
        return BatchRejected(reason)
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        reason += " (redirects are not followed)"
    return SinkRefused(reason, retry_after_s=answer.retry_after_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` (RFC 9110, 10.2.3), seconds or a date; at most five minutes."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        wanted = float(value)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(value)
            if at.tzinfo is None:
                at = at.replace(tzinfo=UTC)
            wanted = (at - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):  # no date, or one beyond the calendar
            return None
    if math.isnan(wanted):  # NaN, which no comparison would stop
        return None
    return min(_GREATEST_RETRY_AFTER_S, max(0.0, wanted))


def told(error: BaseException) -> str:
    """An error without addresses: of a certificate what is wrong with it, of the rest its kind."""
    cause = getattr(error, "certificate_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        code = cause.verify_code
        return f"TLS certificate refused: {_VERIFY.get(code, f'X.509 error {code}')}"
    return type(error).__name__
