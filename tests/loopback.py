"""HTTP servers of tests on loopback, at ports that the system gives, and certificates for them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Of method, path, body (None: there was none) and `Authorization`: a status and what is answered
AnswerJson = Callable[[str, str, Any, str], tuple[int, Any]]


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler],
    tls: ssl.SSLContext | None = None,
    address: tuple[str, int] = ("127.0.0.1", 0),
) -> Iterator[str]:
    """Serve, each request in a thread of its own; gives the URL without a path."""
    server = ThreadingHTTPServer(address, handler)
    if tls:  # each connection shakes hands in its own thread
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    # It looks that often whether it shall end
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://{address[0]}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving_text(answer: Callable[[str], str]) -> Iterator[str]:
    """Serve GET with what `answer` gives of a path, as metrics are; gives the URL without a path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = answer(self.path).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as url:
        yield url


@contextmanager
def serving_json(answer: AnswerJson) -> Iterator[str]:
    """Serve GET and POST with what `answer` gives, as JSON; gives the URL without a path."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            authorization = self.headers.get("Authorization", "")
            status, told = answer(self.command, self.path, body, authorization)
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815 - the standard library's names

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler) as url:
        yield url


def until_answers(url: str, child: subprocess.Popen[Any], *, within_s: float = 120.0) -> None:
    """Wait until a child that was started answers there, whatever it says.

    Raises:
        AssertionError: it ended, or does not answer.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError as error:
            assert child.poll() is None, f"{child.args}: ended"
            assert time.monotonic() < deadline, f"{url}: {error}"
            time.sleep(0.05)
        else:
            return


def certificate(
    folder: Path, *, days: int = 1, host: str = "127.0.0.1", names: Sequence[str] = ()
) -> tuple[ssl.SSLContext, Path]:
    """One that signed itself, for a server's context, and the file of whoever shall trust it.

    It expires in `days` and an hour; before today where that is negative.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's own CA")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=90))
        .not_valid_after(now + dt.timedelta(days=days, hours=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(host)), *map(x509.DNSName, names)]
            ),
            False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / "ca.pem", folder / "key.pem"
    crt.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, pem)
    return context, crt
