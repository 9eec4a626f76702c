"""aiohttp sessions, where rate matters: the canary's load and the local edge.

What bounds an answer's bytes and time is its reader's: see `service_client.exchange.body_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aiohttp

_MAX_LINE_BYTES, _MAX_HEADERS = 8_190, 64


def open_session(
    *,
    keepalive_s: float,
    connect_s: float | None = None,
    headers: Mapping[str, str] | None = None,
    without_headers: Sequence[str] = (),
) -> aiohttp.ClientSession:
    """A session without a limit on connections; to be called in the loop that uses it.

    Answers are not unpacked: an edge hands them on as they are, and nobody else asks for packed ones.

    Args:
        keepalive_s: How long an idle connection is kept.
        connect_s: For making a connection; None: what each request may take.
        headers: Of every request.
        without_headers: Names that aiohttp would add by itself, and must not.
    """
    own = {} if "Accept-Encoding" in without_headers else {"Accept-Encoding": "identity"}
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=keepalive_s, ttl_dns_cache=None),
        headers={**own, **(headers or {})},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=without_headers,
        auto_decompress=False,
        trust_env=False,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
        max_headers=_MAX_HEADERS,
    )
