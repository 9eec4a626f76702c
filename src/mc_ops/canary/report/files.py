"""The report of a canary: a picture, a page that stands alone, and a summary in Markdown.

    report = make_report(verdict, base, cand)
    write_files(report, folder)          # report.png, report.html, summary.md

It shows what the verdict's file says and what the samples give; it decides nothing. Text that
came from elsewhere (URLs, reasons, failures) is escaped wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_contract.judgement.verdict import Samples, history
from mc_ops.canary.report.content import content_of
from mc_ops.canary.report.page import page
from mc_ops.canary.report.picture import Subject, draw
from mc_ops.canary.report.summary import summary
from mc_ops.files import writing

PICTURE, PAGE, SUMMARY = "report.png", "report.html", "summary.md"


@dataclass(frozen=True, slots=True)
class Report:
    """Three files' content."""

    picture: bytes
    page: str
    summary: str


def make_report(
    verdict: Mapping[str, Any],
    base: Samples | None,
    cand: Samples | None,
    *,
    override: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    link: str = "",
) -> Report:
    """Draw and lay out.

    Args:
        verdict: What `verdict.json` has, or `Judgement.as_dict()`; figures may be null.
        base: The baseline's samples; None where nothing was compared (a failed smoke check).
        cand: The candidate's.
        override: `by`, `at`, `reason`, `index`, `decision` of an override that the ledger proves.
        metrics: The metrics' judgement (`MetricJudgement.as_dict()`), if there is one.
        link: Where this was run, such as the URL of a workflow's run.
    """
    content = content_of(verdict, base, cand, override=override, metrics=metrics, link=link)
    looks = (
        history(
            base,
            cand,
            margin=verdict["margin"],
            planned_pairs=verdict.get("planned_pairs"),
            instances=verdict.get("instances", 1),
        )
        if base is not None and cand is not None
        else []
    )
    by_hand = [f"overridden by {override['by']}: {override['reason']}"] if override else []
    picture = draw(
        Subject(
            title=f"Canary: {content.title}",
            promote=content.promote,
            reason=(content.reason, *by_hand),
            base=base,
            cand=cand,
            looks=looks,
            margin=float(verdict["margin"]),
            planned_pairs=verdict.get("planned_pairs"),
            decided_at_pairs=verdict.get("decided_at_pairs"),
            verdict=content.verdict,
        )
    )
    return Report(picture, page(content, picture), summary(content))


def write_files(report: Report, folder: Path) -> list[Path]:
    """Write the three files; those of an earlier report are replaced.

    Raises:
        CouldNotTell: one cannot be written.
    """
    files = {
        folder / PICTURE: report.picture,
        folder / PAGE: report.page.encode(),
        folder / SUMMARY: report.summary.encode(),
    }
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in files.items():
            path.write_bytes(content)
    return list(files)
