"""The strict reader: what could mean two things is refused before it means one."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.evidence.strict import (
    Limits,
    Malformed,
    artifact_name_problem,
    parse_json,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
    max_leaves=10,
)


@given(VALUES)
def test_plain_json_is_read_as_by_the_standard_library(value: object) -> None:
    """What is plain and small is read, spelled with or without escapes."""
    for ascii_only in (True, False):
        assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """No input makes the reader fail in another way than by refusing."""
    with suppress(Malformed):
        parse_json(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":{"b":1,"b":2}}', "twice"),
        (b'{"a":1,"\\u0061":2}', "twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "out of range"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf[]", "not JSON"),
        (b'["\\ud800"]', "surrogate"),
        (b'["abc', "inside a string"),
        (b"[1] x", "not JSON"),
        (b"[" * 33 + b"]" * 33, "deeper"),
        (b"[" + b"9" * 5000 + b"]", "integer of 5000"),
        (b"", "not JSON"),
        (b"[1" + b"0" * 100 + b"]", "integer of 101"),
    ],
)
def test_ambiguous_json_is_refused(raw: bytes, reason: str) -> None:
    """Each trick has a reason of its own."""
    with pytest.raises(Malformed, match=reason):
        parse_json(raw)


def test_limits_hold_before_parsing() -> None:
    """Size, depth and count are bounded, and hostile input costs one pass (else this times out)."""
    limits = Limits(max_bytes=1000, max_depth=5, max_tokens=20)
    for raw, reason in (
        (b" " * 1001, "1001 bytes"),
        (b"[" * 6, "deeper than 5"),
        (b"[" + b"1," * 30, "more than 20"),
    ):
        with pytest.raises(Malformed, match=reason):
            parse_json(raw, limits)
    for raw in (b'"' + b'\\"' * 500_000, b"[" * 1_000_000, b'["' + b"\\\\" * 500_000):
        with pytest.raises(Malformed):
            parse_json(raw)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../up",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        ".hidden",
        "a\\b",
        "C:a",
        "a b",
        "a\x00",
        "na\u00efve",
        "\uff41",
        "-rf",
        "dot.",
        "x" * 201,
    ],
)
def test_artifact_name_that_leaves_its_folder_is_refused(name: str) -> None:
    """Names are relative plain ASCII paths: no traversal, no Unicode twins."""
    assert artifact_name_problem(name)


@pytest.mark.parametrize("name", ["base.lat", "ledger-checkpoint.txt", "a/b_c.json", "A1"])
def test_artifact_name_that_is_plain_is_taken(name: str) -> None:
    """Ordinary names are fine."""
    assert artifact_name_problem(name) is None
