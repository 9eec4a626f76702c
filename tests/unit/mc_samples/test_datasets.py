"""The sample table for aggregates is what the local catalogue declares."""

from __future__ import annotations

import tomllib
from pathlib import Path

import httpx

from mc_samples.datasets import TENANTS, customers
from mc_samples.records_agent import create_app

ROOT = Path(__file__).parents[3]


async def test_each_tenant_gets_its_own_table_and_nobody_else_any():
    transport = httpx.ASGITransport(app=create_app(1))
    async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:

        async def rows(tenant):
            answer = await client.get("/datasets/customers", params={"tenant": tenant})
            assert answer.status_code == 200
            return answer.json()["rows"]

        tables = {tenant: await rows(tenant) for tenant in TENANTS}
        assert await rows("NOBODY") == []
        assert tables["TENANT_001"] == await rows("TENANT_001")
    assert all(len({row["id"] for row in table}) == 600 for table in tables.values())
    assert tables["TENANT_001"] != tables["TENANT_002"]


def test_the_rows_are_as_the_catalogue_declares_them():
    raw = tomllib.loads((ROOT / "deploy/local/catalogue.toml").read_text())
    declared = raw["datasets"]["customers"]
    assert set(declared["tenants"]) == set(TENANTS)
    for row in customers("TENANT_003"):
        assert set(row) == {declared["unit"], *declared["columns"]}
        for name, column in declared["columns"].items():
            if "values" in column:
                assert row[name] in column["values"]
            else:
                assert isinstance(row[name], int | float)
                assert row[name] >= column["lower"]
