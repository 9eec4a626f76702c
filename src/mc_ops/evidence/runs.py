"""What finished runs left on disk: a canary's samples and verdict, a journal, a pre-flight report.

A canary whose verdict file does not follow from its samples is refused here rather than packed;
a missing source becomes a control that says so.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mc_contract.canary_override import OVERRIDE
from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.numbers import counted
from mc_ops.canary_folder import FINISHED, METRICS, VERDICT, canary_in
from mc_ops.errors import UnusableInput
from mc_ops.evidence.parts import Part, absent
from mc_ops.files import read_limited

LEDGER_KEY = "ledger.pub"
JOURNAL = "journal.jsonl"
RUNBOOK = "runbook.md"
PREFLIGHT = "preflight.json"
REDTEAM_FILES = ("redteam-rows.jsonl", "redteam.json")
DRILL_FILES = ("drill-clients.jsonl", "drill.json")
_MET = {True: "met", False: "not met", None: "could not be told"}


@dataclass(frozen=True, slots=True)
class Found:
    """A runbook's run that passed, and the runs that ended otherwise after it.

    Attributes:
        folder: The run's folder, with its journal and a finished canary.
        later: Names of newer runs of the same runbook that did not pass.
    """

    folder: Path
    later: tuple[str, ...]


def newest_passed_run(runs: Path) -> Found | None:
    """The latest run that passed and holds a canary, by its journal's times; None if none did."""
    folders = runs.iterdir() if runs.is_dir() else ()
    ended = sorted(
        (said for folder in folders if (said := _ending(folder))), key=lambda said: said.at
    )
    passed = [said for said in ended if said.outcome == "passed" and canary_in(said.folder)]
    if not passed:
        return None
    last = passed[-1]
    later = [said for said in ended[ended.index(last) + 1 :] if said.runbook == last.runbook]
    return Found(last.folder, tuple(said.folder.name for said in later if said.outcome != "passed"))


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a run's journal ends: when its last line was written, and with what outcome."""

    folder: Path
    at: str
    runbook: str
    outcome: str


def _ending(folder: Path) -> _Ending | None:
    try:
        lines = (folder / JOURNAL).read_bytes().split(b"\n")[:-1]
        first, last = json.loads(lines[0]), json.loads(lines[-1])
        outcome = last["outcome"] if last["event"] == "run_finished" else "unfinished"
        return _Ending(folder, str(last["at"]), str(first["runbook"]), str(outcome))
    except (OSError, ValueError, LookupError, TypeError):
        return None  # no run, or one whose journal can't be used: no evidence either way


def canary_part(folder: Path | None, ledger_key: Path | None = None) -> Part:
    """The samples, metrics if any, the verdict as `verify` will recompute it, and its override.

    Args:
        folder: A finished canary's, or None.
        ledger_key: The ledger's public key, by which an override is proven; needed if there is one.

    Raises:
        UnusableInput: a file is missing, the verdict does not follow from the others, or
            `override.json` is there and the ledger's key does not prove it.
    """
    if folder is None:
        return absent("canary", "no finished canary was found")
    part = Part()
    for name in FINISHED:
        part.artifacts[name] = read_limited(folder / name)
    metrics = (METRICS,) if _tells_of_metrics(part.artifacts[VERDICT]) else ()
    for name in metrics:
        part.artifacts[name] = read_limited(folder / name)
    with _claiming("canary", folder):
        part.claim("canary.verdict", "canary.verdict", *FINISHED, *metrics)
        for name in metrics:
            part.claim("canary.metrics", "canary.metrics", name)
        for side, name in (("baseline", "base.lat"), ("candidate", "cand.lat")):
            part.claim(f"canary.{side}.requests", "canary.requests", name)
            part.claim(f"canary.{side}.p95_ms", "canary.p95_ms", name)
    _add_running(part, "canary.running", VERDICT)
    names = [claim.id for claim in part.claims]
    part.measured("canary", f"{_told(part)}, from {folder.resolve().name}", *names)
    if (folder / OVERRIDE).exists():
        _add_override(part, folder, ledger_key, metrics)
    part.declared(
        "sample-origin",
        "that the two services gave these samples, side by side, is the word of whoever signed",
    )
    return part


