"""The service's own schema on a real PostgreSQL, as `migrate` makes it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from mc_platform.adapters.postgres.migrate import database_url, import_credentials
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.administration import migrate

SECRET = "s" * 43
KEY_ID = "0123456789ab"


@dataclass(frozen=True)
class Database:
    admin_url: str
    service_url: str


CREDENTIALS = {
    "TENANT_001": {
        "principal": "agent@tenant-001",
        "key_id": KEY_ID,
        "secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
    }
}


@pytest.fixture(scope="session")
def database(run_postgres: Callable[[], AbstractContextManager[str]]) -> Iterator[Database]:
    with run_postgres() as admin_url:
        host = admin_url.split("@")[1].split("/")[0]
        made = Database(admin_url, f"postgresql://mc_service:p'w@{host}/mc")
        for _ in range(2):  # repeating it is harmless
            asyncio.run(
                migrate(
                    admin_url=made.admin_url,
                    service_url=made.service_url,
                    credentials=CREDENTIALS,
                )
            )
        yield made


@pytest.fixture
async def owner_url(database: Database) -> str:
    """The owner's way in, with the first credential valid whatever other tests have left."""
    url = database_url(database.admin_url, "mc")
    await import_credentials(owner_url=url, credentials=CREDENTIALS)
    return url


@pytest.fixture
async def pools(database: Database) -> AsyncIterator[Pools]:
    opened = Pools(database_url=database.service_url, application_name="test")
    await opened.open()
    yield opened
    await opened.close()
