"""Posting to a Slack incoming webhook. The webhook's URL is a secret: it is never in an error."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from mc_contract.siem import is_loopback
from mc_ops.errors import CouldNotTell
from mc_ops.outgoing.clients import open_client
from mc_ops.slack.messages import Message

_TIMEOUT_S = 5
_MOST_BYTES = 65_536
_OK, _TAKEN = 200, "ok"
_PATIENCE_S = 30.0
_TRIES = 4
_WORD = re.compile(r"[a-z]+(_[a-z]+)*")  # such as `invalid_blocks`; a page of a proxy is none
_LONGEST_WORD = 60
_PLACE = "check SLACK_WEBHOOK_URL, and whether a proxy answers for Slack"


class NotPosted(CouldNotTell):
    """Slack did not take the message."""

    code = "slack-not-posted"


def post(webhook_url: str, message: Message, *, patience_s: float = _PATIENCE_S) -> None:
    """Post one message; 429 and 5xx are tried again, when Slack says so or after 1, 2 and 4 s.

    Args:
        webhook_url: An incoming webhook's URL.
        message: Text and blocks.
        patience_s: How long it may wait altogether between the tries.

    Raises:
        NotPosted: When Slack cannot be reached or refuses; says neither URL nor message.
    """
    if not _is_safe(webhook_url):
        raise NotPosted(
            "SLACK_WEBHOOK_URL is not an https:// URL, nor one of this machine",
            hint="copy the URL from the webhook page of the Slack app",
        )
    for number in range(_TRIES):
        answer = _sent(webhook_url, message)
        wait_s = _wait_s(answer, otherwise_s=2.0**number)
        if not _is_passing(answer) or number == _TRIES - 1 or wait_s > patience_s:
            break
        patience_s -= wait_s
        time.sleep(wait_s)
    if answer.status_code != _OK:
        raise NotPosted(
            f"Slack refused the message: HTTP {answer.status_code}{_word_of(answer)}",
            hint=f"it may be tried again in {wait_s:.0f} s"
            if _is_passing(answer)
            else _hint(answer),
        )
    if answer.text.strip() != _TAKEN:
        raise NotPosted(
            'the answer is not from a Slack webhook: HTTP 200 without "ok"',
            hint=_PLACE,
        )


def _sent(webhook_url: str, message: Message) -> httpx.Response:
    body = {"text": message.text, "blocks": list(message.blocks)}
    try:
        with open_client(timeout_s=_TIMEOUT_S, most_bytes=_MOST_BYTES) as client:
            return client.post(webhook_url, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its text may hold the URL, hence `from None`
        raise NotPosted(
            f"Slack could not be reached ({type(error).__name__})",
            hint="check the network and SLACK_WEBHOOK_URL",
        ) from None


def _is_passing(answer: httpx.Response) -> bool:
    return answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error


def _wait_s(answer: httpx.Response, otherwise_s: float) -> float:
    """Seconds until the next try: by `Retry-After` (seconds, or a date), else as given."""
    said = answer.headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # none, or a date without its zone
        return otherwise_s


def _hint(answer: httpx.Response) -> str:
    if answer.status_code == httpx.codes.BAD_REQUEST:
        return "it does not take the message as it is: report it with the run's folder"
    if answer.is_client_error:
        return "the webhook may be revoked, or its channel archived: make another one"
    return _PLACE


def _word_of(answer: httpx.Response) -> str:
    """What Slack says of it, such as `invalid_blocks`; nothing that is longer than such a word."""
    said = answer.text.strip()
    return f" ({said})" if len(said) <= _LONGEST_WORD and _WORD.fullmatch(said) else ""


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
