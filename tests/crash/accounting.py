"""Compares what was acknowledged with what there is. Pure: values in, findings out.

Each check is a named count that must be 0, with a few examples. Figures are told beside them and
judge nothing, but a run that broke nothing or promised nothing is a finding of its own.

What "once" means: an acknowledged task has exactly one `request.accepted`; an operation has
exactly one end; an effect is applied at most once for each operation and thing; the SIEM gets
event after event in the log's order, and whatever else it gets it has seen before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mc_contract.ledger.merkle import leaf_hash, tree_root

from .evidence import Delivered, Filed, LedgerEvent, World
from .load import Acknowledgement, Promise

_EXAMPLES = 3
_COMPLETED, _COMPENSATED, _STUCK = (
    "operation.completed",
    "operation.compensated",
    "operation.stuck",
)
_NEVER_BEGUN = "request.failed"  # of an operation: its gateway died before the engine had it
_OPERATION_ENDS = (_COMPLETED, _COMPENSATED, _STUCK, _NEVER_BEGUN)
_QUESTION_ENDS = ("reply.released", "reply.withheld", "request.failed")
_THINGS = frozenset({"reservation", "charge", "booking"})
_TERMINAL = ("COMPLETED", "FAILED", "CANCELED", "REJECTED")


@dataclass(slots=True)
class Check:
    """One thing that must not be; `count` of 0 is good."""

    name: str
    promise: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def found(self, example: str) -> None:
        """Count one breach."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)


@dataclass(slots=True)
class Account:
    """All checks, and figures beside them."""

    checks: list[Check] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return all(check.count == 0 for check in self.checks)

    def check(self, name: str, promise: str) -> Check:
        """Open a check."""
        made = Check(name, promise)
        self.checks.append(made)
        return made


def account(
    world: World,
    acknowledged: Sequence[Acknowledgement],
    *,
    questions_must_end: bool = True,
    since: int = 0,
) -> Account:
    """Account for everything.

    Args:
        world: What there is.
        acknowledged: What clients were promised.
        questions_must_end: Whether a forwarded question whose replica died must have been failed
            by now; the service does that about a minute later.
        since: The log's size when it began: what was accepted before is not looked at, but the
            ledger is whole all the same.
    """
    made = Account()
    earlier = {event.subject for event in world.ledger[:since]}
    by_subject: defaultdict[str, list[LedgerEvent]] = defaultdict(list)
    for event in world.ledger[since:]:
        if event.subject not in earlier:
            by_subject[event.subject].append(event)
    _ledger_is_whole(made, world)
    _promises_are_kept(made, world, acknowledged, by_subject)
    _operations_end(made, world, by_subject)
    _questions_end(made, by_subject, must_end=questions_must_end)
    effects = [one for one in world.effects if _operation_of(one) not in earlier]
    _effects_fit(made, effects, by_subject)
    lately = [event for event in world.siem if event.index >= since]
    _siem_has_all(made, world.ledger[since:], lately)
    return made


def outage_account(
    made: Account, ledger: Sequence[LedgerEvent], filed: Sequence[Filed], *, must_hold: range
) -> None:
    """Check the file backup of a time without SIEM.

    Args:
        made: Takes the checks and figures.
        ledger: The log.
        filed: What the file holds, in its order.
        must_hold: Indexes of the events that the file had the time to take.
    """
    ids = {event.index: event.id for event in ledger}
    known = made.check("file: unknown events", "the file holds only what the ledger holds")
    order = made.check("file: order", "the file keeps the log's order, repeats aside")
    whole = made.check("file: missing", "the file holds what happened while the SIEM was down")
    highest = -1
    seen: set[int] = set()
    for entry in filed:
        if ids.get(entry.index) != entry.id:
            known.found(f"index {entry.index}, id {entry.id}")
        if entry.index not in seen and entry.index < highest:
            order.found(f"index {entry.index} after {highest}")
        seen.add(entry.index)
        highest = max(highest, entry.index)
    for index in must_hold:
        if index not in seen:
            whole.found(f"index {index}")
    made.figures["file events"] = len(seen)
    made.figures["file repeats"] = len(filed) - len(seen)


