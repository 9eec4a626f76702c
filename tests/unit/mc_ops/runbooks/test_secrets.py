"""Secrets: given by reference, used by steps, and in nothing that is kept or shown."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.errors import CouldNotTell, OpsError, UnusableInput
from mc_ops.runbooks import Reference, Sources, no_cluster
from mc_ops.runbooks.mask import MASKED, Mask

Bench = Any
SECRET = "s3cr3t-of-the-day"
PARAMETERS = "parameters:\n- {name: KEY, secret: true}\n- {name: OUT, set_by: a}\n"


def everything_kept(bench: Bench) -> str:
    files = (path for path in bench.store.home.rglob("*") if path.is_file())
    return "\n".join(path.read_text() for path in files)


def test_a_step_gets_the_secret_and_nobody_else(bench: Bench) -> None:
    """It is in the step's environment; log, journal, outputs and what is told have it masked."""
    bench.variables = {"CI_KEY": SECRET}
    bench.write(
        'step=a|printf %s "$KEY" | sha256sum > used; echo "it is $KEY."; echo $KEY >&2; '
        'for part in s3cr3t -of -the -day; do printf %s "$part"; sleep 0.02; done',
        parameters=PARAMETERS,
    )
    state = bench.run(KEY="env:CI_KEY")
    assert state.exit == 0
    used = subprocess.run(["sha256sum"], input=SECRET.encode(), capture_output=True, check=True)
    assert (bench.folder / "used").read_text() == used.stdout.decode()
    log = bench.store.folder(state.run_id) / "logs" / "01-a.1.log"
    assert log.read_text() == "it is ***.\n***\n***"
    assert SECRET not in everything_kept(bench)
    assert SECRET.encode() not in bench.heard.text
    assert "KEY" not in state.parameters


def test_no_process_has_the_secret_in_its_arguments(bench: Bench) -> None:
    """Neither bash nor what masks: another user of the machine sees arguments."""
    bench.variables = {"CI_KEY": SECRET}
    bench.write(  # processes that end meanwhile have no file any more
        "step=a|: $KEY; { cat /proc/[0-9]*/cmdline || true; } | tr '\\0' ' ' > seen",
        parameters=PARAMETERS,
    )
    assert bench.run(KEY="env:CI_KEY").exit == 0
    seen = (bench.folder / "seen").read_text()
    assert "mask.py" in seen
    assert SECRET not in seen


def test_an_output_with_the_secret_is_refused(bench: Bench) -> None:
    """What a step determines is recorded: exit 2, and the file that it wrote is emptied."""
    bench.variables = {"CI_KEY": SECRET}
    bench.write('step=a|echo "OUT=x$KEY" >> "$STEP_OUTPUT"', parameters=PARAMETERS)
    assert bench.run(KEY="env:CI_KEY").exit == 2
    assert SECRET not in everything_kept(bench) + "\n".join(bench.heard.lines)


def test_a_resumed_run_is_given_the_reference_again(bench: Bench) -> None:
    """The journal has no reference; without it the resumed run is refused before anything."""
    (bench.folder / "key").write_text(SECRET + "\n")
    bench.write('step=a|test -e ready; printf %s "$KEY" > used', parameters=PARAMETERS)
    assert bench.run(KEY=f"file:{bench.folder}/key").exit == 1
    assert f"{bench.folder}/key" not in everything_kept(bench)
    with pytest.raises(UnusableInput, match="the secret KEY is missing: env:NAME"):
        bench.resume()
    with pytest.raises(UnusableInput, match="keeps its parameters"):
        bench.resume(KEY=f"file:{bench.folder}/key", OUT="x")
    (bench.folder / "ready").touch()
    assert bench.resume(KEY=f"file:{bench.folder}/key").exit == 0
    assert (bench.folder / "used").read_text() == SECRET


@pytest.mark.parametrize(
    ("given_as", "reason"),
    [
        (SECRET, "must be given by reference"),
        ("env:", "must be given by reference"),
        ("vault:x", "must be given by reference"),
        ("env:NOT_SET", "NOT_SET is not set"),
        ("file:/nowhere/at/all", "cannot be read"),
        ("kubernetes:a/b", "no cluster was asked"),
        ("env:SHORT", "too short"),
        ("env:BLANK", "is empty"),
    ],
)
def test_what_gives_no_secret_is_refused_without_showing_it(
    bench: Bench, given_as: str, reason: str
) -> None:
    """Nothing is begun, and no message has what may be the secret itself."""
    bench.variables = {"SHORT": "abc", "BLANK": " \n"}
    bench.write("step=a|touch trace", parameters=PARAMETERS)
    with pytest.raises(OpsError, match=reason) as caught:
        bench.run(KEY=given_as)
    assert SECRET not in str(caught.value) + caught.value.hint
    assert bench.told() == ""
    assert bench.store.ids() == []


