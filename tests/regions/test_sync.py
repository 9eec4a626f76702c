"""A replica with three tenants and a peer whose link is cut: two wait for the peer, one does not."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests import ports
from tests.link import Link, link_to
from tests.regions.conftest import ROOT, Receiver, Region, made_credentials, order

from mc_platform.adapters.postgres import replication
from mc_platform.adapters.postgres.migrate import database_url
from mc_platform.adapters.postgres.replication import Peering
from mc_platform.administration import migrate

pytestmark = pytest.mark.slow
STRICT, LENIENT, OTHER = "TENANT_001", "TENANT_002", "TENANT_003"


@dataclass
class Synced:
    """The region that serves, its peer's database, and the link by which the peer reads."""

    region: Region
    receiver: Receiver
    peer_admin_url: str
    link: Link

    def there(self, task_id):
        """Whether the peer has accepted the task on its disk."""
        with psycopg.connect(database_url(self.peer_admin_url, "mc")) as connection:
            found = connection.execute("SELECT 1 FROM mc.task WHERE id = %s", [task_id])
            return found.fetchone() is not None

    def confirms(self):
        """Whether answers are confirmed, once the peer's heart has beaten: no replica of it runs."""
        with psycopg.connect(database_url(self.peer_admin_url, "mc")) as connection:
            connection.execute("SELECT mc.beat()")
        return self.region.figure("mc_sync_peer_away") == 0


@pytest.fixture(scope="module")
def synced(run_postgres, tmp_path_factory, wait_until):
    folder = tmp_path_factory.mktemp("sync")
    key = folder / "ledger.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    key.chmod(0o600)
    catalogue = folder / "catalogue.toml"
    text = (ROOT / "deploy/local/catalogue.toml").read_text()
    for tenant, more in (
        (STRICT, 'replication = "sync"'),
        (LENIENT, 'replication = "sync"\npeer_away = "degrade"'),
    ):
        text = text.replace(f"[tenants.{tenant}]\n", f"[tenants.{tenant}]\n{more}\n")
    catalogue.write_text(text)
    credentials, tokens = made_credentials()
    receiver = Receiver()
    with ExitStack() as stack:
        stack.callback(receiver.close)
        admin = [stack.enter_context(run_postgres()) for _ in range(2)]
        at = [urlsplit(url) for url in admin]
        links = [stack.enter_context(link_to(one.hostname, one.port)) for one in at]
        urls = [
            {
                "admin_url": url,
                "service_url": f"postgresql://mc_service:secret@{one.hostname}:{one.port}/mc",
            }
            for url, one in zip(admin, at, strict=True)
        ]
        for one in urls:
            asyncio.run(migrate(**one, credentials=credentials))
            with psycopg.connect(one["admin_url"], autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'")
                connection.execute("SELECT pg_reload_conf()")
        port = stack.enter_context(ports.free_block())
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MC_", "AUDIT_"))},
            "MC_DATABASE_URL": urls[0]["service_url"],
            "MC_REGION": "a-1",
            "MC_REPLICA": "a-1-blue-1",
            "MC_PORT": str(port),
            "MC_LEDGER_KEY_FILE": str(key),
            "MC_CATALOGUE": str(catalogue),
            "MC_POLICY_DIR": str(ROOT / "policies"),
            "MC_FULFILMENT_AGENT_URL": receiver.url,
            "MC_RECORDS_AGENT_URL": receiver.url,
            "MC_WORKER_PROCESSES": "1",
            "MC_OPERATION_WAIT_S": "20",
            "MC_SYNC_WAIT_S": "1",
        }
        at_port = f"http://127.0.0.1:{port}"
        region = Region("a-1", at_port, env, tokens, folder / "a-1.log", admin[0])
        region.start()
        stack.callback(region.kill)
        wait_until(lambda: _serves(region), what="it serves")
        names = ("a-1", "b-1")

        def set_up():
            for own, peer in ((0, 1), (1, 0), (0, 1)):
                way = f"postgresql://{replication.ROLE}:pw@127.0.0.1:{links[peer].port}/mc"
                peering = Peering(names[own], names[peer], "pw", way, passfile="/nonexistent")
                asyncio.run(replication.set_up(**urls[own], peering=peering))

        yield Synced(region, receiver, admin[1], links[0]), set_up


