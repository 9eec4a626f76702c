"""The error that service and operations share, and the stable codes it carries.

McError                  root; knows message, hint, code, retryable
"""

from __future__ import annotations


class McError(Exception):
    """An error that tells what failed, what to do, and whether trying again can help.

    Args:
        message: What failed, a lower-case clause that names the object and the value got.
        hint: What the reader should do next; empty when there is nothing to do.

    Attributes:
        code: Stable identifier (`kebab-case`) used in JSON, metrics and docs.
        retryable: Whether the same call may succeed later without a change.
    """

    code: str = "internal"
    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, object]:
        """The error as it appears in JSON: `{code, message, hint, retryable}`."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
        }
