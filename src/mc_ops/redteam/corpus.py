"""Cases from outside: JSON lines of `{"id", "scenario", "text", "expect": "block" | "allow"}`.

`block`: the sample agent answers with the text; a control must act, and the text must not come back
as it is (which part of it is the secret, the row does not say). `allow`: the text is sent as a message,
too, and must come back. Other keys are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mc_ops.errors import UnusableInput
from mc_ops.redteam.case import Ask, Case, says

_SCENARIO = re.compile(r"[^a-z0-9]+")
_LONGEST_ID = 120


def read_corpus(path: Path) -> list[Case]:
    """The cases of a file, all of them.

    Raises:
        UnusableInput: the file or a line of it cannot be used; the message names the line.
    """
    try:
        with path.open("rb") as file:
            cases = list(_cases(file.readlines()))
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read: {error.strerror}") from error
    if not cases:
        raise UnusableInput(f"{path} has no rows")
    refuse_repeats(cases)
    return cases


def refuse_repeats(cases: Sequence[Case]) -> None:
    """Refuse an id that is there twice.

    Raises:
        UnusableInput: it is named.
    """
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise UnusableInput(f"id {case.id.removeprefix('corpus-')!r} is there twice")
        seen.add(case.id)


def _cases(lines: list[bytes]) -> Iterator[Case]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnusableInput(f"line {number} is no JSON: {type(error).__name__}") from error
        if not isinstance(row, dict):
            raise UnusableInput(f"line {number} is no JSON object")
        name, text, expect = row.get("id"), row.get("text"), row.get("expect")
        if not isinstance(name, str | int) or isinstance(name, bool) or not str(name):
            raise UnusableInput(f"line {number}: `id` must be a text or a whole number")
        if not isinstance(text, str) or not text.strip():
            raise UnusableInput(f"line {number}: `text` must be a text that is not blank")
        if expect not in ("block", "allow"):
            raise UnusableInput(f'line {number}: `expect` must be "block" or "allow"')
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UnusableInput(f"line {number}: `text` holds half a surrogate pair") from error
        if len(str(name)) > _LONGEST_ID:
            raise UnusableInput(f"line {number}: `id` has over {_LONGEST_ID} characters")
        yield _case(f"corpus-{name}", str(row.get("scenario", "")), text, expect)


def _case(name: str, scenario: str, text: str, expect: str) -> Case:
    family = "corpus-" + (_SCENARIO.sub("-", scenario.lower()).strip("-")[:40] or "unnamed")
    # A message that holds a link would have named its host
    sent = text if expect == "allow" else "What do you make of it?"
    ask = Ask(parts=says(sent), reply=says(text))
    if expect == "allow":
        return Case(name, family, "benign", (ask,), expected=text, form="outside")
    return Case(name, family, "attack", (ask,), whole=text, form="outside")
