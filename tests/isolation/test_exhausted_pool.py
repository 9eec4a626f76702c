"""What a caller is told when no connection to the database comes free in time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from tests.isolation.conftest import Replica

from mc_contract import connections

pytestmark = pytest.mark.long  # connections are waited for as long as the service does

TENANTS = ("TENANT_001", "TENANT_002")


def _list(replica: Replica, tenant: str) -> httpx.Response:
    with replica.client(tenant) as client:
        return client.get("/v1/tasks")


def test_who_finds_no_connection_free_is_told_to_come_again(replica: Replica) -> None:
    """All connections wait for a lock: each tenant gets a 503 that says when; then all is as before."""
    callers = connections.PER_REPLICA
    assert {_list(replica, tenant).status_code for tenant in TENANTS} == {200}
    with (
        psycopg.connect(replica.admin_url) as lock,
        ThreadPoolExecutor(callers * len(TENANTS)) as threads,
    ):
        lock.execute("LOCK TABLE mc.task IN ACCESS EXCLUSIVE MODE")
        asked = {
            tenant: [threads.submit(_list, replica, tenant) for _ in range(callers)]
            for tenant in TENANTS
        }
        answers = {tenant: [one.result() for one in asked[tenant]] for tenant in TENANTS}
    for tenant in TENANTS:
        # 429 is beyond what a tenant may have at once; 503 is what found no connection
        statuses = [answer.status_code for answer in answers[tenant]]
        assert 503 in statuses, tenant
        assert set(statuses) <= {429, 503}, tenant
        for answer in answers[tenant]:
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.json()["error"]["code"] == answer.status_code
            assert "postgresql://" not in answer.text
    assert {_list(replica, tenant).status_code for tenant in TENANTS} == {200}
