"""The file of comparisons: strict, told whole, and tried at the start."""

from __future__ import annotations

import pytest

from mc_ops.canary.serve import configuration
from mc_ops.errors import UnusableInput

PAIRS = 'kind = "pairs"\nminutes = 10\nbaseline = ["http://a:1"]\ncandidate = ["http://b:1"]\n'
METRICS = (
    'kind = "metrics"\nminutes = 10\nmetrics = "rules.toml"\nprometheus = "http://p:9090"\n'
    "baseline_selector = 'a=\"b\"'\ncandidate_selector = 'a=\"c\"'\n"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "comparison is missing"),
        ("[comparison]\n", "no comparison is in it"),
        (
            "[comparison.x]\nkind = 'pairs'\nminutes = 10\n",
            "candidate is missing: kind pairs needs it",
        ),
        ("[comparison.x]\nkind = 'metrics'\nminutes = 10\n", "kind metrics needs it"),
        (f"[comparison.x]\n{PAIRS}query = 'x'\n", "query is unknown"),
        (f"[comparison.x]\n{PAIRS}".replace('"pairs"', '"other"'), "unknown 'other'"),
        (f"[comparison.x]\n{PAIRS}".replace("10", "nan"), "minutes"),
        (f"[comparison.x]\n{PAIRS}".replace("10", "'10'"), "minutes"),
        (f"[comparison.x]\n{PAIRS}".replace("10", "2000"), "minutes"),
        (f"[comparison.x]\n{PAIRS}".replace("http://b:1", "ftp://b"), "candidate"),
        (
            f"[comparison.x]\n{PAIRS}".replace("http://b:1", "http://a:1"),
            "baseline and candidate at once",
        ),
        (f"[comparison.x]\n{PAIRS}metrics = 'rules.toml'\n", "and prometheus stand together"),
        (f"[comparison.x]\n{PAIRS}".replace("10", "0.01"), "x: "),
        (f"[comparison.x]\n{METRICS}rate = 10\n", "rate is for kind pairs only"),
        (f"[comparison.x]\n{METRICS}".replace("rules", "none"), "none.toml cannot be read"),
        (f"[comparison.x]\n{METRICS}".replace("'a=\"b\"'", "'} or vector(1) #'"), "baseline"),
        (f"[comparison.'../x']\n{PAIRS}", "comparison"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(world, text, said):
    """With the key, and what is accepted; nothing waits for a rollout to be found."""
    world.config.write_text(text)
    with pytest.raises(UnusableInput, match=r"canary\.toml") as caught:
        configuration.read(world.config)
    assert said in caught.value.message


def test_a_selector_of_the_caller_cannot_leave_its_braces(world):
    """`{run}` is a word; the server refuses every other (test_server.py)."""
    known = configuration.read(world.config)
    command = known["checkout"].command("6f7-a.b_c", world.folder, world.now)
    assert command[command.index("--candidate-selector") + 1] == 'hash="6f7-a.b_c"'


def test_a_command_of_pairs_has_all_that_was_set(world):
    """Rate, margin, metrics and both selectors reach `mcctl canary run`."""
    world.config.write_text(
        f'[comparison.x]\n{PAIRS}rate = 20\nmargin = 0.1\nmetrics = "rules.toml"\n'
        'prometheus = "http://p:9090"\nbaseline_selector = \'a="b"\'\ncandidate_selector = \'a="c"\'\n'
    )
    [one] = configuration.read(world.config).values()
    assert one.command("r", world.folder, world.now) == [
        *("canary", "run", "--baseline", "http://a:1", "--candidate", "http://b:1"),
        *("--metrics", str(world.config.parent / "rules.toml"), "--prometheus", "http://p:9090"),
        *("--baseline-selector", 'a="b"', "--candidate-selector", 'a="c"'),
        *("--out-dir", str(world.folder), "--minutes", "10", "--rate", "20", "--margin", "0.1"),
        *("--release", "r"),
    ]