def _add_running(part: Part, name: str, artefact: str) -> None:
    """Claim what was measured, where it was recorded; where not, the pack is told as not bound."""
    with contextlib.suppress(NotRecomputable):
        part.claim(name, "running.recorded", artefact)


def _tells_of_metrics(verdict: bytes) -> bool:
    """Whether the verdict was made with metrics; one that is no JSON is for the claim to refuse."""
    try:
        told = json.loads(verdict)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("metrics") is not None


def _add_override(
    part: Part, folder: Path, ledger_key: Path | None, metrics: tuple[str, ...]
) -> None:
    if ledger_key is None:
        raise UnusableInput(f"{folder / OVERRIDE} needs the ledger's public key to be proven")
    part.artifacts[OVERRIDE] = read_limited(folder / OVERRIDE)
    part.artifacts[LEDGER_KEY] = read_limited(ledger_key)
    try:
        sources = (OVERRIDE, *FINISHED, LEDGER_KEY, *metrics)
        part.claim("canary.override", "canary.override", *sources)
    except NotRecomputable as cause:
        raise UnusableInput(
            f"{folder / OVERRIDE} overrides nothing: {cause.message}",
            hint="remove it; mcctl canary override records one",
        ) from cause
    told = part.claims[-1].value
    why = f"HOLD, overridden by {told['by']}: {told['reason']} (ledger entry {told['index']})"
    part.measured("override", why, "canary.override")


def journal_part(folder: Path | None) -> Part:
    """The runbook's journal so far; a last line that is still being written is left out.

    With the text that was run, and what people decided, what was skipped and tried again; a journal
    of before gates has none of that.

    Raises:
        UnusableInput: the journal was changed, or a step began before its gate was approved.
    """
    if folder is None:
        return absent("runbook", "no runbook run was given")
    raw = read_limited(folder / JOURNAL)
    part = Part()
    part.artifacts[JOURNAL] = raw[: raw.rfind(b"\n") + 1]
    try:
        part.claim("runbook.steps", "runbook.steps_passed", JOURNAL)
    except NotRecomputable as cause:
        return absent("runbook", f"the journal can't be used: {cause.message}")
    # A journal of before gates has neither; without its `prev` alone, a later one is no earlier one
    if any(word in raw.partition(b"\n")[0] for word in (b'"prev"', b'"gates"')):
        part.artifacts[RUNBOOK] = read_limited(folder / RUNBOOK)
        try:
            part.claim("runbook.course", "runbook.course", JOURNAL, RUNBOOK)
            part.claim("runbook.extent", "runbook.extent", JOURNAL)
        except NotRecomputable as cause:
            raise UnusableInput(
                f"the journal in {folder} can't be claimed: {cause.message}",
                hint="it is not as it was written; pack without that run, or run it again",
            ) from cause
    names = [claim.id for claim in part.claims]
    part.measured("runbook", _went(part), *names)
    return part


def _went(part: Part) -> str:
    """The steps up to now, how far the journal goes, and who decided what on the way."""
    value = {one.id: one.value for one in part.claims}
    if "runbook.course" not in value:
        return "the steps up to the packing of this evidence"
    gates, extent = value["runbook.course"]["gates"], value["runbook.extent"]
    last = " ".join(extent["last"].get(name, "") for name in ("event", "step")).strip()
    end = (
        f"the run's end: {extent['ended']}"
        if extent["ended"]
        else f"not the run's end (last: {last})"
    )
    told = [
        f"{gate} {one['decision']}" + (f" by {_person(one['by'])}" if "by" in one else "")
        for gate, one in gates.items()
    ]
    said = f"; gates: {', '.join(told)}" if told else ""
    return f"the steps up to the packing of this evidence; {counted(extent['lines'], 'line')}, {end}{said}"[
        :1000
    ]


def _person(by: dict[str, str]) -> str:
    """As the journal has a person: by their token's principal, else the system's user and host."""
    return by.get("principal") or f"{by.get('user')}@{by.get('host')}"


