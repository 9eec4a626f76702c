"""URLs that people give: what is accepted, and that no secret is in them."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from mc_ops.errors import UnusableInput


def plain_url(name: str, url: str, *, example: str, instead: str) -> str:
    """The URL as given, if it is http(s) and holds no secret: it lands in files and in Slack.

    Args:
        name: Whose URL it is, for messages.
        url: The URL.
        example: One that would do.
        instead: Where a secret goes instead.

    Raises:
        UnusableInput: When it is not http(s), or has a user, password, query or fragment.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and bool(httpx.URL(url).host)  # stricter, and reads the host's letters
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise UnusableInput(f'{name} is not an http(s) URL: "{url}"', hint=f"for example {example}")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UnusableInput(
            f"the {name} URL must have no user, password, query or fragment", hint=instead
        )
    return url
