"""How `slo`, `health`, `cost`, `delta` and `policy trend` reach their figures and print them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mc_ops import exit_codes
from mc_ops.cli.operator_access import read_token_file
from mc_ops.cli.options import EnvOption, OptionGroup, Whole
from mc_ops.cli.output import Format, OutputOption, columns, indented, styled, warn
from mc_ops.environments import Workspace, open_environment
from mc_ops.errors import UnusableInput

if TYPE_CHECKING:
    from rich.text import Text

    from mc_ops.service_client import PrometheusClient
    from mc_ops.slo import Figure, Prices, Source, Verdict, Window

PROMETHEUS_TOKEN_FILE = "MC_PROMETHEUS_TOKEN_FILE"  # noqa: S105 - the name of a variable
SCRAPE_TOKEN_FILE = "MC_SCRAPE_TOKEN_FILE"  # noqa: S105 - likewise
PRICES_FILE = "MC_PRICES_FILE"
LOCAL = "local"
_INDENT, _WIDTH = 12, 100

PrometheusOption = Annotated[
    str | None,
    typer.Option(
        "--prometheus", help="URL of a Prometheus server to query; allows past time windows."
    ),
]
ScrapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scrape",
        help="URL of a replica to read metrics from; repeatable; default: all local replicas.",
    ),
]
OverOption = Annotated[
    str | None,
    typer.Option(
        "--over", help="Read the replicas twice, this far apart (10s), and use the difference."
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        help="Time window for all targets, such as 24h; needs --prometheus; default: each target's own.",
    ),
]
AllowFewOption = Annotated[
    bool,
    typer.Option(
        "--allow-few", help="Ignore targets with no or too few events, instead of exit 3."
    ),
]
LeastOption = Annotated[
    Whole | None,
    typer.Option(
        "--min-replicas",
        min=1,
        help="Minimum number of replicas; default: 1 for local, 3 elsewhere.",
    ),
]
PricesOption = Annotated[
    Path | None,
    typer.Option(
        "--prices", help="TOML file with prices and cost targets; see docs/reference/slo.md."
    ),
]
RedteamOption = Annotated[
    Path | None,
    typer.Option(
        "--redteam", help="Red-team run or its folder; default: the newest in MC_HOME/runs."
    ),
]


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OptionGroup):
    """Where a verb's figures come from, and how they are printed."""

    prometheus: PrometheusOption = None
    scrape: ScrapeOption = None
    over: OverOption = None
    env: EnvOption = LOCAL
    output: OutputOption = Format.table

    def open(self) -> AbstractContextManager[Source]:
        """As `open_source`."""
        return open_source(self.prometheus, self.scrape, self.over, env=self.env)


@dataclass(frozen=True, kw_only=True)
class FigureOptions(SourceOptions):
    """The options of a verb that judges figures."""

    window: WindowOption = None
    allow_few: AllowFewOption = False

    def asked(self) -> Window | None:
        """As `parse_window`."""
        return parse_window(self.window, self.prometheus)


@contextmanager
def open_source(
    prometheus: str | None, scrape: Sequence[str] | None, over: str | None, *, env: str
) -> Iterator[Source]:
    """The source that the options name; without any it is the local platform's replicas.

    Raises:
        UnusableInput: the options contradict each other, or a URL is none.
        CouldNotTell, NotAllowed: it does not answer, or not us.
    """
    from mc_ops.slo import PrometheusSource, ScrapeSource, Window

    if prometheus is not None and (scrape or over):
        raise UnusableInput("--prometheus and --scrape or --over exclude each other")
    if prometheus is not None:
        with prometheus_client(prometheus) as client:
            yield _warned(PrometheusSource(client))
        return
    over_s = None if over is None else Window.parse(over).seconds
    known, dead = replicas(scrape, env=env), dead_replicas(scrape, env=env)
    yield _warned(ScrapeSource(known, missing=dead, over_s=over_s))


def _warned(source: Source) -> Source:
    for name in source.unread:
        warn(f"{escape(name)} does not answer; what it counted is in no figure")
    return source


def parse_window(text: str | None, prometheus: str | None) -> Window | None:
    """The window that was asked for.

    Raises:
        UnusableInput: it is none, or the replicas are the source, which have no windows.
    """
    if text is None:
        return None
    if prometheus is None:
        raise UnusableInput(
            "--window needs --prometheus: replicas count since their start only",
            hint="name a Prometheus server, or use --over 10s, which reads the replicas twice",
        )
    from mc_ops.slo import Window

    return Window.parse(text)


def replicas(scrape: Sequence[str] | None, *, env: str) -> dict[str, str]:
    """Each replica's name and URL: those that are named, else the living ones of both colours.

    Both, because one replica of a region ships to the SIEM for all, whatever its colour.
    """
    if scrape:
        return {_name(url): url for url in scrape}
    environment = open_environment(env)
    if environment.name == "kubernetes" and environment.workspace.scrape_token.is_file():
        # Replicas elsewhere show their metrics to whoever has the platform's own credential
        os.environ.setdefault(SCRAPE_TOKEN_FILE, str(environment.workspace.scrape_token))
    return {one.name: one.url for one in environment.instances()}


def dead_replicas(scrape: Sequence[str] | None, *, env: str) -> tuple[str, ...]:
    """Replicas that were started and are gone; none are known of those that --scrape names."""
    if scrape:
        return ()
    dead = open_environment(env).status().dead
    return tuple(one.name for one in dead if one.colour is not None)


