"""The exit codes of `mcctl` and the scripts; they are API."""

from __future__ import annotations

OK = 0
FINDING = 1
USAGE = 2
COULD_NOT_TELL = 3
NOT_ALLOWED = 4
DECLINED = 5
WAITING = 8
