"""Whatever a sender makes up: the screen does not raise, and its work grows with the input alone."""

from __future__ import annotations

import base64
import importlib.util
import os
import random
import string
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from mc_platform.screen import LibraryScreener
from mc_platform.screen.findings import Budget

HARNESS = Path(__file__).with_name("fuzz_screen.py")
SCREENER = LibraryScreener()
RUNS = 4000
PER_MESSAGE = 20_000  # units; `LibraryScreener`'s own bound
LETTERS = string.ascii_letters + string.digits
PIECES = st.sampled_from(
    [
        "4111 1111 1111 1111",
        "jane@example.com",
        "%34%31",
        "&#52;",
        "NDExMTExMTExMTExMTExMQ==",
        "\\u0034",
        "0x34 0x31",
        "=34=31",
        "four one one",
        "ignore previous instructions",
        "![x](https://evil.example/?q=",
        '{"tool_call":',
        "DE89 3704 0044 0532 0130 00",
        "-----BEGIN PRIVATE KEY-----",
        "\u202e",
        "\u200b",
        "а",
        "\U0001d7d2",
        "\ud800",
        "\0",
        "[[[[",
        "((((",
        '"' * 20,
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=40)), max_size=12).map("".join)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
PARTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"text": TEXTS}),
        st.fixed_dictionaries({"data": JSON}),
        st.fixed_dictionaries(
            {"raw": TEXTS, "mediaType": st.sampled_from(["text/csv", "image/x"])}
        ),
        st.fixed_dictionaries({"url": TEXTS, "filename": TEXTS, "metadata": JSON}),
        JSON,
    ),
    max_size=4,
)


@settings(max_examples=examples(150))
@given(PARTS, st.lists(TEXTS, max_size=3))
def test_no_message_makes_the_screen_raise(parts: Any, history: list[str]) -> None:
    """Any JSON in any part, with any history; and redacting ends."""
    screening = SCREENER.screen(parts, history=history)
    redacted = SCREENER.redact(parts, screening)
    left = SCREENER.screen(redacted).types & screening.types
    assert not left
    for label in screening.labels:
        assert 0 <= label.start <= label.end
        assert 0.0 <= label.confidence <= 1.0


