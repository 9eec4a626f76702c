"""MC_DATABASE_URL with verified TLS, against a PostgreSQL that has a certificate.

The embedded server has no TLS; an installed one of any version shows how the three drivers connect.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg
import psycopg
import pytest
import sqlalchemy
from tests import ports
from tests.tls import make_certificates

from mc_platform.adapters.postgres.migrate import administrator, database_url
from mc_platform.enact.engine_database import open_pool
from mc_platform.errors import Misconfigured

pytestmark = pytest.mark.slow
_SSL = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def _binaries():
    found = shutil.which("postgres")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((one for one in candidates if (one / "initdb").exists()), None)


@pytest.fixture(scope="module")
def server():
    """The folder of certificates and the port of a server that speaks TLS alone."""
    binaries = _binaries()
    if binaries is None or not shutil.which("openssl"):
        pytest.skip("no PostgreSQL with TLS is installed (package postgresql), or no openssl")
    as_user = {"user": "nobody"} if os.geteuid() == 0 else {}
    with (
        tempfile.TemporaryDirectory(prefix="mc-tls-", ignore_cleanup_errors=True) as name,
        ports.free_block() as port,
    ):
        folder = Path(name)
        folder.chmod(0o777)
        make_certificates(folder)
        (folder / "password").write_text("secret")
        for path in folder.iterdir():
            path.chmod(0o644)
            if as_user:
                shutil.chown(path, as_user["user"])
        (folder / "server.key").chmod(0o600)
        data = folder / "data"
        initdb = [binaries / "initdb", "-D", data, "-U", "boss", "-A", "scram-sha-256"]
        initdb += [f"--pwfile={folder}/password", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, timeout=120, cwd="/", **as_user)
        (data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": folder / "server.crt",
            "ssl_key_file": folder / "server.key",
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *flags], stderr=subprocess.PIPE, cwd="/", **as_user
        )
        try:
            assert any(b"ready to accept connections" in line for line in process.stderr)
            yield folder, port
        finally:
            process.terminate()
            process.wait(60)


def _url(server, host="localhost", ca="ca", mode="verify-full"):
    folder, port = server
    return f"postgresql://boss:secret@{host}:{port}/postgres?sslmode={mode}&sslrootcert={folder}/{ca}.crt"


async def _asyncpg(url):
    """As the pools of the service connect."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(_SSL)
    finally:
        await connection.close()


async def _engine(url):
    """As the operation engine connects."""
    engine = open_pool(url, application_name="t", connections=2)
    try:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text(_SSL)).scalar()
    finally:
        engine.dispose()


async def _lease(url):
    """As the lease of operations connects."""
    with psycopg.connect(url) as connection:
        return connection.execute(_SSL).fetchone()[0]


async def _administrator(url):
    """As a migration connects, to the server and to the database of its URL."""
    async with administrator(database_url(url, "postgres")) as connection:
        return await connection.fetchval(_SSL)


CONNECT = [_asyncpg, _engine, _lease, _administrator]
REFUSED = (
    OSError,  # ssl.SSLError among them
    asyncpg.PostgresError,
    psycopg.OperationalError,
    sqlalchemy.exc.OperationalError,
    Misconfigured,
)


@pytest.mark.parametrize("connect", CONNECT)
async def test_a_verified_server_is_spoken_to_over_tls(server, connect):
    """`sslmode=verify-full` with the CA's file connects, and the server says that it is TLS."""
    assert await connect(_url(server)) is True


@pytest.mark.parametrize("connect", CONNECT)
@pytest.mark.parametrize(
    "wrong", [{"ca": "other"}, {"host": "127.0.0.1"}, {"mode": "disable"}], ids=str
)
async def test_what_is_not_that_server_is_refused(server, connect, wrong):
    """Another CA, another name than the certificate's, or no TLS at all: nobody connects."""
    with pytest.raises(REFUSED):
        await connect(_url(server, **wrong))
