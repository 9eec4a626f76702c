"""`mcctl canary serve`: the judge for Argo Rollouts and Flagger."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from mc_contract.numbers import counted
from mc_ops.cli.operator_access import read_token_file
from mc_ops.cli.options import Verbs, Whole
from mc_ops.cli.output import note
from mc_ops.environments import Workspace
from mc_ops.errors import CouldNotTell, NotAllowed

app = Verbs()
_LEAST_TOKEN = 32


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="TOML file with the comparisons that may be asked.")],
    token_file: Annotated[
        Path, typer.Option(help="File with the token of callers, at least 32 characters.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[Whole, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8090,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Folder of the comparisons; default: MC_HOME/comparisons."),
    ] = None,
) -> None:
    """Answer Argo Rollouts and Flagger with the verdicts of comparisons, until interrupted."""
    import asyncio

    from mc_ops.canary.serve import configuration
    from mc_ops.canary.serve.comparisons import Comparisons
    from mc_ops.canary.serve.server import Judge
    from mc_ops.canary.serve.server import serve as answer

    known = configuration.read(config)

    def token() -> str:
        found = read_token_file("--token-file", token_file)
        if len(found) < _LEAST_TOKEN:
            raise NotAllowed(
                f"--token-file {token_file} holds fewer than {_LEAST_TOKEN} characters",
                hint="openssl rand -hex 32",
            )
        return found

    token()
    folder = directory or Workspace.from_env().home / "comparisons"
    mcctl = (str(Path(sys.executable).with_name("mcctl")),)  # of this very installation

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        judge = Judge(Comparisons(known, folder, command=mcctl), token)
        note(f"canary: {counted(len(known), 'comparison')} at http://{host}:{port}")
        await answer(judge, host=host, port=port, stop=stop)

    try:
        asyncio.run(run())
    except OSError as error:
        raise CouldNotTell(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another --port"
        ) from error
