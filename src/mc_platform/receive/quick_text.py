"""Make protobuf's check of strings quick: it is on the way of every text, in and out.

`google.protobuf.json_format` looks for half surrogate pairs with a pattern, 45 ns a character: a
text of a mebibyte holds the event loop for 45 ms. Encoding the text finds the same in one.
"""

from __future__ import annotations

from google.protobuf import json_format


class _HalfPairs:
    """Stands for the pattern."""

    @staticmethod
    def search(text: str) -> bool:
        """Whether the text has half of a surrogate pair; what is no text is refused as before."""
        if not isinstance(text, str):
            raise TypeError("expected string")  # as the pattern has it, and protobuf expects it
        try:
            text.encode()
        except UnicodeEncodeError:
            return True
        return False


def make_quick() -> None:
    """Put the check in the pattern's place; a test sees that it is still asked there."""
    json_format._UNPAIRED_SURROGATE_PATTERN = _HalfPairs  # type: ignore[attr-defined]
