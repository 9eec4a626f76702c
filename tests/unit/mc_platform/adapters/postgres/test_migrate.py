"""Roles, schema and credentials, as `python -m mc_platform migrate` makes them."""

from __future__ import annotations

import asyncio
import uuid

import asyncpg
import pytest

from mc_platform import administration
from mc_platform.adapters.postgres import migrate, schema_files
from mc_platform.adapters.postgres.migrate import (
    database_url,
    import_credentials,
    migrate_schema,
)
from mc_platform.adapters.postgres.pools import PostgresDirectory
from mc_platform.errors import BadRequest, Misconfigured, Unavailable

KEY_ID = "0123456789ab"


async def test_the_service_role_is_least(database):
    """It is no superuser, bypasses nothing, owns nothing."""
    connection = await asyncpg.connect(database.service_url)
    role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = 'mc_service'")
    owned = await connection.fetchval(
        "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) IN "
        "('mc_service', 'mc_recorder')"
    )
    await connection.close()
    assert not any(
        role[name] for name in ("rolsuper", "rolbypassrls", "rolcreatedb", "rolcreaterole")
    )
    assert owned == 0


async def test_a_credential_is_found_until_it_is_left_out(owner_url, pools):
    """An import is the whole truth: who is not in it is revoked, and may come back."""
    directory = PostgresDirectory(pools)
    known = await directory.find(KEY_ID)
    secret, principal = known.secret_sha256, known.principal
    assert principal.tenant == "TENANT_001"
    entry = {"principal": "agent@tenant-001", "key_id": KEY_ID, "secret_sha256": secret.hex()}

    await import_credentials(owner_url=owner_url, credentials={})
    assert await directory.find(KEY_ID) is None
    await import_credentials(owner_url=owner_url, credentials={"TENANT_001": entry})
    assert await directory.find(KEY_ID) is not None


def _entry(key_id, **more):
    return {"principal": "p", "key_id": key_id, "secret_sha256": "ab" * 32, **more}


@pytest.fixture
def import_all(owner_url):
    """Imports credentials."""
    return lambda **all_: import_credentials(owner_url=owner_url, credentials=all_)


async def test_a_tenant_has_several_credentials_and_each_has_its_role(import_all, pools):
    """The name of an entry is its tenant unless it tells one; its role is agent unless told."""
    count = await import_all(
        TENANT_001=_entry("a" * 12),
        second=_entry("b" * 12, tenant="TENANT_001"),
        OPERATOR=_entry("c" * 12, tenant="PLATFORM", role="operator"),
    )
    assert (count.valid, count.added, count.revoked) == (
        3,
        ("TENANT_001", "second", "OPERATOR"),
        (KEY_ID,),
    )
    directory = PostgresDirectory(pools)
    found = [(await directory.find(key * 12)).principal for key in "abc"]
    assert [(principal.tenant, principal.role) for principal in found] == [
        ("TENANT_001", "agent"),
        ("TENANT_001", "agent"),
        ("PLATFORM", "operator"),
    ]


async def test_a_role_that_is_taken_back_is_gone(import_all, pools):
    """An import is the whole truth of a key's role, too; another secret never takes a key over."""
    key = "d" * 12
    await import_all(A=_entry(key, tenant="PLATFORM", role="operator"))
    await import_all(A=_entry(key, tenant="PLATFORM", role="auditor"))
    assert (await PostgresDirectory(pools).find(key)).principal.role == "auditor"
    other = _entry(key, tenant="PLATFORM", role="operator") | {"secret_sha256": "cd" * 32}
    assert (await import_all(A=other)).refused == ("A",)
    found = await PostgresDirectory(pools).find(key)
    assert (found.secret_sha256.hex(), found.principal.role) == ("ab" * 32, "auditor")


@pytest.mark.parametrize(
    "credentials",
    [
        {"A": _entry("e" * 12, role="root", tenant="PLATFORM")},
        {"A": _entry("e" * 12, role="operator", tenant="TENANT_001")},
        {"A": _entry("e" * 12, tenant="PLATFORM")},
        {"A": _entry("e" * 12), "B": _entry("e" * 12)},
    ],
    ids=["unknown role", "operator of a tenant", "agent of the platform", "key twice"],
)
async def test_a_role_that_cannot_be_is_refused_whole(import_all, pools, credentials):
    """Nothing of the import is applied."""
    with pytest.raises(BadRequest):
        await import_all(**credentials)
    assert await PostgresDirectory(pools).find("e" * 12) is None
    assert await PostgresDirectory(pools).find(KEY_ID) is not None


async def test_the_database_itself_keeps_roles_on_the_platform(database):
    """Whoever writes the table by hand cannot make a tenant's agent an operator either."""
    connection = await asyncpg.connect(database_url(database.admin_url, "mc"))
    for tenant, role in (("TENANT_001", "operator"), ("PLATFORM", "agent"), ("PLATFORM", "root")):
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO mc.credential (key_id, secret_sha256, tenant, principal, role) "
                "VALUES ('f', $1, $2, 'p', $3)",
                bytes(32),
                tenant,
                role,
            )
    await connection.close()


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"principal": "p", "key_id": "short", "secret_sha256": "00" * 32},
        "text",
        {"principal": "p", "key_id": KEY_ID, "secret_sha256": "zz"},
    ],
)
async def test_a_malformed_credential_is_refused_by_its_tenants_name(database, entry):
    """Nothing is changed, and the message names the tenant, not the value."""
    with pytest.raises(BadRequest, match="TENANT_009"):
        await import_credentials(
            owner_url=database_url(database.admin_url, "mc"), credentials={"TENANT_009": entry}
        )


