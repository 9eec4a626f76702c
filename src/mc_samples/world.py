"""The fulfilment agent's world: stock, reservations, charges and bookings, and how they change.

Invariants:
- An idempotency key has one result. The same body again gets the first result, and nothing is
  done twice; another body under the same key is refused.
- An undo names what it undoes by id, or by the key of the call that did it (`effect_key`) for a
  caller that lost the answer. Undoing what never happened does nothing, and bars that key: a
  slow call that arrives after its own undo must not take effect.
- What was answered is in the journal first, so a restart forgets nothing. A torn last line
  (killed in mid-write) was never answered and is dropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

_STOCK = {"widget": 1_000_000, "gadget": 1_000_000, "unbookable": 1_000_000, "scarce": 1}
_MAX_QUANTITY = 1_000
_MAX_AMOUNT_CENTS = 100_000_000

Thing = Literal["reservation", "charge", "booking"]
Result = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done; `undone` once it was taken back."""

    thing: Thing
    id: str
    key: str | None
    fields: Mapping[str, Any]
    undone: bool = False


class Refused(Exception):
    """The request cannot be served; carries the HTTP status and what to say."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class World:
    """State in memory, made from the journal at start."""

    def __init__(self, journal: Path) -> None:
        self._results: dict[str, tuple[str, Result]] = {}
        self._barred: set[str] = set()
        self._entries: dict[str, Entry] = {}
        self._by_key: dict[str, str] = {}
        self._stock = dict(_STOCK)
        self.effects: list[dict[str, Any]] = []
        self._count = 0
        journal.parent.mkdir(parents=True, exist_ok=True)
        for line in _whole_lines(journal):
            self._apply(json.loads(line))
        self._journal = journal.open("ab")

    def close(self) -> None:
        self._journal.close()

    def do(
        self, thing: Thing, body: dict[str, Any], key: str | None, home_term: str | None = None
    ) -> Result:
        """Reserve, charge or book; 201 with the new id. Keeps the fencing token, and refuses by none.

        Raises:
            Refused: 400 malformed, 404 no such item, 409 cannot be done, 422 key used before.
        """
        digest = _digest(f"do {thing}", body)
        if known := self._known(key, digest):
            return known
        if key is not None and key in self._barred:
            raise Refused(409, "this call was undone before it took effect")
        fields = _checked(thing, body)
        if obstacle := self._obstacle(thing, fields):
            # A refusal is a result too: the same call again must not succeed by luck.
            return self._commit({"op": "refuse"}, key, digest, (409, {"error": obstacle}))
        new_id = f"{thing[0].upper()}-{self._count + 1}"
        event = {"op": "do", "thing": thing, "id": new_id, "fields": fields, "home_term": home_term}
        return self._commit(event, key, digest, (201, {f"{thing}_id": new_id}))

    def undo(
        self, thing: Thing, body: dict[str, Any], key: str | None, home_term: str | None = None
    ) -> Result:
        """Take back what `<thing>_id` or `effect_key` names; always 200, and true to the facts.

        Raises:
            Refused: 400 when the body names nothing, 422 when the key was used before.
        """
        digest = _digest(f"undo {thing}", body)
        if known := self._known(key, digest):
            return known
        wanted, effect_key = body.get(f"{thing}_id"), body.get("effect_key")
        if not isinstance(wanted, str) and not isinstance(effect_key, str):
            raise Refused(400, f'the body needs "{thing}_id" or "effect_key"')
        found = self._entries.get(wanted) if isinstance(wanted, str) else None
        if found is None and isinstance(effect_key, str):
            found = self._entries.get(self._by_key.get(effect_key, ""))
        if found and found.thing == thing:
            answer = {"cancelled": True, f"{thing}_id": found.id}
            if found.undone:
                answer["note"] = "was undone before"
            event = {
                "op": "undo",
                "id": found.id,
                "applied": not found.undone,
                "home_term": home_term,
            }
        else:
            answer = {"cancelled": False, "note": "nothing to undo"}
            event = {"op": "bar", "effect_key": effect_key}
        return self._commit(event, key, digest, (200, answer))

    def snapshot(self) -> dict[str, Any]:
        """The world now: stock, and what holds (what was undone is not in it)."""
        held: dict[str, dict[str, Any]] = {f"{thing}s": {} for thing in get_args(Thing)}
        for entry in self._entries.values():
            if not entry.undone:
                held[f"{entry.thing}s"][entry.id] = dict(entry.fields)
        return {"stock": dict(self._stock), **held}

    def booking_state(self, booking_id: str) -> str | None:
        """`booked` or `cancelled`; None if there is no such booking."""
        entry = self._entries.get(booking_id)
        if entry is None or entry.thing != "booking":
            return None
        return "cancelled" if entry.undone else "booked"

    def _known(self, key: str | None, digest: str) -> Result | None:
        if key is None or key not in self._results:
            return None
        first_digest, result = self._results[key]
        if first_digest != digest:
            raise Refused(422, "this Idempotency-Key was used for a different request")
        return result

    def _obstacle(self, thing: Thing, fields: Mapping[str, Any]) -> str | None:
        if thing == "reservation" and self._stock[fields["item"]] < fields["quantity"]:
            return f"not enough {fields['item']} in stock"
        if thing == "booking" and fields["item"] == "unbookable":
            return "no courier takes this item"
        return None

    def _commit(
        self, event: Mapping[str, Any], key: str | None, digest: str, result: Result
    ) -> Result:
        event = {**event, "key": key, "digest": digest, "result": result}
        self._journal.write((json.dumps(event, separators=(",", ":")) + "\n").encode())
        self._journal.flush()  # survives this process; a sample need not survive a power cut
        self._apply(event)
        return result

    def _apply(self, event: Mapping[str, Any]) -> None:
        self._count += 1
        key = event.get("key")
        if key is not None:
            status, answer = event["result"]
            self._results[key] = (event["digest"], (status, answer))
        if event["op"] == "do":
            entry = Entry(event["thing"], event["id"], key, event["fields"])
            self._entries[entry.id] = entry
            if key is not None:
                self._by_key[key] = entry.id
            self._effect("do", entry, event, sign=-1)
        elif event["op"] == "undo" and event["applied"]:
            entry = replace(self._entries[event["id"]], undone=True)
            self._entries[entry.id] = entry
            self._effect("undo", entry, event, sign=1)
        elif event["op"] == "bar" and event.get("effect_key"):
            self._barred.add(event["effect_key"])

    def _effect(self, verb: str, entry: Entry, event: Mapping[str, Any], *, sign: int) -> None:
        if entry.thing == "reservation":
            self._stock[entry.fields["item"]] += sign * entry.fields["quantity"]
        effect = {"seq": len(self.effects) + 1, "verb": verb, "thing": entry.thing}
        told = {"id": entry.id, "key": entry.key, "home_term": event.get("home_term")}
        self.effects.append({**effect, **told})


def _whole_lines(journal: Path) -> list[bytes]:
    if not journal.exists():
        return []
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        with journal.open("r+b") as file:
            file.truncate(len(whole))
    return whole.splitlines()


def _digest(call: str, body: Mapping[str, Any]) -> str:
    text = json.dumps([call, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _checked(thing: Thing, body: Mapping[str, Any]) -> dict[str, Any]:
    if thing == "charge":
        return {
            "customer": _text(body, "customer"),
            "amount_cents": _number(body, "amount_cents", _MAX_AMOUNT_CENTS),
        }
    item = _text(body, "item")
    if item not in _STOCK:
        raise Refused(404, "there is no such item")
    if thing == "reservation":
        return {"item": item, "quantity": _number(body, "quantity", _MAX_QUANTITY)}
    return {"item": item, "address_ref": _text(body, "address_ref")}


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise Refused(400, f'"{name}" must be a text of 1 to 200 characters')
    return value


def _number(body: Mapping[str, Any], name: str, most: int) -> int:
    value = body.get(name)
    # JSON has one kind of number: a caller whose protocol carries doubles sends 1.0 for 1.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise Refused(400, f'"{name}" must be a whole number from 1 to {most}')
    return value
