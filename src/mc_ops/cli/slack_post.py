"""Posts a result to Slack; whatever happens there, the result stands."""

from __future__ import annotations

import os
from collections.abc import Callable

from rich.markup import escape

from mc_ops import slack
from mc_ops.cli.output import warn
from mc_ops.errors import OpsError

_URL = "SLACK_WEBHOOK_URL"


def is_configured() -> bool:
    """Whether there is a webhook to post to."""
    return bool(os.environ.get(_URL, "").strip())


def post(message: Callable[[], slack.Message], stands: str) -> bool:
    """Post what `message` makes, if a webhook is configured; whether it was posted.

    Args:
        message: Makes the message, only where it is posted.
        stands: What is said to stand where posting fails, such as "the verdict stands".
    """
    if not is_configured():
        return False
    try:
        slack.post(os.environ[_URL].strip(), message())
    except OpsError as error:
        warn(f"{escape(error.message)}; {stands}")
        return False
    return True
