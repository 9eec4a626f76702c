"""Credentials over HTTP on a real PostgreSQL: shown once, told in the ledger, ended everywhere."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from tests.fakes import handler_fields

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.adapters.postgres.credentials import PostgresCredentials
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import database_url, import_credentials
from mc_platform.adapters.postgres.pools import PostgresDirectory
from mc_platform.adapters.postgres.rules import PostgresRules
from mc_platform.authenticate import Authenticator
from mc_platform.errors import NotAuthenticated, PlatformError
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.query import CredentialHandlers

POINT = CedarDecisionPoint.load(Path(__file__).parents[5] / "policies")
CACHE_S = 5.0
NAMES = ("T1", "T2", "PLATFORM")
TENANTS = {name: Tenant(name, "eu", frozenset(), frozenset(), 0) for name in NAMES}
PRINCIPALS = {
    "ada": Principal("ada@platform", PLATFORM, "", Role.administrator),
    "little": Principal(
        "little@platform", PLATFORM, "", Role.administrator, frozenset({"credentials"})
    ),
    "bob": Principal("bob@platform", PLATFORM, "", Role.operator),
    "eve": Principal("eve@platform", PLATFORM, "", Role.auditor),
    "agent": Principal("agent@t1", "T1", ""),
}


@pytest.fixture
async def platform(database, pools):
    """The routes at one replica, another replica, and the region's ledger."""
    region = f"r-{uuid.uuid4().hex[:8]}"
    journal = PostgresJournal(pools, region=region)
    await journal.start()
    rules = PostgresRules(pools, journal=journal, region=region, replica="blue-1")
    await rules.record_untold()  # what other tests have left
    clock = [0.0]
    here, there = (
        Authenticator(
            directory=PostgresDirectory(pools),
            tenants=TENANTS,
            cache_s=CACHE_S,
            monotonic=lambda: clock[0],
        )
        for _ in range(2)
    )

    async def answer(_request, error):
        return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

    handlers = CredentialHandlers(
        **handler_fields(
            principal_of=lambda request: PRINCIPALS[request.headers["who"]],
            tenants=TENANTS,
            decisions=POINT,
            journal=journal,
            redact=lambda text: text.replace("geheim", "[x]"),
        ),
        credentials=PostgresCredentials(pools),
        rules=rules,
        catalogued=TENANTS,
        forget=here.forget,
    )
    app = Starlette(routes=handlers.routes(), exception_handlers={PlatformError: answer})
    transport = httpx.ASGITransport(app)
    owner = await asyncpg.connect(database_url(database.admin_url, "mc"))
    start = (await journal.head()).size

    async def events():
        rows = await owner.fetch(
            "SELECT leaf FROM mc.ledger_event WHERE region = $1 AND index >= $2 ORDER BY index",
            region,
            start,
        )
        return [json.loads(row["leaf"]) for row in rows]

    async with httpx.AsyncClient(transport=transport, base_url="http://mc") as client:

        async def call(who, method, path, **body):
            more = {"json": body} if method == "POST" else {}
            return await client.request(method, f"/operator{path}", headers={"who": who}, **more)

        async def holds(authenticator, token):
            try:
                return await authenticator.authenticate(f"Bearer {token}")
            except NotAuthenticated:
                return None

        yield SimpleNamespace(
            call=call, events=events, owner=owner, here=here, there=there, holds=holds,
            clock=clock, rules=rules, pools=pools, url=database_url(database.admin_url, "mc"),
        )  # fmt: skip
    await owner.execute("DELETE FROM mc.credential WHERE tenant IN ('T1', 'T2', 'PLATFORM')")
    await owner.close()
    await rules.record_untold()
    await journal.stop()