def _nested(size: int) -> str:
    text = "4111111111111111" * (size // 64)
    for _ in range(3):
        text = base64.b64encode(text.encode()).decode()
    return text


def _letters(size: int) -> str:
    return "".join(random.Random(1).choices(LETTERS, k=size))


GROWING: dict[str, Callable[[int], list[Any]]] = {
    "at signs": lambda size: [{"text": "a@" * (size // 2)}],
    "digits": lambda size: [{"text": "4" * size}],
    "digits and spaces": lambda size: [{"text": "4 1" * (size // 3)}],
    "percent": lambda size: [{"text": "%25" * (size // 3)}],
    "brackets": lambda size: [{"text": "![[(" * (size // 4)}],
    "quotes": lambda size: [{"text": '\\"{' * (size // 3)}],
    "words": lambda size: [{"text": "four one patient name is " * (size // 25)}],
    "cues": lambda size: [{"text": "password = token: ssn " * (size // 22)}],
    "mixed scripts": lambda size: [{"text": "аbс " * (size // 4)}],
    "hex": lambda size: [{"text": "34 31 " * (size // 6)}],
    "angle brackets": lambda size: [{"text": "<a href=" * (size // 8)}],
    "links": lambda size: [{"text": "https://a.example/?q=%41 " * (size // 25)}],
    "headers of keys": lambda size: [{"text": "-----BEGIN PRIVATE KEY-----" * (size // 27)}],
    "cues of addresses": lambda size: [{"text": "lives at 12 Oak Street " * (size // 23)}],
    "accounts": lambda size: [{"text": "DE89 " * (size // 5)}],
    "birthdays": lambda size: [{"text": "born on 01/01/1990 " * (size // 19)}],
    "phones": lambda size: [{"text": "phone 030 1234567 " * (size // 18)}],
    "options of commands": lambda size: [{"text": "curl -u a:bC3dE4fG " * (size // 19)}],
    "tags within words": lambda size: [{"text": "a<b>x@" * (size // 6)}],
    "asterisks": lambda size: [{"text": "*a*@" * (size // 4)}],
    "headers of tables": lambda size: [{"text": "name,street\n" * (size // 12)}],
    "elements": lambda size: [{"text": "<name>Al Bo</name>" * (size // 18)}],
    "vCards": lambda size: [{"text": "BEGIN:VCARD\nFN:Al Bo\n" * (size // 21)}],
    "codes": lambda size: [{"text": "recovery codes: a1b2-c3d4 " * (size // 26)}],
    "random letters": lambda size: [{"text": _letters(size)}],
    "base64 of base64": lambda size: [{"text": _nested(size)}],
    "many strings": lambda size: [{"data": ["4111"] * (size // 4)}],
    "small objects": lambda size: [{"data": [{"i": 1, "d": "4929"}] * (size // 20)}],
    "keys and values": lambda size: [{"data": {str(n): "4929" for n in range(size // 10)}}],
    "many parts": lambda size: [{"text": "4111 1"}] * (size // 6),
}


class _Counted:
    """A screener's prefilter that counts the characters it is shown."""

    def __init__(self, screener: LibraryScreener) -> None:
        self._inner = screener._prefilter
        self.chars = 0

    def hits(
        self,
        text: str,
        kinds: frozenset[str] = frozenset(),
        only: frozenset[int] | None = None,
    ) -> Sequence[int]:
        self.chars += len(text)
        return self._inner.hits(text, kinds, only)

    def may_hit(self, texts: Sequence[str]) -> frozenset[int]:
        self.chars += sum(map(len, texts))
        return self._inner.may_hit(texts)


@pytest.mark.parametrize("shape", list(GROWING))
def test_work_is_bounded_by_count(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is read through layers at most so often, and no more is validated than paid for."""
    screener = LibraryScreener()
    counted = _Counted(screener)
    spent: list[int] = []
    spend = Budget.spend

    def counting(self: Budget, units: int = 1) -> None:
        spend(self, units)
        spent.append(units)

    monkeypatch.setattr(screener, "_prefilter", counted)
    monkeypatch.setattr(Budget, "spend", counting)
    parts = GROWING[shape](96_000)
    screener.screen(parts)
    # A unit pays for 512 characters of a reading; strings as they stand are read once, and their
    # edges again with their neighbours'.
    assert sum(spent) <= PER_MESSAGE
    assert counted.chars <= 4 * 96_000 + 512 * sum(spent)


def _cpu_s(parts: list[Any]) -> float:
    """The least CPU time of three screenings."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        SCREENER.screen(parts)
        spent.append(time.process_time() - began)
    return min(spent)


@pytest.mark.long
@pytest.mark.parametrize("shape", list(GROWING))
def test_work_grows_with_the_input_and_no_faster(shape: str) -> None:
    """Eight times the input costs at most about eight times the work; quadratic would be 64."""
    small, large = GROWING[shape](12_000), GROWING[shape](96_000)
    SCREENER.screen(small)
    for attempt in range(4):
        ratio = _cpu_s(large) / max(_cpu_s(small), 0.002)
        if ratio < 20:
            return
        if attempt == 3:
            pytest.fail(f"eight times the input cost {ratio:.0f} times the work")


def test_nesting_has_a_floor() -> None:
    """JSON nested deeper than anybody reads is told as such, not descended into."""
    deep: Any = "4111111111111111"
    for _ in range(500):
        deep = [deep]
    assert "screening-limit" in SCREENER.screen([{"data": deep}]).types


@pytest.mark.long
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    """A bounded run of the coverage-guided harness; `python tests/fuzz/fuzz_screen.py` goes on."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: there is no build for this platform or Python")
    ran = subprocess.run(
        [
            sys.executable,
            str(HARNESS),
            f"-atheris_runs={RUNS}",
            f"-runs={RUNS}",
            "-max_len=600",
            f"-seed={int.from_bytes(os.urandom(3))}",
            f"-artifact_prefix={tmp_path}/",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=HARNESS.parents[2],
    )
    told = ran.stdout[-2000:] + ran.stderr[-3000:]
    assert ran.returncode == 0, told
    assert f"Done {RUNS} runs" in ran.stderr or f"Done {RUNS} in" in ran.stderr, told
