"""Certificates for tests, and a way to speak TLS with a PostgreSQL that has none."""

from __future__ import annotations

import asyncio
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_certificates(folder: Path) -> None:
    """`ca.crt`, `server.crt` and `server.key` for the name `localhost` alone; and another CA, `other.crt`."""
    for name in ("ca", "other"):
        _openssl(
            *("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"),
        )
    _openssl(
        *("req", *_KEY, "-subj", "/CN=localhost"),
        *("-keyout", folder / "server.key", "-out", folder / "server.csr"),
    )
    extension = folder / "server.ext"
    extension.write_text("subjectAltName=DNS:localhost\n")
    _openssl(
        *("x509", "-req", "-days", "2", "-CAcreateserial", "-in", folder / "server.csr"),
        *("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"),
        *("-extfile", extension, "-out", folder / "server.crt"),
    )


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


@dataclass
class TlsInFront:
    """What stands in front of a server, and how many came with and without TLS."""

    port: int = 0
    with_tls: int = 0
    without: list[bytes] = field(default_factory=list)


@contextmanager
def tls_in_front(upstream: int, certificates: Path) -> Iterator[TlsInFront]:
    """A PostgreSQL on a port of its own that refuses whoever asks for no TLS, and hands on all else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    seen = TlsInFront()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(8)
            if first != _SSL_REQUEST:
                seen.without.append(first)
                writer.close()
                return
            writer.write(b"S")
            await writer.drain()
            await writer.start_tls(context)
            seen.with_tls += 1
            there_reader, there = await asyncio.open_connection("127.0.0.1", upstream)
            await asyncio.gather(_pump(reader, there), _pump(there_reader, writer))

    async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        with suppress(OSError):
            target.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    seen.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        server.close()