@pytest.mark.parametrize(
    "url",
    ["postgresql://127.0.0.1/mc", "postgresql://other:pw@127.0.0.1/mc", "nonsense"],
)
async def test_a_service_url_that_is_not_the_services_is_refused(database, url):
    """The role must be `mc_service` with a password; the message shows no password."""
    with pytest.raises(Misconfigured) as caught:
        await migrate_schema(admin_url=database.admin_url, service_url=url)
    assert "pw" not in caught.value.message


async def test_a_file_outside_a_transaction_is_begun_again_where_it_was_cut_short(database):
    """An index that was left invalid is made anew; no file is noted before all of it is done."""
    owner = await asyncpg.connect(database_url(database.admin_url, "mc"))
    name = "0031_task_queries.sql"
    await owner.execute("DELETE FROM mc.schema_migration WHERE name = $1", name)
    await owner.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'mc.task_by_context'::regclass"
    )
    assert await migrate_schema(admin_url=database.admin_url, service_url=database.service_url) == [
        name
    ]
    invalid = await owner.fetch("SELECT indexrelid FROM pg_index WHERE NOT indisvalid")
    await owner.close()
    assert invalid == []


async def test_two_at_once_take_turns_though_the_administrators_url_names_the_same_database(
    database,
):
    """An index made without a lock waits for every statement there, also for one that waits for its turn."""
    name = f"mc_{uuid.uuid4().hex[:6]}"
    server = await asyncpg.connect(database.admin_url)
    await server.execute(f'CREATE DATABASE "{name}"')
    await server.close()
    urls = {
        "admin_url": database_url(database.admin_url, name),
        "service_url": f"{database.service_url.rpartition('/')[0]}/{name}",
    }
    async with asyncio.timeout(30):
        both = await asyncio.gather(migrate_schema(**urls), migrate_schema(**urls))
    assert sorted(map(bool, both)) == [False, True]


async def test_what_the_server_does_for_one_that_was_killed_is_waited_for(database):
    """Its connection may live on for as long as its statement does."""
    killed = await asyncpg.connect(database_url(database.admin_url, "mc"))
    await killed.execute("SELECT pg_advisory_lock($1)", migrate._APPLYING)
    urls = {"admin_url": database.admin_url, "service_url": database.service_url}
    waiting = asyncio.create_task(migrate_schema(**urls))
    done, _ = await asyncio.wait([waiting], timeout=1)
    await killed.close()
    assert not done
    assert await waiting == []


async def test_a_file_that_another_transaction_keeps_waiting_is_told_and_run_again(
    database, monkeypatch
):
    """As beside a dump: no defect, and no ledger that is damaged; what is left is undone first."""
    urls = {
        "admin_url": database.admin_url,
        "service_url": f"{database.service_url}_{uuid.uuid4().hex[:6]}",
    }
    late = ["0032_quotable_index.sql", "0033_retention.sql"]
    folder = migrate.files("mc_platform.migrations")

    class Before:
        @staticmethod
        def iterdir():
            return [one for one in folder.iterdir() if one.name < late[0]]

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "files", lambda _: Before)
        await migrate_schema(**urls)
    name = migrate.service_database(urls["service_url"])
    reader = await asyncpg.connect(database_url(database.admin_url, name))
    monkeypatch.setattr(schema_files, "PATIENCE_S", 0.1)
    async with reader.transaction(isolation="repeatable_read"):
        await reader.execute("SELECT count(*) FROM mc.task")
        with pytest.raises(Unavailable, match=late[0]) as caught:
            await migrate_schema(**urls)
    await reader.close()
    assert "run it again" in caught.value.hint
    assert (await migrate_schema(**urls))[:2] == late


async def test_an_administrator_who_is_no_superuser_migrates_and_takes_rights_back(run_postgres):
    """As on a managed server: CREATEROLE and CREATEDB are enough, and a repeat changes nothing.

    A service's login that somebody gave more rights loses them, if the administrator has them.
    """
    with run_postgres() as superuser:
        server = await asyncpg.connect(superuser)
        host = superuser.partition("@")[2].partition("/")[0]
        await server.execute("CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD 'x'")
        urls = {
            "admin_url": f"postgresql://boss:x@{host}/postgres",
            "service_url": f"postgresql://mc_service:p@{host}/mc",
        }
        assert (await administration.migrate(**urls, credentials=None))["applied"]
        await server.execute("ALTER ROLE mc_service CREATEDB CREATEROLE")
        assert (await administration.migrate(**urls, credentials=None))["applied"] == []
        row = await server.fetchrow(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication, rolinherit "
            "FROM pg_roles WHERE rolname = 'mc_service'"
        )
        assert not any(row.values())
        await server.execute("ALTER ROLE mc_service SUPERUSER REPLICATION")
        urls["admin_url"] = superuser
        await administration.migrate(**urls, credentials=None)
        row = await server.fetchrow(
            "SELECT rolsuper, rolreplication FROM pg_roles WHERE rolname = 'mc_service'"
        )
        assert not any(row.values())
        await server.close()
