"""Which comparisons may be asked for: a TOML file, and the command line that each one is.

A caller names a comparison of the file and nothing else: no URL, query or length comes from outside,
except that `{run}` in a selector is the caller's own word for what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mc_contract.configuration import (
    FileProblems,
    Form,
    HttpUrl,
    Several,
    Strict,
    Text,
    Word,
    among,
    check,
    toml_of,
)
from mc_ops.canary import metrics, plan
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited

PAIRS, METRICS = "pairs", "metrics"
RUN = "{run}"
_LARGEST_BYTES = 256 * 1024
_Minutes = Annotated[float, Field(gt=0, le=24 * 60), Form("minutes, up to a day")]


class Comparison(Strict):
    """One comparison.

    Attributes:
        kind: `pairs`: the same requests are sent to both sides, and judged as `mcctl canary run`
            does. `metrics`: what Prometheus has of both sides over `minutes` from the first
            question on, judged once, when they are over.
        baseline, candidate: URLs of instances; of `pairs`.
        metrics: File with rules for metrics; of `pairs` only if they count, too.
        valid_minutes: For how long a verdict is given to whoever asks again; later a new
            comparison begins.
    """

    kind: Annotated[str, among((PAIRS, METRICS))]
    minutes: _Minutes
    baseline: Several[HttpUrl] = ()
    candidate: Several[HttpUrl] = ()
    rate: Annotated[float, Field(gt=0)] | None = None
    margin: Annotated[float, Field(gt=0, le=1)] | None = None
    metrics: Text | None = None
    prometheus: HttpUrl | None = None
    baseline_selector: Text | None = None
    candidate_selector: Text | None = None
    valid_minutes: _Minutes = 60.0

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Which keys a kind needs, and which it does not know."""
        of_pairs = ("baseline", "candidate")
        of_metrics = ("metrics", "prometheus", "baseline_selector", "candidate_selector")
        kind = raw.get("kind")
        needed = {PAIRS: of_pairs, METRICS: of_metrics}.get(kind if isinstance(kind, str) else "")
        for key in needed or ():
            if not raw.get(key):
                yield key, f"is missing: kind {kind} needs it"
        if kind == METRICS:
            for key in (*of_pairs, "rate", "margin"):
                if key in raw:
                    yield key, "is for kind pairs only: nothing is sent"
        if kind == PAIRS and bool(raw.get("metrics")) != bool(raw.get("prometheus")):
            yield "metrics", "and prometheus stand together, or neither"

    def command(self, run: str, out_dir: Path, begun_at: datetime) -> list[str]:
        """The arguments of `mcctl` that carry it out."""
        given = {
            "--metrics" if self.kind == PAIRS else "--config": self.metrics,
            "--prometheus": self.prometheus,
            "--baseline-selector": _filled(self.baseline_selector, run),
            "--candidate-selector": _filled(self.candidate_selector, run),
            "--out-dir": str(out_dir),
        }
        if self.kind == PAIRS:
            sides = (("--baseline", self.baseline), ("--candidate", self.candidate))
            words = ["run", *(word for name, urls in sides for url in urls for word in (name, url))]
            given |= {
                "--minutes": f"{self.minutes:g}",
                "--rate": None if self.rate is None else f"{self.rate:g}",
                "--margin": None if self.margin is None else f"{self.margin:g}",
                "--release": run,
            }
        else:
            words = ["retrospective"]
            end = begun_at + timedelta(minutes=self.minutes)
            given |= {"--start": begun_at.isoformat(), "--end": end.isoformat()}
        options = [word for name, value in given.items() if value for word in (name, value)]
        return ["canary", *words, *options]


class _File(Strict):
    comparison: dict[Word, Comparison]


def _filled(selector: str | None, run: str) -> str | None:
    return None if selector is None else selector.replace(RUN, run)


def read(path: Path) -> dict[str, Comparison]:
    """The comparisons of a file, by name; what each needs is tried, too.

    A relative path of a metrics file begins at the folder of this one.

    Raises:
        UnusableInput: it cannot be read, or has problems; the message has all of one kind.
    """
    try:
        document = toml_of(read_limited(path, _LARGEST_BYTES), most_bytes=_LARGEST_BYTES)
        found = check(_File, document).comparison
    except FileProblems as error:
        raise UnusableInput(f"{path}: {error}") from error
    if not found:
        raise UnusableInput(f"{path}: no comparison is in it", hint="[comparison.NAME]")
    made = {}
    for name, one in found.items():
        rules = None if one.metrics is None else str(path.parent / one.metrics)
        made[name] = one.model_copy(update={"metrics": rules})
        try:
            _try(made[name])
        except UnusableInput as error:
            raise UnusableInput(f"{path}: {name}: {error.message}", hint=error.hint) from error
    return made


def _try(one: Comparison) -> None:
    """Find at the start what would fail each comparison.

    Raises:
        UnusableInput: that.
    """
    if one.kind == PAIRS:
        rate = plan.DEFAULT_RATE if one.rate is None else one.rate
        plan.make_plan(
            one.baseline, one.candidate, minutes=one.minutes, rate=rate, margin=one.margin
        )
    if one.metrics is not None:
        metrics.read_config(Path(one.metrics))
    if one.baseline_selector is not None and one.candidate_selector is not None:
        metrics.make_selectors(
            one.baseline_selector.replace(RUN, "x"), one.candidate_selector.replace(RUN, "x")
        )
