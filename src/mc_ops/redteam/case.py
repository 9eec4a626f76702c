"""What a case is, and what came of it."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mc_ops.redteam.values import Canary

Part = dict[str, Any]
Kind = Literal["attack", "benign", "wording"]


def says(text: str) -> tuple[Part, ...]:
    """A message or a reply of one text."""
    return ({"text": text},)


def document_of(rng: random.Random, text: str, filename: str) -> Part:
    """A text as a document: said to be one, or, every other time, as a file."""
    if rng.random() < 0.5:
        raw = base64.b64encode(text.encode()).decode()
        return {"raw": raw, "mediaType": "text/plain", "filename": filename}
    return {"text": text, "metadata": {"origin": "document"}}


def rpc(method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a case.

    Attributes:
        parts: What is sent; where `reply` is given, a line that calls it up is added.
        reply: What the sample agent is made to answer: it plays the compromised model.
        conversation: Requests with the same word are one conversation.
        message_id: The client's id; a fresh one unless it is given.
        corrupt: How the credential is spoilt before it is sent: `flip`, `cut`, `other-secret`.
        path: Another route than A2A; `body` is then sent as it is, with `{task}` in it replaced by
            the id of the task that the request before it made.
        setup: The victim's own request, or a step towards the attack. It must be answered, else
            nothing was attacked; what it brings back is no leak.
    """

    parts: tuple[Part, ...] = ()
    reply: tuple[Part, ...] = ()
    tenant: str = "TENANT_001"
    governance: Mapping[str, Any] = field(default_factory=dict)
    conversation: str = ""
    message_id: str = ""
    stream: bool = False
    corrupt: str = ""
    method: str = "POST"
    path: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    setup: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One attack, or one honest piece of work.

    Attributes:
        canaries: What must not come back, in any channel.
        carriers: Texts that carry a canary in disguise: all of one tuple back is the canary back.
        share: How much of a canary may not come back in one piece.
        whole: What must not come back as it is: which part of it is the secret is not known.
        refused: The last request must be refused by a control: it brings no canary that could.
        one_refused: One of the requests must be refused: only all of their answers together tell.
        by: Which controls count for it; empty: any. Where another one acted, nothing was tried.
        same: The answers to all but the setup must not differ in anything that tells them apart.
        quiet: No control need act, if nothing comes back: the value goes in by an odd way only.
        expected: Benign: the text that must come back unchanged.
        form: How it was made, for readers: the disguise, the wording's language, ...
    """

    id: str
    family: str
    kind: Kind
    asks: tuple[Ask, ...]
    canaries: tuple[Canary, ...] = ()
    carriers: tuple[tuple[str, ...], ...] = ()
    share: float = 0.5
    whole: str = ""
    refused: bool = False
    one_refused: bool = False
    by: tuple[str, ...] = ()
    same: bool = False
    quiet: bool = False
    expected: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back to one request.

    Attributes:
        status: HTTP; 0 if none came.
        text: The whole body, every line of a stream.
        reply: The released parts' strings, keys of data among them.
        headers: The response's header values.
        control: Which control acted, in words; empty: none did.
        refusal: Whether it refused; else it let a changed reply through.
        problem: Why this is no answer at all; empty: it is one.
        task: The id of the task that was made.
        taken_s: Seconds from sending to the last byte.
    """

    status: int
    text: str
    reply: tuple[str, ...] = ()
    headers: str = ""
    control: str = ""
    refusal: bool = False
    problem: str = ""
    task: str = ""
    taken_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a case; its JSON form is what evidence recomputes the rates from."""

    id: str
    family: str
    kind: Kind
    outcome: str
    control: str = ""
    channel: str = ""
    form: str = ""
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it; no canary and no text among it."""
        return asdict(self)