def _ledger_is_whole(made: Account, world: World) -> None:
    gaps = made.check("ledger: gaps", "indexes run from 0 without a gap")
    ids = made.check("ledger: ids", "an event id stands once, and is the leaf's own")
    hashes = made.check("ledger: leaf hashes", "each stored hash is its leaf's")
    root = made.check("ledger: root", "the signed checkpoint is the root over all leaves")
    seen: set[str] = set()
    for place, event in enumerate(world.ledger):
        if event.index != place:
            gaps.found(f"index {event.index} stands at {place}")
        if event.id in seen or event.content.get("id") != event.id:
            ids.found(f"index {event.index}, id {event.id}")
        seen.add(event.id)
        if leaf_hash(event.raw) != event.leaf_hash:
            hashes.found(f"index {event.index}")
    if world.head is None or world.head_problem:
        root.found(world.head_problem or "no checkpoint")
    elif world.head.size > len(world.ledger):
        root.found(f"signed for {world.head.size} leaves, the log has {len(world.ledger)}")
    elif tree_root([e.leaf_hash for e in world.ledger[: world.head.size]]) != world.head.root:
        root.found(f"another root at size {world.head.size}")
    made.figures["ledger events"] = len(world.ledger)


def _promises_are_kept(
    made: Account,
    world: World,
    acknowledged: Sequence[Acknowledgement],
    by_subject: Mapping[str, list[LedgerEvent]],
) -> None:
    accepted = made.check(
        "lost: accepted", "an acknowledged task was accepted, once, in the ledger"
    )
    refused = made.check("lost: refused", "an acknowledged refusal is in the ledger")
    cancels = made.check("lost: cancels", "an acknowledged cancel is in the ledger")
    ends = made.check("lost: ends", "an end that a client was told is the end in the ledger")
    changed = made.check("changed answers", "a message has one task, whoever answered")
    tasks = {task.id for task in world.tasks}
    decisions = _decisions(world.ledger)
    first: dict[tuple[str, str], str] = {}
    for ack in acknowledged:
        kinds = Counter(event.kind for event in by_subject.get(ack.subject, ()))
        told = f"{ack.kind} {ack.message_id}: {ack.promise} {ack.subject} {ack.state}"
        if ack.promise is Promise.refused:
            if not ack.subject or ack.subject not in decisions:
                refused.found(told)
            continue
        if kinds["request.accepted"] != 1 or ack.subject not in tasks:
            accepted.found(told)
        if ack.promise is Promise.cancel_taken and not kinds["task.cancel-requested"]:
            cancels.found(told)
        if not _fits(ack, kinds):
            ends.found(f"{told}, ledger has {dict(kinds)}")
        if first.setdefault((ack.tenant, ack.message_id), ack.subject) != ack.subject:
            changed.found(told)
    made.figures["acknowledged"] = len(acknowledged)
    made.figures["acknowledged by promise"] = _counted(ack.promise for ack in acknowledged)
    made.figures["acknowledged by kind"] = _counted(ack.kind for ack in acknowledged)
    made.figures["acknowledged after a repeat"] = sum(ack.attempts > 1 for ack in acknowledged)


def _operations_end(
    made: Account, world: World, by_subject: Mapping[str, list[LedgerEvent]]
) -> None:
    endless = made.check("operations: no end", "each ends completed, compensated or stuck")
    twice = made.check("operations: two ends", "an operation ends once")
    tasks = made.check("operations: task open", "an ended operation's task is terminal")
    silent = made.check("operations: stuck and not told", "a stuck operation's task has failed")
    ended: Counter[str] = Counter()
    states = {task.id: task.state for task in world.tasks}
    for subject, events in by_subject.items():
        if not _is_operation(events):
            continue
        ends = [event.kind for event in events if event.kind in _OPERATION_ENDS]
        if not ends:
            endless.found(f"{subject}: {[event.kind for event in events]}")
        elif len(ends) > 1:
            twice.found(f"{subject}: {ends}")
        else:
            ended[ends[0]] += 1
        state = states.get(subject, "")
        if ends and not state.endswith(_TERMINAL):
            tasks.found(f"{subject}: {state}")
        if _STUCK in ends and not state.endswith("FAILED"):
            silent.found(f"{subject}: {state}")
    made.figures["operations"] = sum(ended.values()) + endless.count + twice.count
    made.figures["operations completed"] = ended[_COMPLETED]
    made.figures["operations compensated"] = ended[_COMPENSATED]
    made.figures["operations stuck and reported"] = ended[_STUCK]
    made.figures["operations failed before they began"] = ended[_NEVER_BEGUN]


def _questions_end(
    made: Account, by_subject: Mapping[str, list[LedgerEvent]], *, must_end: bool
) -> None:
    endless = made.check("questions: no end", "each ends answered, withheld or failed")
    twice = made.check("questions: two ends", "a question ends once")
    ended: Counter[str] = Counter()
    still_open = 0
    for subject, events in by_subject.items():
        kinds = [event.kind for event in events]
        if "request.accepted" not in kinds or _is_operation(events):
            continue
        ends = [kind for kind in kinds if kind in _QUESTION_ENDS]
        if not ends:
            still_open += 1
            if must_end:
                endless.found(subject)
        elif len(ends) > 1:
            twice.found(f"{subject}: {ends}")
        else:
            ended[ends[0]] += 1
    made.figures["questions answered"] = ended["reply.released"]
    made.figures["questions failed"] = ended["request.failed"]
    made.figures["questions not failed yet"] = still_open


