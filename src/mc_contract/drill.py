"""What a drill measured: RTO and RPO by tenant, computed from what its clients saw.

Pure, so that an auditor computes them again from the rows in an evidence pack. A row is one request
of one client; times are seconds since the drill began. A client's request is `acknowledged` (it was
told that its write is recorded), `refused` (told to come again), `failed` (it never arrived, or was
answered with an error) or `maybe` (it got no answer: the write may be there or not). After the drill each acknowledged write
was looked for, which is the row's `found`.

RTO counts from the fault, and from the first request that it failed, to the answer of the first
success of a sustained one: of all requests in the `window_s` that follow, none failed. A tenant's
questions and operations are streams of their own, and its RTO is the longer one. RPO is what
was acknowledged and not found: a number of writes, and how long before the fault the oldest of
them was acknowledged. Of two regions that is what the survivor has not while the other one is away;
`found_later` is whether it is there once both are back, and
`found_restored` whether a region that was restored from a backup had it before the other one gave back what it has. The control is a store that acknowledges before it writes, under the same
fault: a drill that does not see its loss is blind, and has no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import Any, Final

from mc_contract.errors import McError

CONTROL: Final = "CONTROL"
OUTCOMES: Final = ("acknowledged", "refused", "failed", "maybe")
LOSING: Final = (
    "region-kill",
    "db-kill",
    "restore",
)  # the control's unwritten writes are gone after these
PAUSING: Final = (
    "freeze",
    "link-cut",
)  # and after these they are not; the control only stops answering
SCENARIOS: Final = (*LOSING, *PAUSING)
WINDOW_S: Final = 2.0  # how long successes last at least to count as recovered
FAULT_SEEN_S: Final = 4.0  # of the control before the fault, and it must have answered nearly all
ANSWERED: Final = 0.9
_LATER_COURSE = ("operations_per_s", "decided_s", "mended_s")
_EDGE_S = 1.0
_STEP_S = 0.0001  # of rounding
_FULL = 0.8  # of the planned rate, for a window of successes to count
_MEMBERS = {"tenant", "id", "sent_s", "ended_s", "outcome", "task", "found"}
_LOOKED = ("found", "found_restored", "found_later")
_LATER = {"operation", "region", *_LOOKED[1:]}  # rows of drills of one region had none of these


class DrillRows(McError):
    """Rows or a report from which nothing can be computed."""

    code = "drill-rows"


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client.

    Attributes:
        id: The message's id, which its client chose.
        sent_s: When it was due, in seconds since the drill began; `ended_s` when its outcome was known.
        task: The task that an acknowledgement named; empty without one.
        found: Whether what was acknowledged is there afterwards; None if that was not looked up.
        operation: Whether it asked for an operation, and not a question.
        region: Which region's answer it was; empty where there is one, or none came.
        found_restored: Whether the region that acknowledged it has it when it was restored from a backup, before the
            other one gave it anything.
        found_later: Whether it is there when both regions are back.
    """

    tenant: str
    id: str
    sent_s: float
    ended_s: float
    outcome: str
    task: str = ""
    found: bool | None = None
    operation: bool = False
    region: str = ""
    found_restored: bool | None = None
    found_later: bool | None = None

    @property
    def stream(self) -> tuple[str, bool]:
        """Whose requests it is one of: they are due at one rate."""
        return self.tenant, self.operation

    def as_dict(self) -> dict[str, Any]:
        """The row as it is kept."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Course:
    """What was done when, in seconds since the drill began, and what was asked for.

    Attributes:
        fault_s: When everything was broken, as one instant.
        rate_per_s: Requests of each tenant.
        window_s: How long successes must last to count as recovered.
        most_rto_s: The longest RTO that meets the target.
        most_lost: The greatest number of lost writes of a tenant that meets it.
        operations_per_s: Operations of each tenant that has any.
        decided_s: When the homes were moved; None where none were.
        mended_s: When what stood still, or was cut, went on; None where nothing did.
        home: The region that was the home of the tenants; empty where there is one.
        sync: Tenants whose answers wait for the other region: none of their writes may be lost.
    """

    scenario: str
    fault_s: float
    rate_per_s: float
    window_s: float
    most_rto_s: float
    most_lost: int
    operations_per_s: float = 0.0
    decided_s: float | None = None
    mended_s: float | None = None
    home: str = ""
    sync: tuple[str, ...] = ()


def request_of(row: Mapping[str, Any]) -> Request:
    """A kept row, read strictly.

    Raises:
        DrillRows: it is none.
    """
    if not _MEMBERS <= set(row) <= _MEMBERS | _LATER:
        raise DrillRows(f"a row has the members {', '.join(sorted(map(str, row)))}")
    texts = (row["tenant"], row["id"], row["outcome"], row["task"], row.get("region", ""))
    times = (row["sent_s"], row["ended_s"])
    if not all(isinstance(text, str) for text in texts) or row["outcome"] not in OUTCOMES:
        raise DrillRows("a row's tenant, id, outcome, task or region is not what it must be")
    if not all(_is_time(at) for at in times) or row["ended_s"] < row["sent_s"]:
        raise DrillRows("a row's times are not what they must be")
    if not all(isinstance(row.get(name), bool | None) for name in _LOOKED):
        raise DrillRows(
            'a row\'s "found", or "found_restored" or "found_later", is not true, false or null'
        )
    if not isinstance(row.get("operation", False), bool):
        raise DrillRows('a row\'s "operation" is not true or false')
    return Request(**row)


def course_of(report: Mapping[str, Any]) -> Course:
    """The course in a drill's report.

    Raises:
        DrillRows: a member of it is missing, or is not what it must be.
    """
    course = report.get("course")
    names = [
        name
        for name in Course.__slots__
        if name not in ("scenario", "home", "sync", *_LATER_COURSE)
    ]
    if not isinstance(course, dict) or course.get("scenario") not in SCENARIOS:
        raise DrillRows("the report has no course of a known scenario")
    if not all(_is_time(course.get(name)) for name in names):
        raise DrillRows(f"the course's {', '.join(names)} must be numbers of at least 0")
    if course["window_s"] < WINDOW_S or not course["rate_per_s"]:
        raise DrillRows(f"the course's window_s is at least {WINDOW_S:g}, its rate above 0")
    later = {name: course[name] for name in _LATER_COURSE if course.get(name) is not None}
    if not all(map(_is_time, later.values())):
        raise DrillRows(f"the course's {', '.join(later)} must be numbers of at least 0")
    home = course.get("home", "")
    sync = course.get("sync", [])
    texts = (home, *sync) if isinstance(sync, list | tuple) else (None,)
    if not all(isinstance(text, str) for text in texts):
        raise DrillRows("the course's home is no region's name, or its sync no list of tenants")
    wanted = {name: course[name] for name in names}
    return Course(course["scenario"], **wanted, **later, home=home, sync=tuple(sync))


def _is_time(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and isfinite(value)
        and value >= 0
    )


def require_held(requests: Iterable[Request], course: Course) -> None:
    """See that rows and course belong together: a course that was changed makes an RTO look better.

    Each client's requests are due at the course's rate, and none may be missing, as those that failed;
    the control answered up to the fault, and where the fault kills it, not after it.

    Raises:
        DrillRows: they do not.
    """
    by_client: dict[tuple[str, bool], list[Request]] = {}
    for request in requests:
        by_client.setdefault(request.stream, []).append(request)
    for (name, operation), rows in by_client.items():
        due = sorted(row.sent_s for row in rows)
        if due[-1] < course.fault_s:
            raise DrillRows(f"the rows of {name} end before the fault")
        step_s = 1 / _rate(course, operation=operation)
        steps = [(0.0, due[0])] if due[0] >= step_s else []
        steps += [(at, to) for at, to in pairwise(due) if abs(to - at - step_s) > _STEP_S]
        if steps:
            raise DrillRows(
                f"{name} was to send every {step_s:g} s, and did not between {steps[0][0]:g} s and "
                f"{steps[0][1]:g} s: rows are missing, or the rate is another"
            )
    control = by_client.get((CONTROL, False), [])
    seen = [
        row
        for row in control
        if course.fault_s - FAULT_SEEN_S < row.sent_s and row.ended_s < course.fault_s
    ]
    if sum(row.outcome == "acknowledged" for row in seen) < ANSWERED * len(seen) or not seen:
        raise DrillRows("the control failed before the fault that the course names")
    late = (row.sent_s for row in control if row.outcome == "acknowledged")
    if course.scenario in LOSING and max(late, default=0.0) > course.fault_s + WINDOW_S:
        raise DrillRows("the control answered after the fault that the course names")


def _rate(course: Course, *, operation: bool) -> float:
    rate = course.operations_per_s if operation else course.rate_per_s
    if not rate:
        raise DrillRows("there are operations in the rows, and the course names no rate of them")
    return rate


def figures(requests: Iterable[Request], course: Course) -> dict[str, Any]:
    """RTO and RPO of each tenant and of the control, and the verdict.

    Returns:
        `tenants` by name, `control`, `blind` (the control does not show the fault), the `target` and
        whether it was `met`: None where it cannot be told.

    Raises:
        DrillRows: no tenant, or nothing of the control, was measured; an id stands twice.
    """
    by_tenant: dict[str, list[Request]] = {}
    seen: set[tuple[str, str]] = set()
    for request in requests:
        if (request.tenant, request.id) in seen:
            raise DrillRows("a message stands twice in the rows")
        seen.add((request.tenant, request.id))
        by_tenant.setdefault(request.tenant, []).append(request)
    control = by_tenant.pop(CONTROL, [])
    if not by_tenant or not control:
        raise DrillRows("there are no rows of a tenant, or none of the control")
    tenants = {name: _of(rows, course) for name, rows in sorted(by_tenant.items())}
    measured = _of(control, replace(course, decided_s=None))
    blind = _is_blind(measured, course)
    return {
        "tenants": tenants,
        "control": measured,
        "blind": blind,
        "target": {"most_rto_s": course.most_rto_s, "most_lost": course.most_lost},
        "met": None if blind else _met(tenants, course),
    }


def _of(rows: Sequence[Request], course: Course) -> dict[str, Any]:
    rows = sorted(rows, key=lambda row: (row.sent_s, row.id))
    counts = {outcome: sum(row.outcome == outcome for row in rows) for outcome in OUTCOMES}
    acknowledged = [row for row in rows if row.outcome == "acknowledged"]
    lost = [row for row in acknowledged if row.found is False]
    streams = [
        _absence([row for row in rows if row.operation is operation], course)
        for operation in sorted({row.operation for row in rows})
    ]
    failures = [failure for failure, _ in streams if failure is not None]
    first = min(failures, key=lambda row: row.ended_s, default=None)
    backs = [back for failure, back in streams if failure is not None]
    back = None if None in backs else max(backs, default=None)  # type: ignore[type-var]
    told: dict[str, Any] = {
        "sent": len(rows),
        **counts,
        "unchecked": sum(row.found is None for row in acknowledged),
        "failed_after_s": None if first is None else _since(first.ended_s, course.fault_s),
        "rto_s": 0.0 if first is None else _since(back, course.fault_s),
        "rto_from_failure_s": (
            0.0
            if first is None
            else _since(back, max(min(row.sent_s for row in failures), course.fault_s))
        ),
        "lost": len(lost),
        "rpo_s": _before(lost, course),
    }
    if any(row.found_restored is not None for row in acknowledged):
        gone = [row for row in acknowledged if row.found_restored is False]
        told["restore"] = {"lost": len(gone), "rpo_s": _before(gone, course)}
    if any(row.found_later is not None for row in acknowledged):
        told["lost_for_good"] = sum(row.found_later is False for row in acknowledged)
    if course.decided_s is not None:
        told["parts"] = _parts(first, back, course)
    if course.mended_s is not None and course.home:
        # What was under way when the link went, or came back, may have passed it
        begin, end = course.fault_s + _EDGE_S, course.mended_s - _EDGE_S
        during = [row for row in acknowledged if begin <= row.sent_s and row.ended_s < end]
        told["answered_by"] = {
            region: {
                "questions": sum(not row.operation for row in during if row.region == region),
                "operations": sum(row.operation for row in during if row.region == region),
            }
            for region in sorted({row.region for row in during})
        }
    if len(streams) > 1:
        told["operations"] = sum(row.operation for row in rows)
        told["questions_rto_s"], told["operations_rto_s"] = (
            0.0 if failure is None else _since(back, course.fault_s) for failure, back in streams
        )
    return told


def _before(lost: Iterable[Request], course: Course) -> float:
    """How long before the fault the oldest of these was acknowledged."""
    return max((_since(course.fault_s, row.ended_s) or 0.0 for row in lost), default=0.0)


def _absence(rows: Sequence[Request], course: Course) -> tuple[Request | None, float | None]:
    """The first request of a stream that the fault failed, and when successes lasted again."""
    failure = next(
        (row for row in rows if row.outcome != "acknowledged" and row.ended_s >= course.fault_s),
        None,
    )
    return failure, None if failure is None else _recovered(rows, failure, course)


def _parts(first: Request | None, back: float | None, course: Course) -> dict[str, float | None]:
    """An RTO in its parts: until a client saw the fault, until the home was moved, until it served."""
    if first is None or back is None or course.decided_s is None:
        return {"detection_s": None, "lease_s": None, "move_s": None}
    # The drill hears of the move by asking, which may be after the home has answered a client
    decided_s = min(course.decided_s, back)
    seen_s = min(first.ended_s, decided_s)
    return {
        "detection_s": _since(seen_s, course.fault_s),
        "lease_s": _since(decided_s, seen_s),
        "move_s": _since(back, decided_s),
    }


def _since(at: float | None, start: float) -> float | None:
    return None if at is None else round(max(0.0, at - start), 3)


def _recovered(rows: Sequence[Request], failure: Request, course: Course) -> float | None:
    """When the first success of a sustained one was answered; None if there was none."""
    least = _FULL * _rate(course, operation=failure.operation) * course.window_s
    begins: Request | None = None
    count = 0
    for row in rows:
        if row.sent_s <= failure.sent_s:
            continue
        if row.outcome != "acknowledged":
            begins, count = None, 0
            continue
        begins, count = begins or row, count + 1
        if row.sent_s - begins.sent_s >= course.window_s and count >= least:
            return begins.ended_s
    return None


def _is_blind(control: Mapping[str, Any], course: Course) -> bool:
    """Whether the fault left no mark on what must show it."""
    if course.scenario in LOSING:
        return not control["lost"]
    return not (control["failed"] or control["maybe"])


def _met(tenants: Mapping[str, Mapping[str, Any]], course: Course) -> bool | None:
    told = tenants.values()
    missed = any(not _kept(one, course) for one in told) or any(
        one["rto_s"] is None
        or one["rto_s"] > course.most_rto_s
        or one["lost"] > (0 if tenant in course.sync else course.most_lost)
        for tenant, one in tenants.items()
    )
    if missed:
        return False
    return None if any(one["unchecked"] or not one["acknowledged"] for one in told) else True


def _kept(tenant: Mapping[str, Any], course: Course) -> bool:
    """Whether, while the link was cut, each region answered questions, and the home alone operations."""
    if course.scenario != "link-cut":
        return True
    answered = tenant.get("answered_by", {})
    return len(answered) > 1 and all(
        one["questions"] > 0 and (region == course.home or not one["operations"])
        for region, one in answered.items()
    )
