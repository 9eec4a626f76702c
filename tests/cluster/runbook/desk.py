"""The operator's machine: a checkout, the names of the runbook, credentials, and a shell."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster.runbook import ROOT, Entry, entries


class Desk:
    """Runs the runbook's lines as an operator would type them, and keeps which were run.

    In a mount namespace of each line's own stands an `/etc/hosts` with the names that the runbook
    writes: all else about the network is as it is.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], hosts: Mapping[str, str]) -> None:
        self.folder, self.env = folder, dict(env)
        self.entries: dict[str, Entry] = entries()
        self.seen: dict[str, str] = {}  # id -> the state that a test has shown
        self._hosts = folder.parent / "hosts"
        known = Path("/etc/hosts").read_text()
        self._hosts.write_text(known + "".join(f"{ip} {name}\n" for name, ip in hosts.items()))

    def start(self, id: str, fill: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Begin a line, verbatim but for the placeholders that a person fills."""
        text = self.entries[id].text.strip()
        for placeholder, value in (fill or {}).items():
            assert placeholder in text
            text = text.replace(placeholder, value)
        return self.shell(text)

    def run(
        self, id: str, *, fill: Mapping[str, str] | None = None, within_s: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """Run a line to its end."""
        return _ended(self.start(id, fill), within_s)

    def ask(self, command: str, *, within_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run what no line is: ours beside it, or what shows how things stand."""
        return _ended(self.shell(command), within_s)

    def shell(self, text: str) -> subprocess.Popen[str]:
        mounted = 'mount --bind "$0" /etc/hosts && exec bash -c "$1"'
        return subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", mounted, self._hosts, text],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def shown(self, state: str, *names: str) -> None:
        """A test has shown that these lines are in this state; `lines.toml` must say the same."""
        for name in names:
            assert self.entries[name].state == state, f"{name}: {state}"
            self.seen[name] = state


def _ended(process: subprocess.Popen[str], within_s: float) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        stop(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stop(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End a line, and all that it began; what it printed until then."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 15)
    return process.communicate(timeout=30)


def own_address() -> str:
    """A loopback address whose ports nobody else uses: what the runbook names has fixed ports."""
    while True:
        address = ".".join(["127", *(str(random.randint(2, 250)) for _ in range(3))])
        with suppress(OSError), socket.create_server((address, 443)):
            return address


def checkout(folder: Path, origin: Path) -> Path:
    """What the runbook needs of this tree, as a repository with one commit; `origin` is bare."""
    work = folder / "checkout"
    work.mkdir()
    for place in ("scripts", "tools", "out"):
        shutil.copytree(ROOT / place, work / place)
    git = ["git", "-c", "user.name=operator", "-c", "user.email=operator@localhost"]
    subprocess.run([*git, "init", "-q", "--bare", origin], check=True)
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("commit", "-qm", "As released"),
        ("remote", "add", "origin", str(origin)),
    ):
        subprocess.run([*git, *words], cwd=work, check=True)
    return work


@contextmanager
def tls_edge(address: str, context: ssl.SSLContext, upstream: tuple[str, int]) -> Iterator[None]:
    """What an ingress does: TLS ends here, and each connection goes on to a Service."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there_reader, there = await asyncio.open_connection(*upstream)
            await asyncio.gather(_pump(reader, there), _pump(there_reader, writer))

    async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        with suppress(OSError):
            target.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, address, 443, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        server.close()
        loop.close()
