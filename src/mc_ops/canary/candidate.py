"""Is the candidate of a finished canary still the one that was compared?

What counts is what each replica told of itself when the run ended (`verdict.json`, `running`):
which process it is, and the digests of what it runs with. A replica that was restarted, added or
taken away is no longer what was compared, with the same code as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from mc_contract.running import (
    Facts,
    MalformedRecord,
    NotRecorded,
    changes,
    read_record,
    untold,
)
from mc_contract.siem import is_loopback
from mc_ops.canary.override import Judged
from mc_ops.canary_folder import VERDICT, read_verdict, urls_of
from mc_ops.errors import CouldNotTell, Finding, OpsError, UnusableInput

_AGAIN = "run the canary again: only what was compared may serve by its verdict"


def compared(judged: Judged) -> Sequence[Facts]:
    """The candidate's replicas, as they were when the run ended.

    Raises:
        CouldNotTell: the run did not record them, or they did not tell what they run.
        Finding: one was exchanged while the run lasted.
        UnusableInput: the record is malformed.
    """
    try:
        record = read_record(judged.told, f"the canary {judged.run}")
    except NotRecorded as error:
        raise CouldNotTell(
            f"{error.message}: what serves cannot be held against it", hint=_AGAIN
        ) from error
    except MalformedRecord as error:
        raise UnusableInput(error.message, hint=_AGAIN) from error
    if exchanged := record.changed():
        raise Finding(
            f"a replica was replaced during the run of {judged.run}: {'; '.join(exchanged)}",
            hint=_AGAIN,
        )
    candidate = record.at_end.get("candidate", ())
    missing = untold(candidate)
    if missing or not candidate:
        raise CouldNotTell(
            f"the candidate of {judged.run} did not tell what it runs: "
            f"{'; '.join(missing) or 'no replica answered'}",
            hint="it is of a release before that was told; " + _AGAIN,
        )
    return candidate


def hold(judged: Judged, now: Iterable[Facts]) -> None:
    """Refuse a candidate that is not the one that was compared.

    Args:
        judged: The canary.
        now: All replicas that are to serve by its verdict, as they tell of themselves now.

    Raises:
        Finding: something differs; the message says what.
        CouldNotTell: one tells strangers nothing; or as `compared`.
        UnusableInput: as `compared`.
    """
    before, now = compared(judged), list(now)
    if any(one["instance"] is None and one["replica"] is None for one in now):
        raise CouldNotTell(
            f"the candidate of {judged.run} did not report what runs there",
            hint="it tells clients of its own machine: ask from there",
        )
    if other := changes(before, now):
        raise Finding(
            f"the candidate is not what {judged.run} compared: {'; '.join(other)}", hint=_AGAIN
        )


def same_places(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether one of these addresses is one of those; all names of this machine are one."""
    return bool({_place(url) for url in some} & {_place(url) for url in others})


def _place(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""  # in lower case
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url, None
    return "this machine" if is_loopback(host) else host, port


def newest_about(runs: Path, urls: Sequence[str], since: datetime) -> Path | None:
    """The folder of the newest finished canary that had one of these addresses as its candidate.

    Args:
        runs: `$MC_HOME/runs`.
        urls: Of the replicas in question.
        since: Those that ended before are left out.

    Raises:
        CouldNotTell: a verdict that was written since then cannot be read; it may be a HOLD.
    """
    found: list[tuple[datetime, Path]] = []
    for path in (*runs.glob(f"*/{VERDICT}"), *runs.glob(f"*/canary/{VERDICT}")):
        try:
            told = read_verdict(path.parent)
            if not same_places(urls_of(told, "candidate"), urls):
                continue
            ended = datetime.fromisoformat(str(told.get("ended_at")))
            ended = ended if ended.tzinfo else ended.replace(tzinfo=UTC)
            if ended > since:
                found.append((ended, path.parent))
        except (OpsError, ValueError, OverflowError) as error:
            if _written_since(path, since):
                raise CouldNotTell(
                    f"{path} cannot be read, and may be about this candidate: {error}",
                    hint="name the canary that counts: --run RUN",
                ) from error
    return max(found, default=(since, None))[1]


def _written_since(path: Path, since: datetime) -> bool:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) > since
    except OSError:
        return False  # it is gone


def last_cutover(home: Path) -> datetime:
    """When traffic was last moved by `mcctl cutover`; the beginning of time if it never was."""
    problem = "a time without an offset"
    try:
        told = json.loads((home / CUTOVER).read_text(encoding="utf-8"))
        at = datetime.fromisoformat(told["at"])
        if at.tzinfo is not None:
            return at
    except FileNotFoundError:
        return datetime.min.replace(tzinfo=UTC)
    except (OSError, ValueError, LookupError, TypeError) as error:
        problem = type(error).__name__
    raise CouldNotTell(
        f"{home / CUTOVER} cannot be read ({problem})",
        hint="it says when traffic was last moved; remove it, and every canary counts",
    )


CUTOVER = "cutover.json"