def test_a_secret_of_the_cluster_is_asked_there() -> None:
    """Secret and key, as the reference names them."""
    asked = []

    def cluster(secret: str, key: str) -> str:
        asked.append((secret, key))
        return SECRET

    reference = Reference.of("kubernetes:mc-platform-secrets/AUDIT_SIEM_KEY")
    assert reference is not None
    assert Sources({}, cluster).value("KEY", reference) == SECRET
    assert asked == [("mc-platform-secrets", "AUDIT_SIEM_KEY")]
    with pytest.raises(CouldNotTell):
        Sources({}, no_cluster).value("KEY", reference)


def test_a_pattern_holds_for_a_secret_and_does_not_show_it(bench: Bench) -> None:
    """The message has the pattern alone."""
    bench.variables = {"CI_KEY": SECRET}
    bench.write(
        "step=a|true", parameters="parameters:\n- {name: KEY, secret: true, pattern: 'x+'}\n"
    )
    with pytest.raises(UnusableInput, match=r"does not match x\+$"):
        bench.run(KEY="env:CI_KEY")


def test_a_secret_with_an_empty_default_may_be_left_out(bench: Bench) -> None:
    """The step sees an empty value, not one of whoever started the run."""
    bench.variables = {"KEY": "of the caller"}
    bench.write(
        'step=a|test -z "$KEY"',
        parameters='parameters:\n- {name: KEY, secret: true, default: ""}\n',
    )
    assert bench.run().exit == 0


def test_what_runs_on_in_the_background_does_not_hold_the_run(bench: Bench) -> None:
    """It keeps the mask's input open; the step's own words are there all the same."""
    bench.variables = {"CI_KEY": SECRET}
    bench.write("step=a|sleep 300 & echo $! > pid; echo before $KEY", parameters=PARAMETERS)
    state = bench.run(KEY="env:CI_KEY")
    subprocess.run(["kill", (bench.folder / "pid").read_text().strip()], check=True)
    log = bench.store.folder(state.run_id) / "logs" / "01-a.1.log"
    assert (state.exit, log.read_text()) == (0, "before ***\n")


WORDS = st.text(alphabet="ab\n", max_size=30)
SECRETS = st.lists(st.text(alphabet="ab", min_size=2, max_size=6), min_size=1, max_size=3)


@given(WORDS, SECRETS, st.lists(st.integers(0, 30), max_size=6))
def test_a_mask_does_not_depend_on_how_the_text_arrives(
    text: str, secrets: list[str], cuts: list[int]
) -> None:
    """In pieces as in one, no secret is left, and what belongs to none is as it was."""
    whole = Mask(secrets)
    expected = whole.feed(text.encode()) + whole.end()
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    mask = Mask(secrets)
    pieces = [text[a:b].encode() for a, b in itertools.pairwise(places)]
    assert b"".join(map(mask.feed, pieces)) + mask.end() == expected
    assert not any(secret.encode() in expected for secret in secrets)
    covered = {
        place
        for secret in secrets
        for match in re.finditer(f"(?={secret})", text)
        for place in range(match.start(), match.start() + len(secret))
    }
    kept = "".join(letter for place, letter in enumerate(text) if place not in covered)
    assert expected.replace(MASKED, b"").decode() == kept


def test_each_line_of_a_secret_is_masked() -> None:
    """A key of many lines, printed with other ends of line, or one line of it alone."""
    key = "-----BEGIN KEY-----\nabcdefgh\nijklmnop\n-----END KEY-----"
    mask = Mask([key])
    assert mask.feed(b"x abcdefgh\r\n  ijklmnop\n" + key.encode()) + mask.end() == (
        b"x ***\r\n  ***\n***"
    )


def test_a_line_of_a_secret_is_masked_to_its_end_whatever_stands_in_it() -> None:
    """To `grep` a line ends at a newline alone: the short pieces around U+2028 are part of it."""
    mask = Mask(["first-line\nab\u2028the-long-piece\u2028cd"])
    shown = mask.feed("it says ab\u2028the-long-piece\u2028cd.".encode()) + mask.end()
    assert shown == b"it says ***."


