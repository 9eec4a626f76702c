"""Posts a result to Slack; whatever happens there, the result stands."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from rich.markup import escape

from mc_ops import slack
from mc_ops.cli.output import warn
from mc_ops.errors import OpsError

_URL = "SLACK_WEBHOOK_URL"


def is_configured() -> bool:
    """Whether there is a webhook to post to."""
    return bool(os.environ.get(_URL, "").strip())


def post(
    message: Callable[[], slack.Message], stands: str, *, patience_s: float | None = None
) -> bool:
    """Post what `message` makes, if a webhook is configured; whether it was posted.

    Args:
        message: Makes the message, only where it is posted.
        stands: What is said to stand where posting fails, such as "the verdict stands".
        patience_s: How long Slack may be waited for altogether; None: as `slack.post` has it.
    """
    if not is_configured():
        return False
    try:
        how = {} if patience_s is None else {"patience_s": patience_s}
        slack.post(
            os.environ[_URL].strip(), slack.from_host(message(), socket.gethostname()), **how
        )
    except OpsError as error:
        warn(f"{escape(error.message)}; {stands}", error.hint)
        return False
    return True
