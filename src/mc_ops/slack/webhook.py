"""Posting to a Slack incoming webhook. The webhook's URL is a secret: it is never in an error."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from mc_contract.siem import is_loopback
from mc_ops.errors import CouldNotTell
from mc_ops.outgoing.clients import open_client
from mc_ops.slack.messages import Message

_TIMEOUT_S = 5
_MOST_BYTES = 65_536
_OK, _TAKEN = 200, "ok"


class NotPosted(CouldNotTell):
    """Slack did not take the message."""

    code = "slack-not-posted"


def post(webhook_url: str, message: Message) -> None:
    """Post one message.

    Args:
        webhook_url: An incoming webhook's URL.
        message: Text and blocks.

    Raises:
        NotPosted: When Slack cannot be reached or refuses; says neither URL nor message.
    """
    if not _is_safe(webhook_url):
        raise NotPosted(
            "SLACK_WEBHOOK_URL is not an https:// URL, nor one of this machine",
            hint="copy the URL from the webhook page of the Slack app",
        )
    body = {"text": message.text, "blocks": list(message.blocks)}
    try:
        with open_client(timeout_s=_TIMEOUT_S, most_bytes=_MOST_BYTES) as client:
            answer = client.post(webhook_url, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its text may hold the URL, hence `from None`
        raise NotPosted(
            f"Slack could not be reached ({type(error).__name__})",
            hint="check the network and SLACK_WEBHOOK_URL",
        ) from None
    if answer.status_code != _OK:
        raise NotPosted(
            f"Slack refused the message: HTTP {answer.status_code}",
            hint="a revoked webhook answers 403 or 404",
        )
    if answer.text.strip() != _TAKEN:
        raise NotPosted(
            'the answer is not from a Slack webhook: HTTP 200 without "ok"',
            hint="check SLACK_WEBHOOK_URL, and whether a proxy answers for Slack",
        )


def _is_safe(url: str) -> bool:
    """Whether whoever listens on the way cannot read the URL, which lets its reader post."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )
