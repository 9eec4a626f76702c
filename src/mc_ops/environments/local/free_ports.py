"""Whether a port is free, and who has it if not."""

from __future__ import annotations

import contextlib
import socket

import psutil

from mc_ops.environments.workspace import HOST
from mc_ops.errors import UnusableInput


def require_free_port(name: str, port: int) -> None:
    """See that `port` can be bound, before anything is started.

    Raises:
        UnusableInput: it is taken; the message says by whom, if the system tells.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            owner, home = _owner_of(port)
            stop = (
                f"stop that platform (MC_HOME={home} mcctl down)" if home else "stop that process"
            )
            raise UnusableInput(
                f"port {port}, wanted for {name}, is taken by {owner}",
                hint=f"{stop}, or set MC_EDGE_PORT to another range",
            ) from error


def _owner_of(port: int) -> tuple[str, str | None]:
    """Who listens on `port`, in words, and the `MC_HOME` of the platform that it belongs to."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            listening = connection.status == psutil.CONN_LISTEN
            if listening and address and address.port == port and connection.pid:
                return _described(psutil.Process(connection.pid), port)
    return "another process", None


def _described(process: psutil.Process, port: int) -> tuple[str, str | None]:
    words = f"{process.name()} (pid {process.pid})"
    with contextlib.suppress(psutil.Error, OSError):
        env = process.environ()
        home = env.get("MC_HOME")
        if home and env.get("MC_PORT") == str(port):
            what = "the edge" if "MC_EDGE_STATE_FILE" in env else "a process"
            return f"{what} of an MC Platform, MC_HOME={home}: {words}", home
    return words, None