def _effects_fit(
    made: Account,
    effects: Iterable[Mapping[str, Any]],
    by_subject: Mapping[str, list[LedgerEvent]],
) -> None:
    twice = made.check("effects: twice", "no effect is applied, or undone, twice")
    unfit = made.check("effects: unfit", "completed: all stand once; compensated: none stands")
    strange = made.check("effects: unknown", "each effect belongs to an operation of the ledger")
    done: defaultdict[str, Counter[str]] = defaultdict(Counter)
    undone: defaultdict[str, Counter[str]] = defaultdict(Counter)
    applied = 0
    for effect in effects:
        applied += 1
        operation = _operation_of(effect)
        if not _is_operation(by_subject.get(operation, ())):
            strange.found(f"{effect}")
        side = done if effect["verb"] == "do" else undone
        side[operation][str(effect["thing"])] += 1
        if side[operation][str(effect["thing"])] > 1:
            twice.found(f"{operation}: {effect['verb']} {effect['thing']}")
    for subject, events in by_subject.items():
        kinds = {event.kind for event in events}
        if not _is_operation(events) or _STUCK in kinds:
            continue  # what stands of a stuck one is for a person; its report names it
        standing = done[subject] - undone[subject]
        wanted = Counter(_THINGS) if _COMPLETED in kinds else Counter[str]()
        if kinds & set(_OPERATION_ENDS) and standing != wanted:
            unfit.found(f"{subject}: {dict(standing)} stand, ended {kinds & set(_OPERATION_ENDS)}")
    made.figures["effects applied"] = applied


def _siem_has_all(
    made: Account, ledger: Sequence[LedgerEvent], delivered: Sequence[Delivered]
) -> None:
    missing = made.check("SIEM: missing", "every recorded event is at the SIEM")
    unknown = made.check("SIEM: unknown", "the SIEM got nothing that the ledger does not hold")
    altered = made.check("SIEM: altered", "an event arrives as it was recorded, repeats too")
    order = made.check("SIEM: order", "what is new arrives in the log's order")
    recorded = {event.id: event for event in ledger}
    seen: set[str] = set()
    highest = -1
    repeats = longest = run = 0
    for event in delivered:
        origin = recorded.get(event.id)
        if origin is None:
            unknown.found(f"{event.id} at {event.index}")
        elif event.index != origin.index or event.leaf != origin.content:
            altered.found(f"{event.id}: index {event.index}, recorded at {origin.index}")
        if event.id in seen:
            repeats += 1
            run += 1
            longest = max(longest, run)
            continue
        run = 0
        if event.index < highest:
            order.found(f"index {event.index} after {highest}")
        highest = max(highest, event.index)
        seen.add(event.id)
    for event_id, origin in recorded.items():
        if event_id not in seen:
            missing.found(f"index {origin.index} {origin.kind}")
    made.figures["SIEM events"] = len(delivered)
    made.figures["SIEM repeats"] = repeats
    made.figures["SIEM longest run of repeats"] = longest


def _fits(ack: Acknowledgement, kinds: Mapping[str, int]) -> bool:
    """Whether the ledger holds the end that a client was told, if it was told one."""
    if ack.outcome:
        return bool(kinds[f"operation.{ack.outcome}"])
    if not ack.state.endswith(_TERMINAL):
        return True
    if ack.state.endswith("COMPLETED"):
        return bool(kinds["reply.released"])
    return any(kinds[kind] for kind in (*_QUESTION_ENDS, *_OPERATION_ENDS))


def _operation_of(effect: Mapping[str, Any]) -> str:
    return str(effect.get("key") or "").split(":")[0]


def _is_operation(events: Iterable[LedgerEvent]) -> bool:
    """Whether these are an operation's events: what was accepted names one, or it began."""
    return any(
        event.kind.startswith(("operation.", "step."))
        or (event.kind == "request.accepted" and bool(event.detail.get("operation")))
        for event in events
    )


def _decisions(ledger: Iterable[LedgerEvent]) -> set[str]:
    denials = ("request.refused", "reply.withheld")
    told = (event for event in ledger if event.kind in denials)
    return {str(name) for event in told for name in (event.subject, event.detail.get("decision"))}


def _counted(words: Iterable[str]) -> dict[str, int]:
    return {str(word): count for word, count in sorted(Counter(words).items())}
