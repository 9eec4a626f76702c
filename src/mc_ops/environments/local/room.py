"""Whether the database has connections for as many replicas as are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from mc_contract import connections
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_json_object

_TIMEOUT_S = 5


def require_room(layout: Layout, replicas: Sequence[str], asked_for: int) -> None:
    """Refuse what would leave replicas without connections: those that start die, or those that run.

    Args:
        layout: Whose database it is.
        replicas: All that would run, by name, those of other colours too.
        asked_for: How many of them are asked for now.

    Raises:
        UnusableInput: they do not fit.
        CouldNotTell: the database does not answer.
    """
    server = read_server(layout, replicas)
    if len(replicas) <= server.fitting:
        return
    beside = len(replicas) - asked_for
    most = max(0, server.fitting - beside)
    others = f" beside the {beside} of other colours" if beside else ""
    raise UnusableInput(
        f"{asked_for} replicas do not fit the database{others}: {most} do, with at most "
        f"{connections.PER_REPLICA} connections each (max_connections {server.most}, "
        f"{server.reserved} reserved, {server.others} used by others)",
        hint=f"ask for at most {most}, or set max_connections to {server.required(len(replicas))} "
        "or more and restart PostgreSQL; docs/how-to/connections.md",
    )


def read_server(layout: Layout, replicas: Sequence[str]) -> connections.Server:
    """What the server has and who has it, the connections of `replicas` apart.

    Raises:
        CouldNotTell: it does not answer.
    """
    url = (read_json_object(layout.secret("database.json")) or {}).get("service_url")
    if not url:
        raise CouldNotTell("no service URL in secrets/database.json", hint="mcctl up")
    try:
        with psycopg.connect(str(url), connect_timeout=_TIMEOUT_S) as connection:
            cursor = psycopg.RawCursor(connection)
            row = cursor.execute(connections.COUNT, (list(replicas),)).fetchone()
    except psycopg.Error as error:
        raise CouldNotTell(
            f"the database's connections cannot be counted: {type(error).__name__}",
            hint="mcctl status",
        ) from error
    assert row is not None
    return connections.Server(*row)
