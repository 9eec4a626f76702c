"""Verify a region's log and, after a restore, the logs of its earlier epochs, as a chain.

A log's first entry says how the log before it ended (`mc_contract.ledger.epochs`). The newest log
is held against what the service signs now; each former one against what the first entry of the
log after it binds, and against the checkpoints that were signed of it. So whoever trusts the newest
checkpoint need trust nothing else for the whole chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from mc_contract.ledger.checkpoint import CheckpointError, LogKeys
from mc_contract.ledger.epochs import Beginning, EpochError, LogName, read_beginning
from mc_contract.ledger.export import log_origin, region_of, verify_log_checkpoint
from mc_ops.audit.client import AuditClient
from mc_ops.audit.log_pass import Finding
from mc_ops.audit.verify import Report, Saved, Say, verify_ended, verify_log
from mc_ops.audit.witnesses import Demand


def verify_epochs(
    client: AuditClient,
    key: LogKeys,
    *,
    since: Saved | None = None,
    known: Sequence[Saved] = (),
    archive: Path | None = None,
    allow_archived: bool = False,
    wanted: Demand | None = None,
    cosigned_since: datetime | None = None,
    say: Say = lambda _: None,
) -> list[Report]:
    """Verify all of a region's logs, the newest first; arguments and errors as of `verify_log`.

    Args:
        since: Begin there, in the newest log; former logs are then not read.
        known: Checkpoints of any of the region's logs.
        wanted: Its witnesses must have cosigned each of the logs: a witness knows a new epoch's by its
            own name, and compares it with nothing.
    """
    current = client.log_name()
    newest = verify_log(
        client,
        key,
        since=since,
        known=[saved for saved in known if _log(saved) == current],
        archive=archive,
        allow_archived=allow_archived,
        wanted=wanted,
        cosigned_since=cosigned_since,
        say=say,
    )
    reports = [newest]
    left = [saved for saved in known if _log(saved) != current]
    while (first := reports[-1].first_leaf) is not None:
        beginning, wrong = _beginning(first, reports[-1].region)
        if wrong is not None:
            reports[-1] = _also(reports[-1], wrong)
        if beginning is None:
            break
        former = beginning.former.log
        of_it = [saved for saved in left if _log(saved) == former]
        left = [saved for saved in left if _log(saved) != former]
        signed, wrong = _last_signed(beginning, key)
        if wrong is not None:
            reports[-1] = _also(reports[-1], wrong)
        if (lost := _not_in_the_chain(beginning)) is not None:
            reports[-1] = replace(reports[-1], notices=(*reports[-1].notices, lost))
        say(f"the log before it, {former}")
        reports.append(
            verify_ended(
                client.of_log(former),
                key,
                beginning,
                known=[*of_it, *signed],
                archive=archive,
                allow_archived=allow_archived,
                wanted=wanted,
                say=say,
            )
        )
    if left:
        verify_log(client, key, known=left[:1])  # refuses it, in its own words
    return reports


def _log(saved: Saved) -> str:
    return region_of(saved.checkpoint)


def _beginning(leaf: bytes, log: str) -> tuple[Beginning | None, Finding | None]:
    """What the first entry of a log says of the one before it, or what is wrong with it.

    A log whose name has an epoch must say it, and name an earlier one of its own region: else the logs
    before it would be hidden by leaving that out.
    """
    try:
        name, found = LogName.parse(log), read_beginning(leaf)
    except EpochError as error:
        return None, Finding("epoch-changed", error.message, 0)
    if found is None:
        wrong = f"entry 0 of {log} does not say how the log before it ended"
        return None, Finding("epoch-changed", wrong, 0) if name.epoch > 1 else None
    if found.log != log:
        return None, Finding("epoch-changed", f"entry 0 of {log} begins {found.log}", 0)
    former = LogName.parse(found.former.log)
    if former.region != name.region or former.epoch >= name.epoch:
        wrong = f"entry 0 of {log} names {former} as the log before it"
        return None, Finding("epoch-changed", wrong, 0)
    return found, None


def _last_signed(beginning: Beginning, key: LogKeys) -> tuple[list[Saved], Finding | None]:
    """The checkpoint that a first entry names as the last one signed, as one to hold its log against."""
    named = beginning.last_signed
    if named is None:
        return [], None
    try:
        checkpoint = verify_log_checkpoint(beginning.note, key)
    except CheckpointError as error:
        return [], Finding("epoch-changed", f"the checkpoint named last: {error.message}", 0)
    if (checkpoint.origin, checkpoint.size, checkpoint.root) != (
        log_origin(named.log),
        named.size,
        named.root,
    ):
        return [], Finding(
            "epoch-changed", "the checkpoint named last is not what its note says", 0
        )
    name = f"the one that {beginning.log} names as signed last"
    return [Saved(name, checkpoint)] if named.log == beginning.former.log else [], None


def _not_in_the_chain(beginning: Beginning) -> str | None:
    """A log that was signed and that the restored database never had, in words."""
    signed = beginning.last_signed
    if signed is None or signed.log == beginning.former.log:
        return None
    return (
        f"{signed.log} was signed up to size {signed.size}, and all of it is lost by the restore to "
        f"{beginning.restored_to}, as {beginning.log} says"
    )


def _also(report: Report, finding: Finding) -> Report:
    return replace(report, findings=(*report.findings, finding))
