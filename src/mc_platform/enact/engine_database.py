"""The engine's schema, connections and log: what must be set up around DBOS, kept out of the engine.

The schema is made by the owner (`python -m mc_platform migrate`); the service's role may use it and
never alter it.
"""

from __future__ import annotations

import logging
import select
from typing import Any

import sqlalchemy
from dbos import DBOS

from mc_platform.errors import Misconfigured, Unavailable

SCHEMA = "dbos"
_CONNECT_TIMEOUT_S = 10
_WAIT_FOR_CONNECTION_S = 30.0
_IDLE_IN_TRANSACTION_MS = 4000


def open_pool(database_url: str, *, application_name: str, connections: int) -> sqlalchemy.Engine:
    """The engine's connections; none is made yet.

    Before a connection is used its socket is looked at: what the server has closed is replaced. DBOS's
    own pool asks the server instead, which doubles its round trips.

    Args:
        database_url: `postgresql://` URL of the service's role.
        application_name: As `pg_stat_activity` shows it.
        connections: How many there may be. At least 2: one job of DBOS holds one while it uses another.

    Raises:
        Misconfigured: the URL cannot be read.
    """
    try:
        url = sqlalchemy.make_url(database_url).set(drivername="postgresql+psycopg")
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise Misconfigured(f"MC_DATABASE_URL is not usable: {type(error).__name__}") from error
    engine = sqlalchemy.create_engine(
        url,
        pool_size=max(2, connections),
        max_overflow=0,
        pool_timeout=_WAIT_FOR_CONNECTION_S,
        pool_use_lifo=True,
        connect_args={
            "application_name": application_name,
            "connect_timeout": _CONNECT_TIMEOUT_S,
        },
    )
    sqlalchemy.event.listen(engine, "connect", _bound_transactions)
    sqlalchemy.event.listen(engine, "checkout", _require_open)
    return engine


def _bound_transactions(connection: Any, _record: object) -> None:
    """A paused replica must not keep its row locks: the server ends a transaction that is idle."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_IN_TRANSACTION_MS}")
    connection.commit()


def _require_open(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection on which the server has said something: only a farewell."""
    look = select.poll()
    if not connection.closed:
        look.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        if not look.poll(0):
            return
    raise sqlalchemy.exc.DisconnectionError


def migrate_engine(admin_database_url: str, service_role: str, *, schema: str = SCHEMA) -> None:
    """Create or update the engine's schema and grant the service's role the use of it.

    Grants: USAGE on the schema, all privileges on its tables and sequences, EXECUTE on its
    functions, and the same by default for objects that a later migration adds. Repeating it is
    harmless.

    Args:
        admin_database_url: `postgresql://` URL of the role that owns the schema (it needs CREATE
            on the database).
        service_role: Existing role under which the service runs; not a superuser.
        schema: The engine's schema.

    Raises:
        Unavailable: the database cannot be reached or refuses; nothing of the URL is in the text.
    """
    quiet_engine_logs()
    try:
        DBOS.migrate(admin_database_url, schema=schema, application_role=service_role)
    except Exception as error:
        raise Unavailable(
            f"engine schema {schema!r} cannot be migrated: {type(error).__name__}",
            hint="check that the admin role may create schemas and that the service role exists",
        ) from error


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line tells anything: that an operation was begun before does not, as its id is for that.

    A message that is repeated while its operation is about to begin begins it as well. If the first found a
    free slot and the repeat has to queue, or the other way round, the engine warns that the queues differ.
    """
    return "Workflow already exists in queue" not in record.getMessage()


def quiet_engine_logs() -> None:
    """Send the engine's log lines to standard logging, warnings and worse only.

    The engine installs a console handler of its own, and stops propagation, unless a handler is
    there already: hence the handler that does nothing.
    """
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.addFilter(_is_news)
    logger.setLevel(logging.WARNING)
    logger.propagate = True
