"""Events as kubectl prints them for people: `get events` (and `-o wide`), `events`, `describe hpa`.

They have ages instead of times, rounded down: to the second below ten minutes, to the minute below
eight hours, to the hour below eight days. The plain table of `get events` has the last age alone, and no counts.
"""

from __future__ import annotations

import re

from mc_ops.errors import UnusableInput
from mc_ops.incidents.hpa_oscillation.rescalings import RESCALED, Told, size_of

_AGE = r"(?:(?:\d+[smhdy])+|<unknown>|<invalid>)"
_AGES = rf"(?P<last>{_AGE})(?:\s+\(x(?P<count>\d{{1,9}})\s+over\s+(?P<first>{_AGE})\))?"
_TYPE = r"(?:Normal|Warning)"
_ROW = re.compile(
    rf"(?:(?:ADDED|MODIFIED|DELETED)\s+)?(?:(?P<namespace>[a-z0-9-]+)\s+)??{_AGES}\s+{_TYPE}\s+(?P<reason>\S+)\s+"
    r"(?P<kind>(?i:horizontalpodautoscaler))(?:\.[a-z.]+)?/(?P<name>\S+)\s+(?P<rest>.*)"
)
_WIDE = re.compile(rf"\s(?P<first>{_AGE})\s+(?P<count>\d{{1,9}})\s+\S+(?:\s+\S+)?\s*$")
_DESCRIBED = re.compile(
    rf"\s*{_TYPE}\s+(?P<reason>\S+)\s+{_AGES}\s+horizontal-pod-autoscaler\S*\s+(?P<rest>.*)"
)
_NAME = re.compile(r"(?P<what>Name|Namespace):\s+(?P<name>\S+)")
_HEADER = re.compile(r"(?:NAMESPACE\s+)?LAST SEEN\s|Events:(?:\s|$)")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "y": 365 * 86_400}
_ROUNDED_S = ((8 * 86_400, 86_400), (8 * 3600, 3600), (600, 60))  # from that age on, to so much


def read_printed(text: str, *, now_s: float, hpa: str) -> list[Told] | None:
    """The events about HPAs in what kubectl printed; None if it is no such text.

    Args:
        text: One or several tables, with or without headers, or descriptions.
        now_s: Unix seconds from which ages are counted.
        hpa: Whose events those of a description without a name are.

    Raises:
        UnusableInput: A rescaling has no age, or is printed in other columns.
    """
    found: list[Told] = []
    known = False
    names = {"Name": hpa, "Namespace": ""}
    for line in text.split("\n"):
        known = known or _HEADER.match(line) is not None
        if told := _NAME.match(line):
            names[told["what"]] = told["name"]
        if row := _DESCRIBED.match(line):
            found.append(_told(row, names["Name"], names["Namespace"], now_s, counted=True))
        elif row := _ROW.match(line):
            counted = (
                row["kind"] != row["kind"].lower()
            )  # `kubectl events` writes the kind's own case
            place = row["namespace"] or ""
            found.append(_told(row, row["name"], place, now_s, counted=counted))
        elif RESCALED in line and "New size:" in line:
            raise UnusableInput(
                f"an event {RESCALED} is printed in columns that are not known",
                hint="kubectl get events -o json has them all",
            )
    return found if found or known else None


def _told(row: re.Match[str], name: str, namespace: str, now_s: float, *, counted: bool) -> Told:
    rest = row["rest"]
    wide = None if counted else _WIDE.search(rest)
    ages = wide or row
    first, count = ages["first"] or row["last"], ages["count"]
    size, combined = size_of(row["reason"], rest)
    last_s, first_s = (_age_s(age) for age in (row["last"], first))
    return Told(
        name,
        size,
        now_s - first_s,
        now_s - last_s,
        max(1, int(count)) if count else 1 if counted else None,
        combined=combined,
        namespace=namespace,
        rounded_s=next((by_s for least_s, by_s in _ROUNDED_S if first_s >= least_s), 0),
    )


def _age_s(text: str) -> int:
    if text.startswith("<"):
        raise UnusableInput(
            f"the age of an event is {text}", hint="kubectl get events -o json has the times"
        )
    return sum(int(count) * _UNITS_S[unit] for count, unit in re.findall(r"(\d+)([smhdy])", text))
