"""Roles, schema and credentials, as `python -m mc_platform migrate` makes them."""

from __future__ import annotations

import asyncpg
import pytest

from mc_platform.adapters.postgres import PostgresDirectory
from mc_platform.adapters.postgres_migrate import (
    database_url,
    import_credentials,
    migrate_schema,
)
from mc_platform.errors import BadRequest, Misconfigured

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


async def test_a_credential_is_found_until_it_is_left_out(database, pools):
    """An import is the whole truth: who is not in it is revoked, and may come back."""
    directory = PostgresDirectory(pools)
    secret, principal = await directory.find(KEY_ID)
    assert principal.tenant == "TENANT_001"
    owner_url = database_url(database.admin_url, "mc")
    entry = {"principal": "agent@tenant-001", "key_id": KEY_ID, "secret_sha256": secret.hex()}

    await import_credentials(owner_url=owner_url, credentials={})
    assert await directory.find(KEY_ID) is None
    await import_credentials(owner_url=owner_url, credentials={"TENANT_001": entry})
    assert await directory.find(KEY_ID) is not None


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
