"""What runs at an address: the replica's own word in `/health`, asked of several at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

import httpx

from mc_contract.running import Facts, facts_of
from mc_ops.errors import CouldNotTell
from mc_ops.service_client.http import HttpClient

_TIMEOUT_S = 10.0  # longer than /health waits for what it depends on
_AT_ONCE = 16
_ANSWERED = (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE)


def running_at(
    url: str, token: str | None = None, *, timeout_s: float = _TIMEOUT_S
) -> Facts | None:
    """What runs at `url`; None if nothing listens there.

    Args:
        url: An instance; only its origin is used.
        token: A credential for who must show one to be told.
        timeout_s: How long it may take.

    Raises:
        CouldNotTell: it is there, perhaps, and does not answer.
    """
    try:
        with HttpClient(urljoin(url, "/"), token, timeout_s=timeout_s) as client:
            answer = client.ask("GET", "/health")
    except httpx.ConnectError:
        return None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CouldNotTell(
            f"{url} did not report what runs there: {type(error).__name__}",
            hint="is it up? mcctl status",
        ) from error
    try:
        return facts_of(json.loads(answer.content) if answer.status_code in _ANSWERED else None)
    except (ValueError, RecursionError):
        return facts_of(None)


def look(
    groups: Mapping[str, Sequence[str]],
    token: str | None = None,
    *,
    silent_is_gone: bool = False,
    timeout_s: float = _TIMEOUT_S,
) -> dict[str, list[Facts]]:
    """What runs at each address of each group; what nothing listens at is left out.

    Args:
        groups: Addresses by name.
        token: As `running_at`.
        silent_is_gone: Also leave out what does not answer: of a node that crashed nothing refuses.
        timeout_s: As `running_at`.

    Raises:
        CouldNotTell: as `running_at`, unless `silent_is_gone`.
    """

    def one(url: str) -> Facts | None:
        try:
            return running_at(url, token, timeout_s=timeout_s)
        except CouldNotTell:
            if silent_is_gone:
                return None
            raise

    urls = [url for group in groups.values() for url in group]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        told = dict(zip(urls, pool.map(one, urls), strict=True))
    return {
        name: [found for url in group if (found := told[url]) is not None]
        for name, group in groups.items()
    }
