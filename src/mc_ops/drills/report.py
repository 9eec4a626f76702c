"""A drill's files: its rows, its report, its picture, and the runbook's results file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mc_contract.drill import Course, Request
from mc_contract.numbers import counted
from mc_contract.running import Record
from mc_ops.drills.picture import draw
from mc_ops.errors import UnusableInput
from mc_ops.files import write_atomically, writing

ROWS, REPORT, PICTURE = "drill-clients.jsonl", "drill.json", "drill.svg"
FILES: Final = (ROWS, REPORT)


@dataclass(slots=True)
class Times:
    """When what was done, in seconds since the drill began; None: it was not."""

    fault_s: float
    decided_s: float | None = None
    moved_s: float | None = None
    mended_s: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A drill that has ended.

    Attributes:
        figures: As `mc_contract.drill.figures` computes them.
        running: The replicas that served, before the fault and after the drill.
        regions: Of two regions: which was the home, what was expected, digests afterwards.
        problem: Why the platform could not be brought up again by the recovery; empty if it was.
    """

    scenario: str
    region: str
    began_at: str
    course: Course
    times: Times
    figures: dict[str, Any]
    running: Record
    regions: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The report."""
        told = {
            name: getattr(self, name)
            for name in ("scenario", "region", "began_at", "figures", "problem")
        }
        return {
            "schema_version": 1,
            **told,
            "course": asdict(self.course),
            "times": asdict(self.times),
            "running": self.running.as_dict(),
            "regions": dict(self.regions),
        }

    def results(self) -> list[str]:
        """The lines of the runbook's results file."""
        lines = []
        for tenant, one in self.figures["tenants"].items():
            rto = "not recovered" if one["rto_s"] is None else f"{one['rto_s']:.3g}s"
            lines += [
                f"RTO for {tenant}: {rto}",
                (
                    f"RPO for {tenant}: {one['rpo_s']:.3g}s, {one['lost']} of {one['acknowledged']} "
                    "acknowledged writes lost"
                ),
            ]
        return lines

    def lines(self) -> list[str]:
        """What a drill of two regions says of each tenant besides: the parts of its RTO, what came back."""
        lines = []
        if "restore" in (back := self.regions.get("restore", {})):
            lines.append(
                f"restored in {back['seconds']:.1f} s to {back['to']}; {back['epoch']} began; the former files, to be "
                f"removed when you are content: {back['former_files']}"
            )
        if "lost_entries_kept" in back:
            lines.append(
                f"of the former log the other region keeps {back['lost_entries_kept']} entries that the restored one lacks"
            )
        for tenant, one in self.figures["tenants"].items():
            parts = one.get("parts", {})
            if parts and None not in parts.values():
                told = [f"{name.removesuffix('_s')} {value:.2f} s" for name, value in parts.items()]
                lines.append(f"{tenant}  RTO in parts: {', '.join(told)}")
            if "operations" in one:
                absences = (
                    "never" if value is None else f"{value:.2f} s"
                    for value in (one["questions_rto_s"], one["operations_rto_s"])
                )
                lines.append(f"{tenant}  RTO of questions and operations: {', '.join(absences)}")
            if "answered_by" in one:
                told = [
                    f"{region} {counted(count['questions'], 'question')} and {counted(count['operations'], 'operation')}"
                    for region, count in one["answered_by"].items()
                ]
                lines.append(f"{tenant}  answered while it lasted: {', '.join(told)}")
            if "restore" in one:
                lost, rpo_s = one["restore"]["lost"], one["restore"]["rpo_s"]
                before = f", acknowledged up to {rpo_s:.3g} s before the fault" if lost else ""
                lines.append(
                    f"{tenant}  not in the restored region, before the other one gave back what it has: {lost}{before}"
                )
            if "lost_for_good" in one:
                lines.append(
                    f"{tenant}  lost for good, now that both regions are back: {one['lost_for_good']}"
                )
        return lines


def prepare(folder: Path) -> None:
    """Make the folder of a drill.

    Raises:
        UnusableInput: it holds a drill.
        CouldNotTell: it cannot be made.
    """
    if any((folder / name).exists() for name in (*FILES, PICTURE)):
        raise UnusableInput(f"{folder} holds a drill", hint="name another folder with --out")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_rows(folder: Path, rows: Iterable[Request]) -> None:
    """Keep the clients' rows, whatever becomes of the drill.

    Raises:
        CouldNotTell: they cannot be written.
    """
    text = "".join(f"{json.dumps(row.as_dict())}\n" for row in rows)
    with writing(folder):
        write_atomically(folder / ROWS, text)


def write(folder: Path, finished: Finished, rows: Sequence[Request]) -> None:
    """Write all files of a drill that has ended.

    Raises:
        CouldNotTell: they cannot be written.
    """
    write_rows(folder, rows)
    with writing(folder):
        write_atomically(folder / REPORT, json.dumps(finished.as_dict(), indent=2) + "\n")
        write_atomically(folder / PICTURE, draw(finished.course, asdict(finished.times), rows))


def append_results(path: Path, lines: Iterable[str]) -> None:
    """Add a drill's lines to the runbook's results file.

    Raises:
        CouldNotTell: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