def preflight_part(report: Path | None) -> Part:
    """The pre-flight report, as `mcctl preflight --output json` wrote it."""
    if report is None:
        return absent("preflight", "no pre-flight report was found")
    part = Part()
    part.artifacts[PREFLIGHT] = read_limited(report)
    try:
        part.claim("preflight.checks", "preflight.passed", PREFLIGHT)
    except NotRecomputable as cause:
        return absent("preflight", f"the pre-flight report can't be used: {cause.message}")
    _add_running(part, "preflight.running", PREFLIGHT)
    told = part.claims[0].value
    others = ", ".join(f"{name} {state}" for name, state in told["other"].items()) or "none"
    names = [claim.id for claim in part.claims]
    reason = f"{counted(len(told['passed']), 'check')} passed; other: {others}"
    part.measured("preflight", reason[:1000], *names)
    return part


def redteam_in(folder: Path) -> Path | None:
    """The folder with a red-team's files: `folder` itself, or `redteam` below it."""
    return _with_files(folder, "redteam", REDTEAM_FILES)


def drill_in(folder: Path) -> Path | None:
    """The folder with a drill's files: `folder` itself, or `drill` below it."""
    return _with_files(folder, "drill", DRILL_FILES)


def _with_files(folder: Path, below: str, names: tuple[str, ...]) -> Path | None:
    places = (folder, folder / below)
    return next((one for one in places if all((one / name).is_file() for name in names)), None)


def redteam_part(folder: Path | None) -> Part:
    """A privacy red-team's rows and report, and its rates as `verify` will recompute them.

    Raises:
        UnusableInput: a file is missing, or the report does not follow from the rows.
    """
    if folder is None:
        return absent("privacy", "no privacy red-team was given")
    part = _recomputed("redteam", "red-team", folder, REDTEAM_FILES, ("policy_set", "target"))
    part.measured("privacy", _rates(part), *(claim.id for claim in part.claims))
    part.declared(
        "redteam-origin",
        "that each row tells what happened, to which target and policy set, is the word of whoever"
        " signed",
    )
    return part


def drill_part(folder: Path | None) -> Part:
    """A drill's rows and report, with RTO and RPO as `verify` will recompute them.

    Raises:
        UnusableInput: a file is missing, or the report does not follow from the rows.
    """
    if folder is None:
        return absent("recovery", "no drill was given")
    part = _recomputed("drill", "drill", folder, DRILL_FILES, ("scenario", "region"))
    part.measured("recovery", _recovery(part), *(claim.id for claim in part.claims))
    part.declared(
        "drill-origin",
        "that each row tells what happened, on which platform, is the word of whoever signed",
    )
    return part


def _recomputed(
    kind: str, what: str, folder: Path, files: tuple[str, str], told: tuple[str, ...]
) -> Part:
    """Rows with the report that follows from them: its figures, what else it tells, and what ran."""
    part = Part()
    _, report = files
    part.artifacts.update({name: read_limited(folder / name) for name in files})
    with _claiming(what, folder):
        part.claim(f"{kind}.figures", f"{kind}.figures", *files)
        for name in told:
            part.claim(f"{kind}.{name}", "json.pointer", report, pointer=f"/{name}")
    _add_running(part, f"{kind}.running", report)
    return part


@contextlib.contextmanager
def _claiming(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except NotRecomputable as cause:
        raise UnusableInput(
            f"the {what} in {folder} can't be claimed: {cause.message}", hint="run it again"
        ) from cause


def _recovery(part: Part) -> str:
    value = part.claims[0].value
    told = (
        f"{name} RTO {'never' if one['rto_s'] is None else one['rto_s']} s, {one['lost']} lost"
        for name, one in value["tenants"].items()
    )
    return f"targets {_MET[value['met']]} in {part.claims[1].value}: {'; '.join(told)}"


def _rates(part: Part) -> str:
    value = part.claims[0].value
    attacks, benign, families = value["attacks"], value["benign"], value["families"]
    return (
        f"targets {_MET[value['met']]}: {attacks['blocked']} of {attacks['n']} attacks of {counted(len(families), 'family')}"
        f" blocked (95 % lower bound {attacks['lower']:.2%}), {benign['passed']} of {benign['n']}"
        " honest cases passed"
    )


def _told(part: Part) -> str:
    value = part.claims[0].value
    rehearsal = "rehearsal, " if value["rehearsal"] else ""
    return f"{value['verdict']} ({rehearsal}margin {value['margin']})"