def least_replicas(least: int | None, env: str) -> int:
    """The fewest replicas that are enough: the HPA's minimum, one on a laptop."""
    from mc_ops.slo import targets

    return least or (1 if env == LOCAL else targets.LEAST_REPLICAS)


def prices(path: Path | None) -> Prices | None:
    """The prices that are named by --prices or `MC_PRICES_FILE`; None if none are.

    Raises:
        UnusableInput: the file cannot be used.
    """
    from mc_ops.slo import read_prices

    name = path or os.environ.get(PRICES_FILE)
    return read_prices(Path(name)) if name else None


def privacy(redteam: Path | None) -> Figure:
    """The privacy block rate of the red-team that is named, or the newest."""
    from datetime import UTC, datetime

    from mc_ops.slo import block_rate, newest

    folder = redteam
    if folder is None:
        folder = newest(Workspace.from_env().runs)
    else:
        folder = Workspace.from_env().run_folder(folder)
    if folder and not (folder / "redteam.json").is_file() and (folder / "redteam").is_dir():
        folder = folder / "redteam"  # a run's folder
    return block_rate(folder, now=datetime.now(UTC))


def exit_code(verdict: Verdict, figures: Iterable[Figure], *, allow_few: bool) -> int:
    """0 met, 1 missed, 3 could not tell; 0 as well where `allow_few` asks and only events are lacking."""
    unknown = [one for one in figures if one.verdict.value == "unknown"]
    if allow_few and verdict.value == "unknown" and unknown and all(one.few for one in unknown):
        return exit_codes.OK
    return {"met": exit_codes.OK, "missed": exit_codes.FINDING}.get(
        verdict.value, exit_codes.COULD_NOT_TELL
    )


_MARKS = {
    "met": "[green]✔ met[/green]",
    "missed": "[red]✘ missed[/red]",
    "unknown": "[yellow]? unknown[/yellow]",
    "not-applicable": "[dim]- n/a[/dim]",
}


def figure_lines(sections: Mapping[str, Sequence[Figure]]) -> Iterator[str | Text]:
    """A line for each figure, and what there is to say of it beneath, never cut short.

    Args:
        sections: The figures beneath their heading; a section without a name has none.
    """
    from mc_ops.slo import shown

    rows = [
        (
            styled(_MARKS[one.verdict.value]),
            one.title,
            shown(one.value, one.unit),
            one.target,
            one.window,
        )
        for figures in sections.values()
        for one in figures
    ]
    lines = iter(columns(rows, right=[2]))
    for title, figures in sections.items():
        if title:
            yield from ("", styled(f"[bold]{escape(title)}[/bold]"))
        for one in figures:
            yield next(lines)
            for text in _beneath(one):
                yield from indented(text, _INDENT, _WIDTH)


def _beneath(one: Figure) -> list[str]:
    said = [one.reason] if one.reason else []
    if one.bounds:
        low, high = one.bounds
        said.append(f"95 % bounds of the share: {low:.2%} and {high:.2%}")
    if statuses := one.detail.get("by_status"):
        counts = (f"{count:,.0f} {name}" for name, count in statuses.items() if count)
        said += [counted] if (counted := ", ".join(counts)) else []
    if one.budget and one.events is not None:
        budget = one.budget
        said.append(
            f"budget {budget.allowed:.3%} of {one.events:,.0f} events: {budget.bad:,.0f} bad,"
            f" {_left(budget.left)} left, burn rate {budget.burn_rate:.2f}"
        )
    return said


def _left(count: float) -> str:
    """How many are left; whole where that is precise enough."""
    return f"{count:,.1f}" if abs(count) < 10 else f"{count:,.0f}"


def verdict_line(verdict: Verdict) -> Text:
    """The last line of a table: the verdict over all."""
    judged = verdict.value in ("met", "missed")
    return styled(_MARKS[verdict.value] if judged else "[yellow]? could not tell[/yellow]")


def source_json(source: Source) -> Mapping[str, object]:
    """What a result says of where its figures came from."""
    return {"kind": source.name, "unread": list(source.unread)}


def _name(url: str) -> str:
    import httpx

    try:
        parts = httpx.URL(url)
        usable = parts.scheme in ("http", "https") and bool(parts.host)
    except (ValueError, httpx.InvalidURL):  # the host's letters are read by `host` alone
        usable = False
    if not usable:
        raise UnusableInput(f'not a URL: "{url[:200]}"', hint="for example http://127.0.0.1:8101")
    if parts.userinfo:
        raise UnusableInput(
            "a replica's URL must have no user or password; "
            "the scrape credential is in the file that MC_SCRAPE_TOKEN_FILE names"
        )
    if parts.query or parts.fragment:
        raise UnusableInput(
            f'a replica\'s URL must have no query or fragment: "{url[:200]}"',
            hint="/metrics is appended to it",
        )
    place = f"{parts.host}:{parts.port}" if parts.port else parts.host
    return place + parts.path.rstrip("/")


def prometheus_client(url: str) -> PrometheusClient:
    """A client with the bearer token in the file that `MC_PROMETHEUS_TOKEN_FILE` names, if any.

    Raises:
        NotAllowed: the file cannot be read, or does not hold a token alone.
        UnusableInput: the URL cannot be used.
    """
    from mc_ops.service_client import PrometheusClient

    name = os.environ.get(PROMETHEUS_TOKEN_FILE)
    token = read_token_file(PROMETHEUS_TOKEN_FILE, Path(name)) if name else None
    return PrometheusClient(url, token=token, told=lambda text: warn(escape(text)))