def _serves(region):
    assert region.process.poll() is None, region.log.read_text()[-3000:]
    try:
        answer = httpx.get(f"{region.url}/health", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def _ordered(region, message, tenant=STRICT, **more):
    return region.order(message, who=tenant, **more)


def _task(answer):
    assert answer.status_code == 200, answer.text
    assert "result" in answer.json(), answer.text
    return answer.json()["result"]["task"]


def _refusal(answer):
    error = answer.json()["error"]
    assert error["code"] == -32052, error
    assert "peer-away" in json.dumps(error)
    assert answer.headers["retry-after"] == "2"
    return error


def test_without_a_peer_one_is_refused_one_degraded_and_the_platform_serves(synced, wait_until):
    """Before replication is set up: said clearly, in the log, the ledger and the metric."""
    one, set_up = synced
    region = one.region
    _refusal(_ordered(region, str(uuid.uuid4())))
    assert one.receiver.calls == []  # accepted, and not begun
    assert _task(_ordered(region, str(uuid.uuid4()), LENIENT))["status"]["state"].endswith("ED")
    assert region.figure('mc_sync_peer_away{region="a-1"}') == 1
    wait_until(lambda: region.recorded("replication.degraded"), what="the ledger tells")
    set_up()
    wait_until(one.confirms, what="the peer confirms")
    wait_until(lambda: region.recorded("replication.restored"), what="the ledger tells")
    assert {one["tenant"] for one in region.recorded("replication.degraded")} == {LENIENT}


def test_what_is_answered_is_at_the_peer(synced):
    """At once or at its end, as a stream, by HTTP+JSON, read again: at that moment, without a pause."""
    one, _ = synced
    region = one.region
    for _ in range(5):
        assert one.there(_task(_ordered(region, None))["id"])
        assert one.there(_task(_ordered(region, None, at_once=True))["id"])
    sent = region.call("POST", "/v1/message:send", json=order())
    assert one.there(sent.json()["task"]["id"])
    with Stream(region, order()) as lines:
        first = json.loads(next(lines).removeprefix("data:"))["result"]["task"]
        assert one.there(first["id"])
        assert any("COMPLETED" in line for line in lines)


class Stream:
    def __init__(self, region, params):
        call = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": params}
        headers = {"Authorization": f"Bearer {region.tokens[STRICT]}", "A2A-Version": "1.0"}
        self._answer = httpx.stream(
            "POST", f"{region.url}/a2a", json=call, headers=headers, timeout=60, trust_env=False
        )

    def __enter__(self):
        answer = self._answer.__enter__()
        return (line for line in answer.iter_lines() if line.startswith("data:"))

    def __exit__(self, *error):
        return self._answer.__exit__(*error)


def test_a_cut_link_refuses_degrades_and_leaves_the_third_tenant_alone(synced, wait_until):
    """And mended, the repeat of what was refused is one task, whose effects happen once."""
    one, _ = synced
    region = one.region
    one.link.cut()
    message, before = str(uuid.uuid4()), len(one.receiver.calls)
    refused = _refusal(_ordered(region, message))
    assert "same message id" in refused["message"]
    assert len(one.receiver.calls) == before
    plain = region.call("POST", "/v1/message:send", json=order())
    assert plain.status_code == 503
    assert "peer-away" in plain.text
    page = region.call("GET", "/v1/tasks")
    assert page.status_code == 503  # to read is to be told, too
    lenient = _task(_ordered(region, None, LENIENT))
    assert not one.there(lenient["id"])
    waited = region.figure("mc_sync_wait_seconds_count")
    for _ in range(3):
        answer = region.rpc("ListTasks", {}, who=OTHER)
        assert "result" in answer.json(), answer.text
    assert region.figure("mc_sync_wait_seconds_count") == waited  # it waits for nothing
    assert region.figure('mc_sync_answers_total{outcome="refused"') >= 3
    one.link.mend()
    wait_until(one.confirms, what="the peer is back")
    task = _task(_ordered(region, message))
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    keys = [call.key for call in one.receiver.calls if call.key.startswith(task["id"])]
    assert len(keys) == len(set(keys)) == 3
    assert one.there(task["id"])
    assert one.there(lenient["id"])
    wait_until(lambda: len(region.recorded("replication.restored")) == 2, what="the ledger tells")
    begun, ended = (
        [leaf["detail"]["subject"] for leaf in region.recorded(f"replication.{kind}")]
        for kind in ("degraded", "restored")
    )
    assert len(begun) == len(set(begun)) == 2
    assert set(ended) == set(begun)
