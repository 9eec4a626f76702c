"""Who started a run, who decided at a gate: as the system or a token says, never verified.

A person is `{"user", "host"}`, and `principal` or `key_id` if they have a token. The journal is a
file of whoever runs `mcctl`: a gate keeps people from mistakes, not a forger from the file.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping


def person(*, principal: str = "", key_id: str = "") -> dict[str, str]:
    """Who runs this process, with what their token says of them."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        user = str(os.getuid())
    token = {"principal": principal, "key_id": key_id}
    return {"user": user, "host": socket.gethostname(), **{k: v for k, v in token.items() if v}}


def shown(person: Mapping[str, str]) -> str:
    """A person in words, with the source: a token, or the system's user."""
    if not person:
        return "unknown"
    place = f"{person['user']}@{person['host']}"
    if "principal" in person:
        return f"{person['principal']} (by a token, as {place})"
    if "key_id" in person:
        return f"{place} (with the token of key id {person['key_id']})"
    return f"{place} (the system's user; no token)"


def may_be_same(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether these may be one person: two principals tell people apart, else user and host do."""
    if not one or not other:
        return True
    if "principal" in one and "principal" in other:
        return one["principal"] == other["principal"]
    return (one["user"], one["host"]) == (other["user"], other["host"])