def test_a_secret_in_a_file_of_windows(tmp_path: Path) -> None:
    """A byte order mark and one end of line are no part of it."""
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbfpass word\r\n")
    reference = Reference.of(f"file:{tmp_path}/key")
    assert reference is not None
    assert Sources({}, no_cluster).value("KEY", reference) == "pass word"


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=8, max_size=40),
    st.binary(max_size=4),
    st.binary(max_size=4),
)
def test_an_encoded_secret_is_masked(secret: str, before: bytes, after: bytes) -> None:
    """What `jq`, `curl`, `base64`, `xxd` and a shell that traces print of it, within other text."""
    raw = secret.encode()
    around = before + raw + after
    letters = base64.b64encode(around).decode()
    shown = {
        "json": json.dumps(secret)[1:-1],
        "json, not ASCII alone": json.dumps(secret, ensure_ascii=False)[1:-1],
        "url": quote(secret, safe=""),
        "query": quote_plus(secret),
        "html": html.escape(secret),
        "hex": raw.hex(),
        "shell": shlex.quote(secret),
    }
    for form, text in shown.items():
        mask = Mask([secret])
        written = (mask.feed(f"x {text} y".encode()) + mask.end()).decode()
        assert "***" in written, form
        assert text not in written, form
    mask = Mask([secret])
    left = mask.feed(letters.encode()) + mask.end()
    assert MASKED in left
    # What is left has at most two letters of a neighbour's group at either end
    assert len(left) - len(MASKED) <= len(letters) - len(raw) * 8 // 6 + 2


def test_a_long_secret_in_lines_of_base64_is_masked() -> None:
    """`base64` breaks a line after 76 letters, `openssl base64` after 64."""
    secret = "".join(f"part-{number}/" for number in range(40))
    for width in (64, 76):
        letters = base64.b64encode(secret.encode()).decode()
        text = "\n".join(letters[at : at + width] for at in range(0, len(letters), width))
        mask = Mask([secret])
        left = (mask.feed(text.encode()) + mask.end()).decode()
        assert not re.search("[A-Za-z0-9+/]{8}", left), left


def test_an_encoded_secret_is_in_nothing_that_is_kept(bench: Bench) -> None:
    """Neither in the log nor, by an output, in the journal."""
    bench.variables = {"CI_KEY": SECRET}
    bench.write(
        'step=a|printf %s "$KEY" | base64; printf "user:%s" "$KEY" | base64 >> "$STEP_OUTPUT.x";'
        ' echo "OUT=$(cat "$STEP_OUTPUT.x")" >> "$STEP_OUTPUT"; rm "$STEP_OUTPUT.x"',
        parameters=PARAMETERS,
    )
    assert bench.run(KEY="env:CI_KEY").exit == 2
    kept = everything_kept(bench)
    for before in ("", "user:"):
        core = base64.b64encode(f"{before}{SECRET}".encode()).decode()[8:20]
        assert core not in kept


def test_one_line_of_a_longer_secret_is_in_no_output(bench: Bench) -> None:
    """The journal has none of its lines, as the log has none."""
    (bench.folder / "key").write_text("-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n")
    bench.write(
        'step=a|echo "OUT=$(sed -n 2p <<< "$KEY")" >> "$STEP_OUTPUT"', parameters=PARAMETERS
    )
    assert bench.run(KEY=f"file:{bench.folder}/key").exit == 2
    (bench.folder / "key").unlink()
    assert "abcdefgh" not in everything_kept(bench)


def test_a_block_that_does_not_name_a_secret_does_not_have_it(bench: Bench) -> None:
    """A step, a check and an undo have in their environment what they ask for, and no more."""
    bench.variables = {"CI_KEY": SECRET}
    bench.write(
        "step=a|env > plain",
        'step=b|printf %s "$KEY" > named; env > asked',
        "check=b|env > checked",
        parameters="parameters:\n- {name: KEY, secret: true}\n",
    )
    assert bench.run(KEY="env:CI_KEY").exit == 0
    lines = {
        name: (bench.folder / name).read_text().split("\n")
        for name in ("plain", "asked", "checked")
    }
    assert (bench.folder / "named").read_text() == SECRET
    assert "KEY=" in lines["plain"]
    assert "KEY=" in lines["checked"]
    assert f"KEY={SECRET}" in lines["asked"]


def test_a_secret_that_is_no_text_is_refused() -> None:
    """A variable's bytes need not be UTF-8; what masks could not look for them."""
    reference = Reference.of("env:CI_KEY")
    assert reference is not None
    with pytest.raises(UnusableInput, match="is no text"):
        Sources({"CI_KEY": "secret\udcff-value"}, no_cluster).value("KEY", reference)
