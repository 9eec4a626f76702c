"""The platform on a PostgreSQL of the user's own, by `MC_DATABASE_URL`."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.tls import make_certificates, tls_in_front

from mc_contract import connections

_IDLE = 7  # connections of a replica without requests, at most
_PROBES = """
SELECT application_name FROM pg_stat_activity
WHERE usename = 'mc_service' AND application_name LIKE 'blue-%'
"""


def test_a_server_of_ones_own_is_used_instead_of_the_embedded_one(
    run_postgres, start_platform, wait_until
):
    """`mcctl up` brings the server to the schema, starts none of its own, and serves."""
    with run_postgres() as admin_url:
        platform = start_platform(MC_DATABASE_URL=admin_url)
        assert platform.ask("What is the status of order O-2001?").status == 200
        status = json.loads(platform.mcctl("status", "--output", "json").stdout)
        assert "postgres" not in {process["name"] for process in status["processes"]}
        for log in (platform.home / "log").iterdir():
            assert admin_url not in log.read_text()
        with psycopg.connect(admin_url, autocommit=True) as admin:
            replicas_keep_to_their_connections(platform, admin, wait_until)
            more_replicas_than_fit_are_refused(platform)
        platform.mcctl("down")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_whole_platform_speaks_verified_tls_with_its_database(
    run_postgres, start_platform, tmp_path
):
    """Migration, ledger, engine, lease and the pre-flight: nobody comes without TLS, or to another server."""
    make_certificates(tmp_path)
    with run_postgres() as plain:
        upstream = int(plain.rpartition(":")[2].partition("/")[0])
        with tls_in_front(upstream, tmp_path) as seen:
            query = f"sslmode=verify-full&sslrootcert={tmp_path}"
            url = f"postgresql://postgres@localhost:{seen.port}/postgres?{query}"
            platform = start_platform(MC_DATABASE_URL=f"{url}/ca.crt")
            assert platform.ask("What is the status of order O-2001?").status == 200
            assert platform.order().status == 200
            preflight = platform.mcctl("preflight", "platform", "--output", "json", check=False)
            checks = {one["name"]: one for one in json.loads(preflight.stdout)["checks"]}
            assert checks["ledger-append-only"]["status"] == "pass"
            platform.mcctl("down")
            assert seen.with_tls > 5
            assert seen.without == []
            refused = platform.mcctl("up", check=False, MC_DATABASE_URL=f"{url}/other.crt")
            assert refused.returncode != 0


def replicas_keep_to_their_connections(platform, admin, wait_until):
    """By the server's own count: at most `PER_REPLICA` under load, and `_IDLE` a while after it."""

    def counted() -> Counter[str]:
        names = [row[0].partition(":")[0] for row in admin.execute(_PROBES).fetchall()]
        return Counter(names)

    most: Counter[str] = Counter()
    with ThreadPoolExecutor(16) as clients:
        asked = [
            clients.submit(*what)
            for what in ((platform.ask, "What is the status of order O-2001?"), (platform.order,))
            * 60
        ]
        while not all(one.done() for one in asked):
            most |= counted()
            time.sleep(0.01)
    assert {one.result().status for one in asked} <= {200, 429, 503}
    assert 1 <= max(most.values()) <= connections.PER_REPLICA, most
    wait_until(lambda: max(counted().values()) <= _IDLE, what="replicas with idle connections only")


def more_replicas_than_fit_are_refused(platform):
    """`scale` and `up` beyond the database say how many fit and what to do; what runs is not touched."""

    def running() -> dict[str, int]:
        status = json.loads(platform.mcctl("status", "--output", "json").stdout)
        return {one["name"]: one["pid"] for one in status["processes"] if one["pid"]}

    before = running()
    for verb in (("scale", "agent-workbench"), ("up",)):
        refused = platform.mcctl(*verb, "--replicas", "15", check=False)
        assert refused.returncode == 2
        said = refused.stdout + refused.stderr
        assert "15 replicas do not fit the database" in said
        assert "max_connections 60" in said
        assert "ask for at most 5, or set max_connections to " in " ".join(said.split())
        assert running() == before
    assert platform.ask("What is the status of order O-2001?").status == 200
    preflight = platform.mcctl("preflight", "platform", "--output", "json", check=False)
    checks = {one["name"]: one for one in json.loads(preflight.stdout)["checks"]}
    assert checks["connection-budget"]["status"] == "pass"
    assert "room for 5 replicas" in checks["connection-budget"]["detail"]
