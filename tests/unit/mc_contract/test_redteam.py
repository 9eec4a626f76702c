"""The figures of a red-team: bounds by the book, and no verdict that its rows do not bear."""

from __future__ import annotations

import pytest

from mc_contract.redteam import FAMILIES, RedTeamRows, figures


def rows(kind, family, **counts):
    return [
        {"id": f"{kind}-{family}-{outcome}-{n}", "family": family, "kind": kind, "outcome": outcome}
        for outcome, count in counts.items()
        for n in range(count)
    ]


def attacks(blocked, **others):
    """Rows of every family; `blocked` in all, and the other outcomes in the first."""
    each, rest = divmod(blocked, len(FAMILIES))
    made = [row for name in FAMILIES[1:] for row in rows("attack", name, blocked=each)]
    return made + rows("attack", FAMILIES[0], blocked=each + rest, **others)


HONEST = rows("benign", "benign", passed=400)


def test_targets_are_met_by_enough_attacks_that_were_blocked():
    """600 of 600 do; 300 of 300 cannot tell, and say why; ten missed of 600 do not."""
    assert figures(attacks(600) + HONEST)["met"] is True
    few = figures(attacks(300) + HONEST)
    assert few["met"] is None
    assert "300 attacks with 0 missed are too few" in few["doubts"][0]
    assert figures(attacks(590, missed=10) + HONEST)["met"] is False


def test_a_weak_family_is_not_hidden_by_strong_ones():
    """5 of 100 missed in one family fails the whole."""
    found = figures(attacks(3000) + rows("attack", "corpus-x", blocked=95, missed=5) + HONEST)
    assert found["attacks"]["lower"] > 0.995
    assert found["met"] is False


def test_what_was_no_trial_is_counted_for_nobody():
    """Time-outs are no blocks; too many of them, and nobody can tell."""
    found = figures(attacks(600, invalid=20) + HONEST)
    assert (found["attacks"]["n"], found["attacks"]["invalid"], found["met"]) == (600, 20, None)
    assert any("were no trial" in doubt for doubt in found["doubts"])
    assert figures(attacks(600, invalid=1) + HONEST)["met"] is True


def test_a_family_that_was_left_out_leaves_a_doubt():
    """Whoever drops the rows of one proves nothing of the whole."""
    kept = [row for row in attacks(1800) if row["family"] != "split-pii"]
    found = figures(kept + HONEST)
    assert (found["met"], found["doubts"]) == (None, ["not tried: split-pii"])


def test_a_platform_that_blocks_everything_fails():
    """Honest work that was changed counts, and with hardly any honest work nothing is told."""
    assert figures(attacks(600) + rows("benign", "benign", passed=395, changed=5))["met"] is False
    assert figures(attacks(600))["met"] is None
    assert figures(attacks(600) + rows("benign", "benign", passed=99))["met"] is None


def test_wording_is_told_apart():
    """It changes neither rate nor verdict."""
    found = figures(attacks(600) + HONEST + rows("wording", "w", unlabelled=50))
    assert (found["wording"]["rate"], found["met"]) == (0.0, True)


def test_controls_and_what_was_missed_follow_from_the_rows():
    """By the control's name; the first twenty ids."""
    told = attacks(36, missed=30)
    for row in told:
        row["control"] = "policy: because" if row["outcome"] == "blocked" else ""
    found = figures(told)
    assert found["controls"] == {"policy": 36}
    assert len(found["missed"]) == 20


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"id": "x"}, "lacks"),
        ([], "no object"),
        ({"id": "x", "family": "f", "kind": "k", "outcome": "blocked"}, "unknown kind"),
        ({"id": "x", "family": "f", "kind": "attack", "outcome": "passed"}, "no outcome of attack"),
    ],
)
def test_a_malformed_row_is_told_by_its_number(row, problem):
    """No row is passed over in silence."""
    with pytest.raises(RedTeamRows, match=f"row 401.*{problem}"):
        figures([*HONEST, row])


def test_an_id_counts_once():
    """A row copied many times raises no bound."""
    with pytest.raises(RedTeamRows, match="twice"):
        figures(HONEST + HONEST[:1])
