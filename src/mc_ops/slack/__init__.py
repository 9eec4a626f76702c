"""The Slack room: Block Kit messages, and posting them to an incoming webhook.

    message = canary_message(verdict)
    post(os.environ["SLACK_WEBHOOK_URL"], message)

Slack refuses a body without `text` or `blocks` (the runbook's `--data @delta.json` has neither);
ours always has both: `text` is what notifications and screen readers show. Callers decide what a
failure to post means; it never changes a verdict.
"""

from mc_ops.slack.delta_message import delta_message
from mc_ops.slack.messages import Message, canary_message, from_host, unfinished_message
from mc_ops.slack.webhook import NotPosted, post

__all__ = [
    "Message",
    "NotPosted",
    "canary_message",
    "delta_message",
    "from_host",
    "post",
    "unfinished_message",
]