async def created(platform, **more):
    body = {"tenant": "T1", "reason": "a geheim integration"} | more
    answer = await platform.call("ada", "POST", "/credentials", **body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_credential_is_made_shown_once_and_told(platform):
    """It authenticates with the least scope; the ledger has who, why and which key, no secret."""
    made = await created(platform, expires_in_s=3600)
    found = await platform.holds(platform.here, made["token"])
    assert (found.tenant, found.id, found.role) == ("T1", "agent@t1", "agent")
    assert found.scopes == {"a2a"}
    [event] = await platform.events()
    detail = event["detail"]
    assert (event["kind"], event["tenant"]) == ("credential.created", "T1")
    assert detail["principal"] == "ada@platform"
    assert detail["reason"] == "a [x] integration"
    assert detail["credential"] == made["key_id"]
    assert (detail["holder"], detail["role"], detail["scopes"]) == ("agent@t1", "agent", ["a2a"])
    assert detail["policies"] == ["administrators-manage-credentials"]
    assert detail["database_role"] == "mc_service"
    secret = made["token"].split("_", 2)[2]
    listed = await platform.call("eve", "GET", "/credentials?tenant=T1")
    [row] = [one for one in listed.json()["credentials"] if one["key_id"] == made["key_id"]]
    assert (row["state"], row["origin"]) == ("ending", "administrator")
    assert secret not in listed.text + json.dumps(await platform.events())


async def test_a_revoked_credential_ends_on_every_replica(platform):
    """At once where it was revoked, and elsewhere when the cache of it ends."""
    made = await created(platform)
    token = made["token"]
    assert await platform.holds(platform.here, token)
    assert await platform.holds(platform.there, token)
    path = f"/credentials/{made['key_id']}/revoke"
    answer = await platform.call("ada", "POST", path, reason="it leaked")
    assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    assert not await platform.holds(platform.here, token)
    platform.clock[0] += CACHE_S + 0.1
    assert not await platform.holds(platform.there, token)
    assert [event["kind"] for event in await platform.events()] == [
        "credential.created",
        "credential.revoked",
    ]
    again = await platform.call("ada", "POST", path, reason="it leaked")
    assert again.status_code == 409


async def test_a_new_credential_holds_at_once_where_it_was_refused(platform):
    """That a key is unknown is not remembered."""
    key = "feedfeedfeed"
    assert not await platform.holds(platform.there, f"mc_{key}_{'s' * 43}")
    made = await created(platform)
    assert await platform.holds(platform.there, made["token"])


async def test_a_rotation_overlaps_and_ends(platform):
    """Both hold during the overlap; then the old one has ended, by the database's clock."""
    old = await created(platform, scopes=["a2a", "records"])
    path = f"/credentials/{old['key_id']}/rotate"
    answer = await platform.call("ada", "POST", path, reason="yearly", overlap_s=3600)
    new = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    for token in (old["token"], new["token"]):
        assert (await platform.holds(platform.here, token)).scopes == {"a2a", "records"}
    await platform.owner.execute(
        "UPDATE mc.credential SET expires_at = now() WHERE key_id = $1", old["key_id"]
    )
    platform.clock[0] += CACHE_S + 0.1
    assert not await platform.holds(platform.here, old["token"])
    assert await platform.holds(platform.here, new["token"])
    again = await platform.call("ada", "POST", path, reason="yearly")
    assert again.status_code == 409
    details = [event["detail"] for event in await platform.events()]
    told = [one for one in details if one.get("rotated_to") == new["key_id"]]
    assert {one["credential"] for one in told} == {old["key_id"], new["key_id"]}


async def test_a_credential_of_a_tenant_that_is_not_declared_opens_nothing_and_can_only_be_ended(
    platform,
):
    """It came with a file: refused, and no other one is made in its place; it can be revoked."""
    secret = "s" * 43
    stray = {
        "tenant": "T9", "principal": "agent@t9", "key_id": "9" * 12,
        "secret_sha256": hashlib.sha256(secret.encode()).hexdigest(),
    }  # fmt: skip
    await import_credentials(owner_url=platform.url, credentials={"T9": stray})
    assert not await platform.holds(platform.here, f"mc_{'9' * 12}_{secret}")
    answer = await platform.call("ada", "POST", f"/credentials/{'9' * 12}/rotate", reason="yearly")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "unknown tenant 'T9'"
    assert answer.json()["error"]["hint"] == "known: PLATFORM, T1, T2"
    answer = await platform.call("ada", "POST", f"/credentials/{'9' * 12}/revoke", reason="gone")
    assert answer.status_code == 200
    await platform.owner.execute("DELETE FROM mc.credential WHERE tenant = 'T9'")


async def test_a_rotated_credential_lives_as_long_as_the_old_one_did(platform):
    """Not until the old one's end; and what was rotated is not rotated again."""
    old = await created(platform, expires_in_s=3600)
    await platform.owner.execute(
        "UPDATE mc.credential SET created_at = now() - interval '50 minutes', "
        "expires_at = now() + interval '10 minutes' WHERE key_id = $1",
        old["key_id"],
    )
    path = f"/credentials/{old['key_id']}/rotate"
    new = (await platform.call("ada", "POST", path, reason="soon over", overlap_s=600)).json()
    left = await platform.owner.fetchval(
        "SELECT extract(epoch FROM expires_at - created_at)::int FROM mc.credential "
        "WHERE key_id = $1",
        new["key_id"],
    )
    assert left == 3600
    again = await platform.call("ada", "POST", path, reason="soon over", overlap_s=600)
    assert again.status_code == 409


async def test_a_rotation_without_overlap_ends_the_old_one_at_once(platform):
    """The default: one holds at a time."""
    old = await created(platform)
    path = f"/credentials/{old['key_id']}/rotate"
    new = (await platform.call("ada", "POST", path, reason="it leaked")).json()
    assert not await platform.holds(platform.there, old["token"])
    assert await platform.holds(platform.there, new["token"])


async def test_an_expired_credential_is_refused(platform):
    """Also one that the cache had while it held."""
    made = await created(platform, expires_in_s=1)
    await platform.owner.execute(
        "UPDATE mc.credential SET expires_at = clock_timestamp() WHERE key_id = $1", made["key_id"]
    )
    assert not await platform.holds(platform.there, made["token"])
    listed = (await platform.call("ada", "GET", "/credentials?tenant=T1")).json()["credentials"]
    [state] = [one["state"] for one in listed if one["key_id"] == made["key_id"]]
    assert state == "expired"


@pytest.mark.parametrize("who", ["bob", "eve", "agent"])
async def test_only_administrators_change_credentials(platform, who):
    """An operator could otherwise open a tenant's data alone; the refusal is in the ledger."""
    answer = await platform.call(who, "POST", "/credentials", tenant="T1", reason="x")
    assert answer.status_code == 403
    [event] = await platform.events()
    assert (event["kind"], event["detail"]["action"]) == ("request.refused", "ManageCredential")


@pytest.mark.parametrize(
    "body",
    [
        {"tenant": "T9"},
        {"tenant": "PLATFORM"},
        {"role": "operator"},
        {"role": "root"},
        {"tenant": "PLATFORM", "role": "operator"},
        {"tenant": "PLATFORM", "role": "operator", "scopes": ["a2a"]},
        {"scopes": ["ledger"]},
        {"scopes": ["a2a", "everything"]},
        {"scopes": "a2a"},
        {"principal": "no body"},
        {"expires_in_s": 0},
        {"expires_in_s": 10**12},
        {"expires_in_s": 1.5},
        {"reason": ""},
        {"expiry": 5},
    ],
)
async def test_what_is_no_credential_is_refused(platform, body):
    """Unknown tenants, roles, scopes and keys; scopes that the role has no use for."""
    sent = {"tenant": "T1", "reason": "x"} | body
    answer = await platform.call("ada", "POST", "/credentials", **sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")
    assert await platform.events() == []


async def test_nobody_makes_more_than_they_have(platform):
    """An administrator with one scope makes none with more, neither anew nor by rotation."""
    sent = {"tenant": "PLATFORM", "role": "administrator", "reason": "x"}
    refused = await platform.call(
        "little", "POST", "/credentials", **sent, scopes=["credentials", "rules"]
    )
    assert refused.status_code == 400
    strong = await created(platform, **sent, scopes=["credentials", "rules"])
    path = f"/credentials/{strong['key_id']}/rotate"
    assert (await platform.call("little", "POST", path, reason="x")).status_code == 400
    made = await platform.call("little", "POST", "/credentials", **sent, scopes=["credentials"])
    assert made.status_code == 201


async def test_an_import_leaves_administrators_credentials_alone(platform):
    """Neither does it end what an administrator made, nor bring back what one has revoked."""
    key = uuid.uuid4().hex[:12]
    entry = {"principal": "p", "key_id": key, "secret_sha256": "ab" * 32, "tenant": "T2"}

    async def imported(**all_):
        return await import_credentials(owner_url=platform.url, credentials=all_, by="me")

    rows = await platform.owner.fetch(
        "SELECT key_id, encode(secret_sha256, 'hex') AS secret, tenant FROM mc.credential "
        "WHERE origin = 'import' AND revoked_at IS NULL"
    )
    others = {
        f"other-{row['key_id']}": {
            "principal": "agent@tenant-001", "key_id": row["key_id"],
            "secret_sha256": row["secret"], "tenant": row["tenant"],
        }
        for row in rows
    }  # fmt: skip
    made = await created(platform)
    assert (await imported(**others, mine=entry)).added == ("mine",)
    assert await platform.holds(platform.here, made["token"])
    await platform.call("ada", "POST", f"/credentials/{key}/revoke", reason="it leaked")
    again = await imported(**others, mine=entry)
    assert (again.added, again.changed, again.refused) == ((), (), ("mine",))
    assert (await imported(**others)).revoked == ()
    await platform.rules.record_untold()
    told = [event for event in await platform.events() if event["detail"]["credential"] == key]
    assert [(event["kind"], event["detail"]["principal"]) for event in told] == [
        ("credential.created", "me"),
        ("credential.revoked", "ada@platform"),
    ]


async def test_a_change_by_hand_is_told_as_one(platform):
    """Whoever writes the table with SQL is not known; that it was done is."""
    made = await created(platform)
    await platform.owner.execute(
        "UPDATE mc.credential SET role = 'operator', tenant = 'PLATFORM' WHERE key_id = $1",
        made["key_id"],
    )
    await platform.owner.execute("DELETE FROM mc.credential WHERE key_id = $1", made["key_id"])
    await platform.rules.record_untold()
    await platform.rules.record_untold()
    _, changed, removed = await platform.events()
    assert (changed["kind"], removed["kind"]) == ("credential.changed", "credential.revoked")
    assert changed["detail"]["principal"] == removed["detail"]["principal"] == "undeclared"
    assert changed["detail"]["changed"] == ["role", "tenant"]
    assert changed["detail"]["database_role"] == "postgres"


async def test_the_service_can_do_no_more_than_it_needs(platform):
    """Not take over a credential, nor take a revocation back, nor forget a change."""
    made = await created(platform)
    await platform.call("ada", "POST", f"/credentials/{made['key_id']}/revoke", reason="x")
    for sql, error in (
        ("UPDATE mc.credential SET tenant = 'T2'", asyncpg.InsufficientPrivilegeError),
        ("UPDATE mc.credential SET secret_sha256 = ''", asyncpg.InsufficientPrivilegeError),
        ("UPDATE mc.credential SET role = 'operator'", asyncpg.InsufficientPrivilegeError),
        ("UPDATE mc.credential SET scopes = NULL", asyncpg.InsufficientPrivilegeError),
        ("DELETE FROM mc.credential", asyncpg.InsufficientPrivilegeError),
        ("DELETE FROM mc.rule_change", asyncpg.InsufficientPrivilegeError),
        ("UPDATE mc.rule_change SET detail = '{}'", asyncpg.InsufficientPrivilegeError),
        ("UPDATE mc.credential SET revoked_at = NULL", asyncpg.CheckViolationError),
    ):
        with pytest.raises(error):
            await platform.pools.record.execute(sql)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await platform.pools.tenant.execute(sql)


@pytest.mark.parametrize(
    ("ended", "steps"),
    [
        ("revoked_at = now(), revoked_by = 'ada'", ["revoked_by = NULL", "revoked_at = NULL"]),
        ("revoked_by = 'ada', expires_at = now() + '1 h'", ["revoked_by = NULL"]),  # rotated
        ("revoked_at = now()", ["revoked_at = NULL"]),  # by an import
        ("expires_at = now()", ["expires_at = NULL"]),
        ("expires_at = now()", ["expires_at = now() + '1 h'"]),
    ],
)
async def test_no_end_of_a_credential_is_taken_back_by_the_service(platform, ended, steps):
    """In no number of steps, and no kind of end; to end it earlier is what the service may do."""
    made = await created(platform)
    statement = "UPDATE mc.credential SET {} WHERE key_id = $1"
    await platform.owner.execute(statement.format(ended), made["key_id"])
    before = await platform.owner.fetchrow(
        "SELECT * FROM mc.credential WHERE key_id = $1", made["key_id"]
    )
    for step in steps:
        with pytest.raises(asyncpg.CheckViolationError):
            await platform.pools.record.execute(statement.format(step), made["key_id"])
    after = await platform.owner.fetchrow(
        "SELECT * FROM mc.credential WHERE key_id = $1", made["key_id"]
    )
    assert after == before
    if before["revoked_at"] is None:
        earlier = statement.format("expires_at = now() - interval '1 h'")
        assert await platform.pools.record.execute(earlier, made["key_id"]) == "UPDATE 1"


async def test_tenants_are_listed_with_their_credentials(platform):
    """Also a tenant that is in no catalogue and has a credential all the same."""
    await created(platform)
    await platform.owner.execute(
        "INSERT INTO mc.credential (key_id, secret_sha256, tenant, principal) "
        "VALUES ($1, $2, 'GONE', 'p')", uuid.uuid4().hex[:12], bytes(32),
    )  # fmt: skip
    found = (await platform.call("ada", "GET", "/tenants")).json()["tenants"]
    await platform.owner.execute("DELETE FROM mc.credential WHERE tenant = 'GONE'")
    by_id = {one["id"]: one for one in found}
    assert (by_id["T1"]["declared"], by_id["T1"]["credentials"]) == (True, 1)
    assert (by_id["T2"]["declared"], by_id["T2"]["credentials"]) == (True, 0)
    assert (by_id["GONE"]["declared"], by_id["GONE"]["credentials"]) == (False, 1)


OLD, NEW = "0" * 64, "1" * 64


async def test_a_declared_set_is_told_with_who_and_why(platform):
    """Once a region, however many replicas take it, with what changed in words."""
    await platform.rules.note("policy_set", OLD, {"policy a": {"m": "1"}, "policy b": {"m": "1"}})
    sent = {"kind": "policy_set", "digest": NEW, "reason": "tier two for all"}
    said = await platform.call("bob", "POST", "/rules/declare", **sent)
    assert said.status_code == 201
    for _replica in range(2):
        held = {"policy b": {"m": "2"}, "policy c": {"m": "1"}}
        await platform.rules.note("policy_set", NEW, held)
    first, declared, changed = await platform.events()
    assert (first["kind"], first["detail"]["changes"]) == ("policy.changed", ["first recorded"])
    assert declared["kind"] == "rules.declared"
    detail = changed["detail"]
    assert (changed["kind"], detail["principal"]) == ("policy.changed", "bob@platform")
    assert (detail["reason"], detail["old"], detail["new"]) == ("tier two for all", OLD, NEW)
    assert detail["changes"] == ["removed policy a", "changed policy b (m)", "added policy c"]
    assert detail["declaration"] == said.json()["declaration"]


async def test_an_undeclared_set_is_told_as_that(platform):
    """Nobody said it; and what was said once does not stand for the next time."""
    await platform.rules.note("catalogue", OLD, {})
    sent = {"kind": "catalogue", "digest": NEW, "reason": "x"}
    await platform.call("ada", "POST", "/rules/declare", **sent)
    for digest in (NEW, OLD, NEW):
        await platform.rules.note("catalogue", digest, {})
    told = [one for one in await platform.events() if one["kind"] == "catalogue.changed"]
    assert [one["detail"]["principal"] for one in told] == [
        "",
        "ada@platform",
        "undeclared",
        "undeclared",
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"digest": "abc"},
        {"kind": "everything"},
        {"reason": ""},
        {"more": 1},
    ],
)
async def test_what_is_no_declaration_is_refused(platform, body):
    """A digest of 64 digits, a kind that is known, a reason."""
    sent = {"kind": "policy_set", "digest": NEW, "reason": "x"} | body
    answer = await platform.call("bob", "POST", "/rules/declare", **sent)
    assert answer.status_code == 400
    assert await platform.events() == []
