"""What the running service says of itself at packing time: health, metrics, ledger checkpoint.

A service that is down, or an answer that can't be used, becomes a control that says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from mc_contract.canonical import canonical_json
from mc_contract.evidence.binding import ANSWERS, SERVES, SERVING
from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.running import Record
from mc_ops.errors import CouldNotTell
from mc_ops.evidence.parts import Part, absent
from mc_ops.evidence.runs import LEDGER_KEY
from mc_ops.outgoing.clients import AnswerWithoutEnd, open_client
from mc_ops.service_client.running import look

COSIGNED = "ledger-cosigned.txt"
TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 8 * 1024 * 1024
_ANSWERED = (200, 503)  # a service that can't serve still tells its health, with a 503


class _NoAnswer(Exception):
    """The source gave nothing usable; the text says why."""


def service_parts(
    url: str,
    ledger_key: Path,
    replicas: Mapping[str, str] | None = None,
    token: str | None = None,
) -> list[Part]:
    """Health and ledger checkpoint of the service at `url`, and the counters of its replicas.

    Args:
        url: The edge, such as `http://127.0.0.1:8080`.
        ledger_key: The ledger's public key, obtained apart from the service.
        replicas: Each replica's name and URL; None: only what answers at `url` is asked.
        token: The scrape credential, where strangers are told less.
    """
    with _client(url, token) as client:
        health, ledger = _health(client), _ledger(client, ledger_key)
    return [health, _siem(replicas or {"service": url}, token), ledger]


def serving_part(urls: Sequence[str], *, all_of_them: bool, token: str | None = None) -> Part:
    """What runs at the addresses that serve, as each tells of itself.

    Args:
        urls: The replicas that serve; or the address before them.
        all_of_them: Whether these are all that serve; False: others may answer there, too.
        token: As `service_parts`.
    """
    group = SERVES if all_of_them else ANSWERS
    try:
        found = look({group: urls}, token)
    except CouldNotTell as error:
        return absent("serving", f"what serves was not asked: {error.message}")
    if not found[group]:
        return absent("serving", "what serves was not asked: nothing listens there")
    part = Part()
    record = {"running": Record(found, found).as_dict()}
    part.artifacts[SERVING] = canonical_json(record) + b"\n"
    part.claim("serving.running", "running.serving", SERVING)
    names = ", ".join(one["replica"] or "one without a name" for one in found[group])
    part.measured("serving", f"{names}, when this was packed"[:1000], "serving.running")
    return part


def _client(url: str, token: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return open_client(
        base_url=url, timeout_s=TIMEOUT_S, most_bytes=MAX_ANSWER_BYTES, headers=headers
    )


def _health(client: httpx.Client) -> Part:
    part = Part()
    try:
        part.artifacts["health.json"] = _get(client, "/health")
        part.claim("health.ok", "health.ok", "health.json")
        for name in ("version", "colour"):
            part.claim(f"health.{name}", "json.pointer", "health.json", pointer=f"/{name}")
        with contextlib.suppress(NotRecomputable):  # one that does not tell it has no claim of it
            pointer = "/dependencies/policy/digest"
            part.claim("health.policy", "json.pointer", "health.json", pointer=pointer)
    except (_NoAnswer, NotRecomputable) as error:
        return absent("health", f"health was not measured: {error}")
    state = "ok" if part.claims[0].value is True else "not ok"
    names = [claim.id for claim in part.claims]
    part.measured("health", f"the service called itself {state} when this was packed", *names)
    return part


def _siem(replicas: Mapping[str, str], token: str | None) -> Part:
    """Batches sent, by replica: one of a region ships at a time, the others count nothing."""
    part = Part()
    metric = "mc_siem_requests_total"
    for name, url in replicas.items():
        artefact = f"metrics-{name}.prom"
        try:
            with _client(url, token) as client:
                part.artifacts[artefact] = _get(client, "/metrics")
            part.claim(f"siem.requests.{name}", "metrics.sum", artefact, metric=metric)
            labels: dict[str, str] = {"status": "success"}
            part.claim(
                f"siem.success.{name}", "metrics.sum", artefact, metric=metric, labels={**labels}
            )
        except (_NoAnswer, NotRecomputable) as error:
            return absent("siem-delivery", f"SIEM delivery was not measured: {name}: {error}")
    part.measured(
        "siem-delivery",
        f"counters of {', '.join(replicas)}, each since it started; one replica ships at a time",
        *(claim.id for claim in part.claims),
    )
    return part


def _ledger(client: httpx.Client, ledger_key: Path) -> Part:
    part = Part()
    try:
        part.artifacts["ledger-checkpoint.txt"] = note = _get(client, "/ledger/checkpoint")
        try:
            part.artifacts[LEDGER_KEY] = ledger_key.read_bytes()
        except OSError as cause:
            raise _NoAnswer(
                f"the ledger's public key {ledger_key} can't be read: {cause.strerror}"
            ) from cause
        # by the custom of C2SP a log signs under its origin, the note's first line
        origin = note.split(b"\n", 1)[0].decode(errors="replace")
        part.claim(
            "ledger.checkpoint",
            "ledger.checkpoint",
            "ledger-checkpoint.txt",
            LEDGER_KEY,
            key_name=origin,
        )
    except (_NoAnswer, NotRecomputable) as error:
        return absent("ledger", f"the ledger's checkpoint was not measured: {error}")
    part.measured("ledger", "the ledger signed this head", "ledger.checkpoint")
    _add_cosigned(client, part, origin)
    return part


def _add_cosigned(client: httpx.Client, part: Part, origin: str) -> None:
    """The newest checkpoint that witnesses cosigned, if the service has any.

    Whose cosignatures it must have, only who verifies the pack can say.
    """
    try:
        note = _get(client, "/ledger/checkpoint/cosigned")
        part.artifacts[COSIGNED] = note
        part.claim("ledger.cosigned", "ledger.checkpoint", COSIGNED, LEDGER_KEY, key_name=origin)
    except (_NoAnswer, NotRecomputable):
        part.artifacts.pop(COSIGNED, None)


def _get(client: httpx.Client, path: str) -> bytes:
    try:
        answer = client.get(path)
    except AnswerWithoutEnd as cause:
        raise _NoAnswer(
            f"GET {path} answered more than {MAX_ANSWER_BYTES} bytes, or not whole in {TIMEOUT_S:g} s"
        ) from cause
    except (httpx.HTTPError, httpx.InvalidURL) as cause:
        raise _NoAnswer(f"GET {path} failed: {type(cause).__name__}") from cause
    if answer.status_code not in _ANSWERED:
        raise _NoAnswer(f"GET {path} answered {answer.status_code}")
    return answer.content
