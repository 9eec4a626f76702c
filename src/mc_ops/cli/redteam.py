"""`mcctl redteam privacy`: attack a running platform over HTTP, and say how sure the result is.

stdout is the result, progress goes to stderr. Exit 0: the targets are met, 1: they are not, 2: usage,
3: could not tell (too few cases, too many that were no trial, the platform down), 4: no credentials.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from mc_contract.numbers import counted
from mc_ops import exit_codes
from mc_ops import redteam as room
from mc_ops.cli.cutover import token_shown_to
from mc_ops.cli.operator_access import is_here
from mc_ops.cli.options import EnvOption, Verbs, Whole
from mc_ops.cli.output import Format, OutputOption, emit_json, note, stdout
from mc_ops.cli.progress import ProgressLine
from mc_ops.environments import Environment, Workspace, credentials, open_environment
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput

if TYPE_CHECKING:
    from mc_contract.running import Facts

CREDENTIALS_FILE = "MC_CREDENTIALS_FILE"
_ATTACKERS = ("TENANT_001", "TENANT_002", "TENANT_003")
_READER = "AUDITOR"  # may read the metrics of a target where strangers may not
_SAMPLE = "records-agent"  # the one that can be made to say anything
_MOST_CASES = 20_000
# As in mc_ops.redteam, which is slow to load
DEFAULT_ATTACKS, DEFAULT_BENIGN, DEFAULT_WORDINGS = 2400, 2000, 200
_VERDICTS = {
    True: ("green", "✔", "met", exit_codes.OK),
    False: ("red", "✘", "not met", exit_codes.FINDING),
    None: ("yellow", "?", "could not tell", exit_codes.COULD_NOT_TELL),
}

app = Verbs()


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def privacy(
    target: Annotated[
        str | None,
        typer.Option("--target", "--url", help="URL of the platform; default: that of --env."),
    ] = None,
    scenarios: Annotated[
        str, typer.Option("--scenarios", help="Attack families, separated by commas, or `all`.")
    ] = "all",
    attacks: Annotated[
        Whole,
        typer.Option(
            "--attacks", min=0, max=_MOST_CASES, help="Number of attacks over all families."
        ),
    ] = DEFAULT_ATTACKS,
    benign: Annotated[
        Whole, typer.Option("--benign", min=0, max=_MOST_CASES, help="Number of harmless cases.")
    ] = DEFAULT_BENIGN,
    wordings: Annotated[
        Whole,
        typer.Option(
            "--wordings",
            min=0,
            max=_MOST_CASES,
            help="Number of prompt injections that differ in wording only.",
        ),
    ] = DEFAULT_WORDINGS,
    corpus: Annotated[
        list[Path] | None,
        typer.Option("--corpus", help="File with more cases (JSON lines); repeatable."),
    ] = None,
    seed: Annotated[
        Whole | None,
        typer.Option("--seed", min=0, help="Seed of an earlier run, to repeat its cases."),
    ] = None,
    agent_url: Annotated[
        str | None,
        typer.Option(
            "--agent-url",
            envvar="MC_REDTEAM_AGENT_URL",
            help="URL of the sample agent that plays the compromised agent.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output folder; default: a new one in MC_HOME/runs."),
    ] = None,
    env: EnvOption = "local",
    output: OutputOption = Format.table,
) -> None:
    """Run attacks and harmless cases; print block rates with 95 % confidence bounds.

    An attack counts as blocked only if a control acted and the value leaked in no channel.
    """
    families = _families(scenarios)
    outside = [case for file in corpus or [] for case in room.read_corpus(file)]
    room.refuse_repeats(outside)
    size = room.Size(
        seed=secrets.randbelow(2**31) if seed is None else seed,
        families=families,
        attacks=attacks,
        benign=benign,
        wordings=wordings,
        outside=tuple(outside),
    )
    away = None if env == "local" else open_environment(env)
    workspace = away.workspace if away else Workspace.from_env()
    home = away.url if away else workspace.url
    url = target or home
    home_is_target = away is None and _same_place(url, home)
    tokens, reader = _tokens(url, home, workspace)
    folder = out or workspace.runs / f"redteam-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" / "redteam"
    room.prepare(folder)
    cases = size.cases()
    note(f"red-team: {counted(len(cases), 'case')} against {escape(url)}, seed {size.seed}")
    import asyncio

    # Behind a Service one replica answers, and then another, and tells strangers little
    behind = away if url == home else None
    before = _looked(behind)
    result = asyncio.run(
        _attack(
            url,
            cases,
            tokens=tokens,
            reader=reader,
            agent_url=agent_url or _sample_agent(behind or (home_is_target and open_environment())),
            watch=room.Watch(room.watched(workspace.home) if home_is_target else {}),
        )
    )
    after = _looked(behind)
    told = room.report(result, size, url, (before, after) if before and after else None)
    room.write(folder, told, result.rows)
    colour, icon, word, code = _VERDICTS[told["met"]]
    if output is Format.json:
        emit_json({**told, "files": str(folder)})
    else:
        for line in room.lines(told):
            stdout.print(line, markup=False)
        stdout.print(f"[{colour}]{icon} {word}[/{colour}] (seed {size.seed})")
        stdout.print(f"files       {folder}", markup=False)
    raise typer.Exit(code)


async def _attack(
    url: str,
    cases: Sequence[room.Case],
    *,
    tokens: dict[str, str],
    reader: str | None,
    agent_url: str | None,
    watch: room.Watch,
) -> room.Result:
    target = room.Target(url, tokens=tokens, agent_url=agent_url, reader=reader)
    progress = ProgressLine("red-team", "cases")
    try:
        return await room.run(target, cases, watch, progress.count)
    finally:
        progress.end()
        await target.close()


def _sample_agent(environment: Environment | Literal[False]) -> str | None:
    """The one that belongs to the target, if that has sample agents."""
    try:
        return environment.neighbour_url(_SAMPLE) if environment else None
    except UnusableInput:
        return None


def _looked(environment: Environment | None) -> Sequence[Facts]:
    """What the replicas that serve run; empty where that cannot be told."""
    if environment is None:
        return ()
    from mc_ops.service_client.running import look

    urls = [one.url for one in environment.instances(environment.active_colour())]
    try:
        return look({"target": urls}, token_shown_to(environment))["target"]
    except CouldNotTell:
        return ()


def _families(scenarios: str) -> tuple[room.Family, ...]:
    if scenarios == "all":
        return room.FAMILIES
    names = [name.strip() for name in scenarios.split(",") if name.strip()]
    unknown = [name for name in names if name not in room.BY_NAME]
    if unknown or not names:
        raise UnusableInput(
            f'unknown scenario "{(unknown or [""])[0][:80]}"',
            hint=f"known: {', '.join(room.BY_NAME)}, all",
        )
    return tuple(room.BY_NAME[name] for name in dict.fromkeys(names))


def _tokens(url: str, home: str, workspace: Workspace) -> tuple[dict[str, str], str | None]:
    """The attackers' credentials, and one that may read metrics if there is one.

    Those of the workspace's platform go nowhere else.
    """
    if name := os.environ.get(CREDENTIALS_FILE):
        return _read(Path(name))
    if url != home and not is_here(url):
        raise NotAllowed(
            f"no credentials for {url[:200]}",
            hint=f'set {CREDENTIALS_FILE} to a file of {{"TENANT_001": {{"token": "..."}}, ...}}',
        )
    reader = (credentials.read(workspace) or {}).get(_READER)
    tokens = {name: credentials.tenant_token(workspace, name) for name in _ATTACKERS}
    return tokens, reader.token if reader else None


def _read(path: Path) -> tuple[dict[str, str], str | None]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        reader = known.get(_READER, {}).get("token")
        return {name: str(known[name]["token"]) for name in _ATTACKERS}, reader
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAllowed(
            f"{CREDENTIALS_FILE} {path} cannot be used ({type(error).__name__})",
            hint=f"it must hold a token each for {', '.join(_ATTACKERS)}",
        ) from error


def _same_place(url: str, local: str) -> bool:
    """Whether a URL means the local platform, whose files and agents can then be looked at."""
    port = local.rsplit(":", 1)[-1]
    return is_here(url) and url.rstrip("/").endswith(f":{port}")
