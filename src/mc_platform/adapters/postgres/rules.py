"""Who changed the rules: credentials, policy set, catalogue; from the database to the ledger.

A change stands in `mc.rule_change` before anything else knows of it: a credential's by a trigger,
whoever makes it; a set's when the first replica of the region has it in force. From there it is
told to the ledger, again and again until it is there; telling it twice records it once.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from mc_contract.keepable import json_text, read_json
from mc_contract.rule_changes import compare_held
from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId, PrincipalId, TenantId
from mc_platform.model.tenant import PLATFORM
from mc_platform.ports import Journal

UNDECLARED = "undeclared"
"""Stands for the principal of a change of which nobody said that it would come."""
_DECLARED_FOR = "interval '1 hour'"
_MOST_WORDS = 200
_UNTOLD = """
SELECT id, kind, detail, at FROM mc.rule_change
WHERE recorded_at IS NULL AND region IN ('', $1) ORDER BY number LIMIT 100
"""
_TOLD = "UPDATE mc.rule_change SET recorded_at = clock_timestamp() WHERE id = ANY($1::uuid[])"
_NEWEST = """
SELECT digest, held FROM mc.rule_change WHERE kind = $1 AND region = $2
ORDER BY number DESC LIMIT 1
"""
_ADD = """
INSERT INTO mc.rule_change (kind, region, detail, digest, held) VALUES ($1, $2, $3, $4, $5)
"""
_DECLARE = """
INSERT INTO mc.rule_declaration (id, kind, digest, principal, reason) VALUES ($1, $2, $3, $4, $5)
"""
# One declaration is one change: what comes into force a second time was not said again
_DECLARED = f"""
SELECT id, principal, reason FROM mc.rule_declaration AS said
WHERE kind = $1 AND digest = $2 AND at > clock_timestamp() - {_DECLARED_FOR}
    AND NOT EXISTS (
        SELECT FROM mc.rule_change AS made WHERE made.kind = $1 AND made.region = $3
            AND made.at >= said.at AND made.detail ->> 'declaration' = said.id::text
    )
ORDER BY at DESC LIMIT 1
"""  # noqa: S608 - constants only
_NO_ITEM = {
    "policy_set": "no policy: the schema, comments or layout",
    "catalogue": "no key: only values of its placeholders",
    "keyring": "nothing that may be told",
}
_KINDS = {
    ("credential", "created"): Kind.credential_created,
    ("credential", "revoked"): Kind.credential_revoked,
    ("credential", "removed"): Kind.credential_revoked,
}
_KIND_OF = {
    "credential": Kind.credential_changed,
    "policy_set": Kind.policy_changed,
    "catalogue": Kind.catalogue_changed,
    "keyring": Kind.keys_changed,
}


class PostgresRules:
    """The changes of a region's rules."""

    def __init__(self, pools: Pools, *, journal: Journal, region: str, replica: str) -> None:
        self._pools = pools
        self._journal = journal
        self._region = region
        self._replica = replica

    async def note(self, kind: str, digest: str, held: Mapping[str, Mapping[str, str]]) -> None:
        """Make sure that the ledger names the set in force here; recorded once a region.

        Args:
            kind: `policy_set`, `catalogue` or `keyring`.
            digest: Of the set.
            held: What is in it: by item and key, something that differs when the key's value does.

        Raises:
            Unavailable: it is not noted, or noted and not recorded yet.
        """
        await self._note(kind, digest, held)
        await self.record_untold()

    @wrapped("a change of the rules cannot be noted")
    async def _note(self, kind: str, digest: str, held: Mapping[str, Mapping[str, str]]) -> None:
        async with self._pools.record.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('mc.rule_change ' || $1, 0))",
                f"{kind} {self._region}",
            )
            newest = await connection.fetchrow(_NEWEST, kind, self._region)
            if newest is not None and newest["digest"] == digest:
                return
            said = await connection.fetchrow(_DECLARED, kind, digest, self._region)
            changes = (
                ["first recorded"]
                if newest is None
                else compare_held(read_json(newest["held"]), held)
            )
            changes = changes or [_NO_ITEM[kind]]
            detail = {
                "old": "" if newest is None else newest["digest"],
                "new": digest,
                "reason": said["reason"] if said else "",
                "principal": said["principal"] if said else "" if newest is None else UNDECLARED,
                "declaration": str(said["id"]) if said else "",
                "changes": changes[:_MOST_WORDS],
                "more_changes": max(0, len(changes) - _MOST_WORDS),
                "replica": self._replica,
            }
            await connection.execute(
                _ADD, kind, self._region, json_text(detail), digest, json_text(dict(held))
            )

    @wrapped("what was in force cannot be read")
    async def held(self, kind: str) -> Mapping[str, Mapping[str, str]]:
        """What `note` was given last for this region; empty if nothing was.

        Raises:
            Unavailable: it cannot be read.
        """
        newest = await self._pools.record.fetchrow(_NEWEST, kind, self._region)
        return {} if newest is None else read_json(newest["held"])

    @wrapped("the declaration cannot be stored")
    async def declare(
        self,
        declaration_id: uuid.UUID,
        *,
        kind: str,
        digest: str,
        principal: PrincipalId,
        reason: str,
    ) -> None:
        """Say that a set comes into force within the hour, and why."""
        await self._pools.record.execute(_DECLARE, declaration_id, kind, digest, principal, reason)

    @wrapped("changes of the rules cannot be read")
    async def record_untold(self) -> int:
        """Record what is not in the ledger; return how many changes there were.

        Raises:
            Unavailable: it will do at another time.
        """
        told = 0
        while rows := await self._pools.record.fetch(_UNTOLD, self._region):
            await self._journal.record([_event(row) for row in rows])
            await self._mark([row["id"] for row in rows])
            told += len(rows)
        return told

    @wrapped("it cannot be noted that a change is recorded")
    async def _mark(self, ids: list[Any]) -> None:
        await self._pools.record.execute(_TOLD, ids)


def _event(row: Any) -> Event:
    detail = dict(read_json(row["detail"]))
    kind = _KINDS.get((row["kind"], str(detail.get("what"))), _KIND_OF[row["kind"]])
    tenant = TenantId(detail.pop("tenant", PLATFORM))
    said = detail.pop("said", {})
    if row["kind"] == "credential" and "principal" not in said:
        said = {**said, "principal": UNDECLARED, "reason": ""}
    # What the database says of the change wins over what was said
    told = json.loads(json.dumps({**said, **detail}))
    return Event(
        id=EventId(str(row["id"])),
        kind=kind,
        tenant=tenant,
        occurred_at=row["at"],
        detail={"subject": detail.get("credential") or detail.get("new"), **told},
    )
