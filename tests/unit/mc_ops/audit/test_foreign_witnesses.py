"""Witnesses and logs that others wrote: theirs cosign ours, and ours cosigns theirs.

`tracekit-ai` (PyPI, in an environment of its own) and `litewitness` of `filippo.io/torchwood` (Go).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from starlette.applications import Starlette
from tests.conftest import until
from tests.loopback import serving
from tests.unit.mc_ops.audit.conftest import Loop
from tests.unit.mc_ops.audit.test_witnesses import _kinds, _rewrite

from mc_contract.ledger.checkpoint import ED25519
from mc_contract.ledger.cosignature import COSIGNATURE, VerifierKey, parse_verifier_key
from mc_contract.ledger.export import log_origin
from mc_contract.ledger.merkle import Frontier
from mc_ops.audit import demand, verify_log
from mc_platform.adapters.http import Outgoing
from mc_platform.adapters.postgres.witnessing import PostgresWitnessStore
from mc_platform.assembly.witnessing import Witnessing, post_to
from mc_platform.errors import PlatformError
from mc_platform.observe import metrics
from mc_platform.receive.peers import Peers
from mc_platform.receive.wire_errors import answer
from mc_platform.record import Cosigner, LogWitness, ProcessMemory, Witness

ROOT = Path(__file__).parents[4]
TRACEKIT = ROOT / ".venv-tracekit" / "bin" / "tracekit"
TOOLS = os.pathsep.join([str(ROOT / ".tools"), os.environ.get("PATH", "")])
LITEWITNESS, WITNESSCTL = (shutil.which(name, path=TOOLS) for name in ("litewitness", "witnessctl"))
needs_tracekit = pytest.mark.skipif(
    not TRACEKIT.exists(), reason="tracekit-ai is not installed: make .venv-tracekit/.locked"
)
needs_litewitness = pytest.mark.skipif(
    not (LITEWITNESS and WITNESSCTL and shutil.which("ssh-agent") and shutil.which("ssh-add")),
    reason="litewitness and witnessctl (filippo.io/torchwood), or ssh-agent, are not there",
)
THEIR_LOG = """
import sys
from tracekit import crypto, merkle
from tracekit.format import checkpoint
from tracekit.tlog_witness import TlogWitness, WitnessError

url, vkey, action = sys.argv[1:4]
secret = bytes(range(32))
origin = "tracekit.example.com/log"
log_vkey = checkpoint.vkey(origin, checkpoint.ED25519, crypto.public_from_secret(secret))
if action == "vkey":
    print(log_vkey)
    raise SystemExit
honest = [merkle.leaf_hash(b"%d" % n) for n in range(50)]
forked = honest[:3] + [merkle.leaf_hash(b"forged %d" % n) for n in range(47)]
witness = TlogWitness(url, vkey)

def add(leaves, old, size):
    text = checkpoint.body(origin, size, merkle.root(leaves[:size]))
    note = text + "\\n" + checkpoint.sign(text, origin, secret)
    proof = lambda n: merkle.consistency_proof(n, leaves[:size])
    try:
        return witness.add_checkpoint(note, log_vkey, old, proof).count("\\n")
    except WitnessError as error:
        return str(error)

