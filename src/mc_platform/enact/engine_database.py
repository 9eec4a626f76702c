"""The engine's schema, and its voice: what must be set up around DBOS, kept out of the engine.

The schema is made by the owner (`python -m mc_platform migrate`); the service's role may use it and
never alter it.
"""

from __future__ import annotations

import logging

from dbos import DBOS

from mc_platform.errors import Unavailable

SCHEMA = "dbos"


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


def quiet_engine_logs() -> None:
    """Send the engine's log lines to standard logging, warnings and worse only.

    The engine installs a console handler of its own, and stops propagation, unless a handler is
    there already: hence the handler that does nothing.
    """
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.WARNING)
    logger.propagate = True
