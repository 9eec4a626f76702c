"""A finished canary as its folder has it: judged again from its samples, with its override.

Nothing that a file says is believed here: the verdict must follow from the samples, and an
override must be in the ledger.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_contract.canary_override import OVERRIDE, NotOverridden, Override, read_override
from mc_contract.evidence.canary_claims import agree
from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.evidence.claims import recompute
from mc_contract.judgement.verdict import rejudge
from mc_contract.ledger.checkpoint import LogKeys
from mc_ops.canary_folder import BASE, CAND, METRICS, VERDICT, run_of
from mc_ops.errors import UnusableInput
from mc_ops.files import json_object, read_limited

_PPM = 1_000_000
_ODD = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, slots=True)
class Judged:
    """A canary whose verdict follows from its samples.

    Attributes:
        run: What the run is called: its folder's name, or that of the runbook's run it is in.
        told: What `verdict.json` says, with the reason in this release's words.
        verdict, base, cand: The bytes of the three files.
        computed: The verdict as recomputed (`canary.verdict` in docs/how-to/evidence.md).
    """

    run: str
    folder: Path
    told: Mapping[str, Any]
    verdict: bytes
    base: bytes
    cand: bytes
    computed: Mapping[str, Any]

    @property
    def promote(self) -> bool:
        """Whether the samples give PROMOTE."""
        return bool(self.computed["verdict"] == "PROMOTE")

    @property
    def kind(self) -> str:
        """Why it was held: regressed, errors, metrics, inconclusive, void; or promoted."""
        return str(self.computed["kind"])

    def as_request(self) -> dict[str, Any]:
        """What the ledger is told of it: digests, and figures computed here, in whole numbers."""
        regression = self.computed["regression"]
        return {
            "run": self.run,
            "kind": self.kind,
            "rehearsal": self.computed["rehearsal"],
            "margin_ppm": round(self.computed["margin"] * _PPM),
            "regression_ppm": None if regression is None else round(regression * _PPM),
            "baseline": _figures(self.base),
            "candidate": _figures(self.cand),
            "digests": {
                "verdict": hashlib.sha256(self.verdict).hexdigest(),
                "base": hashlib.sha256(self.base).hexdigest(),
                "cand": hashlib.sha256(self.cand).hexdigest(),
            },
        }


class FailedSmoke(UnusableInput):
    """A HOLD without samples: nothing was compared, so there is nothing to judge or override by."""

    code = "canary-failed-smoke"


def judge_again(folder: Path) -> Judged:
    """The canary in a folder, its verdict computed anew.

    Raises:
        UnusableInput: a file is missing or unusable (a failed smoke check has no samples), or the
            verdict does not follow from the samples.
    """
    verdict = read_limited(folder / VERDICT)
    told = json_object(folder / VERDICT, verdict)
    if told.get("kind") == "smoke":
        if told.get("verdict") != "HOLD":
            raise UnusableInput(f"{folder / VERDICT} says that a failed smoke check is no HOLD")
        raise FailedSmoke(
            f"the candidate failed its smoke check in {folder.name}: nothing was compared, so "
            "there is nothing to judge by",
            hint="repair the candidate and run the canary again",
        )
    if told.get("kind") == "metrics" and told.get("metrics") is None:
        raise UnusableInput(
            f"the metrics of {folder.name} were not judged: the run ended before that",
            hint="run the canary again",
        )
    base, cand = read_limited(folder / BASE), read_limited(folder / CAND)
    files = {BASE: base, CAND: cand, VERDICT: verdict}
    if told.get("metrics") is not None:
        files[METRICS] = read_limited(folder / METRICS)
    try:
        computed = recompute("canary.verdict", tuple(files), {}, files)
    except NotRecomputable as error:
        raise UnusableInput(
            f"{folder / VERDICT} does not follow from its samples: {error.message}",
            hint="a file was changed; run the canary again",
        ) from error
    if not isinstance(computed, dict):  # the claim function gives an object
        raise UnusableInput(f"{folder / VERDICT} gives no verdict")
    told["reason"] = _check_told(folder / VERDICT, told, base, cand, str(computed["kind"]))
    return Judged(run_name(folder), folder, told, verdict, base, cand, computed)


def _check_told(path: Path, told: Mapping[str, Any], base: bytes, cand: bytes, kind: str) -> str:
    """Hold every figure that people will be shown against the samples.

    Returns:
        The reason: in the words of this release, since another one's differ, and a changed file
        could say anything; that of the file where more than the samples decided.

    Raises:
        UnusableInput: One is another, or what is beside them has not their form.
    """
    found = rejudge(base, cand, told).as_dict()
    if kind in ("void", "metrics", "changed"):  # what the samples alone say is replaced there
        found |= {"verdict": "HOLD", "kind": kind, "reason": told.get("reason")}
    reason = found.pop("reason")
    other = [name for name, value in found.items() if not agree(told.get(name), value)]
    if not isinstance(told.get("reason"), str):
        other.append("reason")
    other += [
        name
        for name in ("parameters", "urls", "lateness", "failures")
        if not isinstance(told.get(name) or {}, dict)
    ]
    declared = told.get("parameters")
    if isinstance(declared, dict):  # shown beside the figures, so they must be what was judged by
        other += [
            f"parameters.{name}"
            for name, value in declared.items()
            if name in found and not agree(value, found[name])
        ]
    if other:
        raise UnusableInput(
            f"{path} does not follow from its samples: {', '.join(other)}",
            hint="a file was changed; run the canary again",
        )
    return str(reason)


def override_in(judged: Judged, key: LogKeys) -> Override | None:
    """The override of a canary, or None where no file tells of one.

    Raises:
        UnusableInput: there is a file, and the ledger's key does not prove it.
    """
    path = judged.folder / OVERRIDE
    if not path.exists():
        return None
    raw = read_limited(path)
    try:
        found = read_override(raw, key, verdict=judged.verdict, base=judged.base, cand=judged.cand)
    except NotOverridden as error:
        raise UnusableInput(
            f"{path} overrides nothing: {error.message}",
            hint=f"remove it; mcctl canary override {judged.run} --reason ... records one",
        ) from error
    if found.kind != judged.kind:  # whoever overrode it was not told what the samples show
        raise UnusableInput(
            f"{path} overrides nothing: it is of a HOLD for {found.kind}, this is for {judged.kind}",
            hint="remove it; the ledger's entry tells who recorded that",
        )
    return found


def run_name(folder: Path) -> str:
    """What a canary's run is called, fit for the ledger."""
    return _ODD.sub("-", run_of(folder)).lstrip("._+-")[:128] or "run"


def _figures(samples: bytes) -> dict[str, Any]:
    counted: Any = recompute("canary.requests", ("s",), {}, {"s": samples})
    p95: Any = recompute("canary.p95_ms", ("s",), {}, {"s": samples})
    return {
        "requests": counted["sent"],
        "failed": counted["failed"],
        "p95_us": None if p95 is None else round(p95 * 1000),
    }