print(add(honest, 0, 10))
print(add(honest, 10, 30))
print(add(honest, 0, 50))
print(add(forked, 50, 50))
print(add(honest, 0, 20))
"""


class Abroad:
    """A witness of others at a URL, asked by our own cosigner over real HTTP."""

    def __init__(self, ledger: Any, url: str, vkey: str) -> None:
        self.ledger = ledger
        self.key = parse_verifier_key(vkey, COSIGNATURE)
        self.outgoing = Outgoing()
        self.cosigner = Cosigner(
            [Witness("foreign", url, self.key, required=True)],
            checkpoint=self._checkpoint,
            proof=ledger.prover.consistency,
            store=ledger.cosigned,
            post=post_to(self.outgoing),
            clock=lambda: datetime.now(UTC),
            interval_s=0.0,
        )

    async def _checkpoint(self) -> str:
        note: str = await self.ledger.checkpoints.plain()
        return note

    def look(self) -> str:
        """One round; how it ended."""
        before = self._counts()
        self.ledger.loop.run(self.cosigner.look())
        changed = [name for name, count in self._counts().items() if count != before[name]]
        return " ".join(changed)

    @staticmethod
    def _counts() -> dict[str, float]:
        return {
            sample.labels["status"]: sample.value
            for metric in metrics.ledger_cosignatures.collect()
            for sample in metric.samples
            if sample.labels.get("witness") == "foreign"
        }

    def story(self) -> None:
        """Growth is cosigned; what was forgotten is asked for; a rollback and a fork are refused."""
        ledger = self.ledger
        ledger.grow(200, 100)
        assert self.look() == "cosigned"
        ledger.grow(77)
        assert self.look() == "cosigned"
        ledger.sql("DELETE FROM mc.ledger_cosigned")  # its size is asked for: 409
        ledger.grow(3)
        assert self.look() == "cosigned"
        wanted = demand([self.key.text], 1)
        with ledger.client() as client:
            report = verify_log(client, ledger.public, wanted=wanted)
        assert report.verified
        assert report.witnessed is not None
        assert report.witnessed.checkpoint.size == 380
        _rewrite(ledger, 20)
        ledger.grow(5)
        assert self.look() == "forked"
        with ledger.client() as client:
            assert _kinds(verify_log(client, ledger.public, wanted=wanted)) == ["root-differs"]
        _set_back(ledger, 100)
        assert self.look() == "set_back"

    def close(self) -> None:
        self.ledger.loop.run(self.outgoing.close())


def _set_back(ledger: Any, size: int) -> None:
    for table in ("ledger_event", "ledger_id"):
        ledger.sql(f"DELETE FROM mc.{table} WHERE index >= $1", size)
    ledger.sql("TRUNCATE mc.ledger_tile, mc.ledger_checkpoint, mc.ledger_cosigned")
    frontier = Frontier()
    for row in ledger.sql("SELECT leaf_hash FROM mc.ledger_event ORDER BY index"):
        frontier = frontier.append(row["leaf_hash"])
    ledger.sql("UPDATE mc.ledger_head SET size = $1, frontier = $2", size, frontier.to_bytes())
    ledger.restart()


@contextmanager
def _running(*command: str | Path, **more: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


@needs_tracekit
def test_tracekits_witness_cosigns_our_checkpoints_and_refuses_a_fork(ledger, free_ports, tmp_path):
    """It registers a log by its key; from then on it is a C2SP witness as any other."""
    home = tmp_path / "tracekit"
    made = subprocess.run(
        [str(TRACEKIT), "public-witness", "init", "--home", str(home), "--name", "example.com/tk"],
        capture_output=True,
        text=True,
        check=True,
    )
    url = f"http://127.0.0.1:{free_ports}"
    serve = ("public-witness", "serve", "--home", home, "--port", str(free_ports))
    with _running(TRACEKIT, *serve):
        until(lambda: _answers(f"{url}/stats"), what="tracekit serves")

        note = ledger.loop.run(ledger.checkpoints.plain())
        vkey = VerifierKey(log_origin(ledger.region), ED25519, ledger.public).text
        body = {"origin": log_origin(ledger.region), "vkey": vkey, "checkpoint": note}
        assert httpx.post(f"{url}/register", json=body).status_code == 200
        abroad = Abroad(ledger, url, made.stdout.strip())
        try:
            abroad.story()
        finally:
            abroad.close()


@needs_litewitness
def test_litewitness_cosigns_our_checkpoints_and_refuses_a_fork(ledger, free_ports, tmp_path):
    """The witness of the specification's own authors."""
    key = Ed25519PrivateKey.generate()
    pem = tmp_path / "witness.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    pem.chmod(0o600)
    database, origin = str(tmp_path / "w.db"), log_origin(ledger.region)
    vkey = VerifierKey(origin, ED25519, ledger.public).text
    for action in (("add-log",), ("add-key", "-key", vkey)):
        command = [str(WITNESSCTL), action[0], "-db", database, "-origin", origin, *action[1:]]
        subprocess.run(command, check=True, capture_output=True)
    socket = f"{tmp_path}/s"
    own = VerifierKey("example.com/lite", COSIGNATURE, key.public_key())
    with _running("ssh-agent", "-D", "-a", socket):
        until(lambda: Path(socket).exists(), what="ssh-agent listens")
        env = {**os.environ, "SSH_AUTH_SOCK": socket}
        subprocess.run(["ssh-add", str(pem)], env=env, check=True, capture_output=True)
        listed = subprocess.run(
            ["ssh-add", "-l"], env=env, check=True, capture_output=True, text=True
        )
        fingerprint = listed.stdout.split()[1]
        where = f"127.0.0.1:{free_ports}"
        options = ("-db", database, "-name", own.name, "-ssh-agent", socket, "-key", fingerprint)
        with _running(LITEWITNESS, *options, "-listen", where):
            until(lambda: _answers(f"http://{where}/"), what="litewitness serves")
            abroad = Abroad(ledger, f"http://{where}", own.text)
            try:
                abroad.story()
            finally:
                abroad.close()


@contextmanager
def _our_witness(ledger: Any, log: VerifierKey) -> Iterator[tuple[str, VerifierKey]]:
    """The service's own route over HTTP, and the witness's key."""
    key = Ed25519PrivateKey.generate()
    memory = ProcessMemory()
    witness = LogWitness(
        name="example.com/ours",
        key=key,
        logs={log.name: [log]},
        store=PostgresWitnessStore(ledger.pools),
        memory=lambda _: memory,
        clock=lambda: datetime.now(UTC),
    )
    both = Witnessing(cosigner=None, witness=witness, peers=Peers(), outgoing=Outgoing())
    app = Starlette(routes=both.routes(), exception_handlers={PlatformError: answer})
    loop: Loop = ledger.loop
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))

            async def send() -> httpx.Response:
                async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                    return await client.post(self.path, content=body)

            told = loop.run(send())
            self.send_response(told.status_code)
            self.send_header("Content-Type", told.headers["content-type"])
            self.send_header("Content-Length", str(len(told.content)))
            self.end_headers()
            self.wfile.write(told.content)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        yield f"{url}/witness", witness.own


@needs_tracekit
def test_our_witness_cosigns_tracekits_checkpoints_and_refuses_its_fork(ledger):
    """Their client verifies our cosignature, and goes on from the size that our 409 names."""
    python = str(TRACEKIT.with_name("python"))
    vkey = _their(python, "", "", "vkey")
    with _our_witness(ledger, parse_verifier_key(vkey.strip(), ED25519)) as (url, own):
        lines = _their(python, url, own.text, "run").splitlines()
    assert lines[:3] == ["1", "1", "1"]
    assert "HTTP 409" in lines[3] or "HTTP 422" in lines[3]
    assert "past 20" in lines[4]  # a rollback: our 409 named 50


def _their(python: str, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-c", THEIR_LOG, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code < 500
    except httpx.HTTPError:
        return False
