"""A red-team in a pack: its rates are done again, and its report may tell nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mc_contract.redteam import FAMILIES, THRESHOLDS, figures
from mc_ops.errors import UnusableInput
from mc_ops.evidence import redteam_in, redteam_part


def rows() -> list[dict[str, Any]]:
    made = [
        {"id": f"{name}-{n}", "family": name, "kind": "attack", "outcome": "blocked"}
        for name in FAMILIES
        for n in range(40)
    ]
    honest = {"family": "benign", "kind": "benign", "outcome": "passed"}
    return made + [{"id": f"benign-{n}", **honest} for n in range(120)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "redteam", rows())
    return tmp_path


def write(place: Path, made: list[dict[str, Any]], **more: Any) -> None:
    place.mkdir(exist_ok=True)
    told = figures(made)
    listed = {
        name: [{"id": one} for one in told[name]] for name in ("missed", "changed", "invalid")
    }
    report = {"figures": told, "met": told["met"], "thresholds": THRESHOLDS, **listed}
    report |= {"policy_set": "a" * 64, "target": "http://127.0.0.1:8080", **more}
    (place / "redteam-rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    (place / "redteam.json").write_text(json.dumps(report))


def test_a_red_team_is_measured_with_its_bounds(folder: Path) -> None:
    """Beside its run's folder, or named itself; the rows' truth stays the signer's word."""
    place = redteam_in(folder)
    assert place == redteam_in(folder / "redteam") == folder / "redteam"
    part = redteam_part(place)
    controls = {control.id: control for control in part.controls}
    assert "targets met: 720 of 720 attacks of 18 families" in controls["privacy"].reason
    assert controls["redteam-origin"].claims == ()


def test_without_one_the_control_says_so() -> None:
    """Never a silent gap."""
    [control] = redteam_part(None).controls
    assert (control.id, control.claims) == ("privacy", ())


@pytest.mark.parametrize(
    "more",
    [
        {"figures": figures(rows()[1:])},
        {"met": False},
        {"thresholds": {**THRESHOLDS, "blocked_lower_95": 0.1}},
        {"missed": [{"id": "direct-pii-1"}]},
        {"missed": None},
    ],
)
def test_a_report_that_tells_other_than_its_rows_is_refused(
    folder: Path, more: dict[str, Any]
) -> None:
    """Figures, verdict, thresholds, and what was missed."""
    write(folder / "redteam", rows(), **more)
    with pytest.raises(UnusableInput, match="can't be claimed"):
        redteam_part(folder / "redteam")


def test_a_report_may_doubt_more_than_its_rows(folder: Path) -> None:
    """A channel that could not be read is no row."""
    write(folder / "redteam", rows(), met=None)
    assert "could not be told" in redteam_part(folder / "redteam").controls[0].reason
