"""The replicas of an HPA from its events: the cluster's, or what kubectl prints of them in any form.

An HPA tells of each rescaling by an event `SuccessfulRescale`, "New size: 5; reason: ..."; it
never emits `ScaledUp` or `ScaledDown`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from mc_ops.autoscaler.record import Recorded, stamp
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.incidents.hpa_oscillation.printed import read_printed
from mc_ops.incidents.hpa_oscillation.rescalings import KEPT_S, Told, bounded, recorded_of, size_of
from mc_ops.yaml_documents import documents_of

_KIND = "horizontalpodautoscaler"
_SLACK_S = 60.0  # the event is written after the scaling
_CLUSTER = "the cluster's events"
_MOST_YAML_BYTES = 8 * 1024 * 1024  # it is read about a hundred times slower than JSON


def read_events(text: str, *, hpa: str, now_s: float, namespace: str | None = None) -> Recorded:
    """The replicas as a listing of events tells them.

    Args:
        text: What `kubectl get events`, `kubectl events` or `kubectl describe hpa` printed: as JSON,
            YAML, or for people; also as `--watch` goes on printing it.
        hpa: The name of the HPA.
        now_s: Unix seconds from which printed ages are counted.
        namespace: Of the HPA; needed where the text tells of several namespaces.

    Raises:
        UnusableInput: The text is something else, or tells of such an HPA in several namespaces.
        CouldNotTell: No rescaling of that HPA is in it.
    """
    if text.lstrip()[:1] not in ("{", "["):
        printed = read_printed(text, now_s=now_s, hpa=hpa)
        if printed is not None:
            mine = _in_namespace(printed, hpa, namespace)
            return recorded_of(mine, hpa=hpa, source="events (printed)", until_s=now_s)
    form, objects = _objects_in(text)
    mine = _in_namespace(_of_objects(objects), hpa, namespace)
    return recorded_of(mine, hpa=hpa, source=f"events ({form})")


def _in_namespace(events: list[Told], hpa: str, namespace: str | None) -> list[Told]:
    """Those of one namespace: HPAs of one name in two of them are two."""
    there = sorted({one.namespace for one in events if one.name == hpa and one.namespace})
    if namespace is None and len(there) > 1:
        raise UnusableInput(
            f"there are events of an HPA {hpa} in {len(there)} namespaces",
            hint=f"--namespace NAME: {', '.join(there)}",
        )
    if namespace is not None and there and namespace not in there:
        raise CouldNotTell(
            f"no event of the HPA {hpa} in namespace {namespace}",
            hint=f"there are some in {', '.join(there)}: --namespace NAME",
        )
    return [
        one for one in events if not (namespace and one.namespace) or one.namespace == namespace
    ]


def _objects_in(text: str) -> tuple[str, Iterable[Any]]:
    form = "JSON"
    try:
        try:
            documents = list(_documents(text))
        except ValueError:
            if len(text) > _MOST_YAML_BYTES:
                raise
            form, documents = "YAML", documents_of(text, "this")
    except (ValueError, RecursionError, UnusableInput) as error:
        raise _not_events(error) from error
    return form, [one for document in documents for one in _items(document)]


def _documents(text: str) -> Iterator[Any]:
    """Of JSON, one after the other: `--watch` prints each change of an event as an own one."""
    decoder = json.JSONDecoder()
    at = _after_space(text, 0)
    while True:
        document, end = decoder.raw_decode(text, at)
        yield document
        if (at := _after_space(text, end)) == len(text):
            return


def _after_space(text: str, at: int) -> int:
    return next((place for place in range(at, len(text)) if not text[place].isspace()), len(text))


def _items(document: Any) -> Iterable[Any]:
    items = document["items"] if isinstance(document, dict) and "items" in document else document
    if isinstance(items, dict) and items.keys() == {"type", "object"}:
        items = items["object"]  # --output-watch-events
    if isinstance(items, dict):
        return [items]
    if not isinstance(items, list):
        raise _not_events(TypeError())
    return items


def recorded_of_cluster(
    events: Iterable[Mapping[str, Any]],
    *,
    hpa: str,
    until_s: float,
    created_at: str,
    status: Mapping[str, Any],
    uid: str = "",
    changed_at: str = "",
) -> Recorded:
    """The replicas as a cluster's events (core/v1 or events.k8s.io/v1) and the HPA tell them.

    All of the last hour is there, for events are kept that long unless the API server is told
    otherwise; that the HPA's last scaling has its event guards it.

    Args:
        events: Of the HPA's namespace.
        hpa: The name of the HPA.
        until_s: Unix seconds when they were listed.
        created_at: When the HPA was made, RFC 3339; empty when it does not say.
        status: The HPA's `status`.
        uid: Its own: events of one that had the same name before are of other rules.
        changed_at: When its spec was last changed, RFC 3339; empty when it does not say.

    Raises:
        UnusableInput: An event is none.
        CouldNotTell: The HPA scaled within the hour, and no event tells of it.
    """
    about = [one for one in _of_objects(events) if one.name == hpa and uid in ("", one.uid or uid)]
    found = [one for one in about if one.size is not None]
    since_s = max(until_s - KEPT_S, _seconds(created_at) if created_at else 0.0)
    scaled_s = _seconds(str(status["lastScaleTime"])) if status.get("lastScaleTime") else 0.0
    told_s = max((one.last_s for one in found), default=since_s)
    if scaled_s > told_s + _SLACK_S:
        raise CouldNotTell(
            "the HPA scaled after the last event that the cluster still has of it",
            hint="events are lost or kept for less than an hour: --prometheus URL",
        )
    change_s = _seconds(changed_at) if changed_at else None
    if not found:
        count = int(status.get("currentReplicas") or 0)
        still = ((min(since_s, until_s), count), (until_s, count))
        return Recorded(still, None, _CLUSTER, ("no rescaling in the time that events are kept",))
    if change_s is not None and not since_s < change_s < until_s:
        change_s = None
    recorded = recorded_of(about, hpa=hpa, source=_CLUSTER, until_s=until_s, changed_s=change_s)
    if change_s is not None:
        most, _ = bounded(about, since_s=change_s)
        recorded = replace(recorded, changed_s=change_s, most_since=most)
    first_s, count = recorded.replicas[0]
    if since_s >= first_s:
        return recorded
    note = "what was before the first event is not known, so that one is no reversal"
    begun = ((since_s, count), *recorded.replicas)
    return replace(recorded, replicas=begun, notes=(*recorded.notes, note))


def _not_events(error: Exception) -> UnusableInput:
    return UnusableInput(
        f"these are no events of Kubernetes: {type(error).__name__}",
        hint="kubectl get events -o json; also read: -o yaml, -o wide, kubectl describe hpa",
    )


def _of_objects(events: Iterable[Mapping[str, Any]]) -> list[Told]:
    try:
        told: dict[Any, Told] = {}
        for place, event in enumerate(events):
            if one := _of_object(event):
                about = event.get("metadata") or {}
                key = (one.namespace, _text(about, "name")) if about.get("name") else place
                # One that is told again counts on: the newest has all
                told[key] = max(
                    told.get(key, one), one, key=lambda each: (each.last_s, each.count or 0)
                )
        return list(told.values())
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _not_events(error) from error


def _of_object(event: Mapping[str, Any]) -> Told | None:
    """The event, if it is about an HPA; fields by either API's name."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    if _text(about, "kind").lower() != _KIND:
        return None
    message = _text(event, "message") or _text(event, "note")
    size, combined = size_of(_text(event, "reason"), message)
    series = event.get("series") or {}
    first = _first_of(event, "firstTimestamp", "deprecatedFirstTimestamp", "eventTime")
    last = series.get("lastObservedTime") or _first_of(
        event, "lastTimestamp", "deprecatedLastTimestamp", "eventTime"
    )
    if not (first or last):
        raise UnusableInput("an event has no time", hint="kubectl get events -o json")
    count = series.get("count") or event.get("count") or event.get("deprecatedCount") or 1
    return Told(
        _text(about, "name"),
        size,
        _seconds(first or last),
        _seconds(last or first),
        max(1, int(count)),
        combined=combined,
        uid=_text(about, "uid"),
        namespace=_text(about, "namespace") or _text(event.get("metadata") or {}, "namespace"),
    )


def _first_of(event: Mapping[str, Any], *names: str) -> Any:
    return next((event[name] for name in names if event.get(name)), None)


def _text(of: Mapping[str, Any], name: str) -> str:
    """A member that is a string; what else YAML may hold there is none, however large."""
    value = of.get(name)
    return value if isinstance(value, str) else ""


def _seconds(text: Any) -> float:
    try:
        at = text if isinstance(text, datetime) else datetime.fromisoformat(text)
    except ValueError as error:
        raise UnusableInput(f'an event has the time "{text[:40]}"') from error
    return stamp(at)
