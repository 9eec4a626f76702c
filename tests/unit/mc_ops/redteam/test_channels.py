"""Values are found wherever they stand, however the bytes are cut, and not where they stood before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mc_ops.redteam import channels
from mc_ops.redteam.case import Ask, Case
from mc_ops.redteam.channels import Watch, leaks
from mc_ops.redteam.values import Canary, core_of


def case(name, text, kind="phone", **more):
    return Case(
        name, "f", "attack", (Ask(),), canaries=(Canary(kind, text, core_of(text)),), **more
    )


PHONE = case("c-1", "+49 302 1234567")
SHORT = case("c-2", "BX-12345", "customer-id")


def test_a_value_is_found_as_letters_and_digits():
    """Whatever punctuation a log put between."""
    raw = b'{"msg":"caller (+49) 302-123.45.67 rang"}'
    assert leaks([PHONE, SHORT], {"logs": raw}) == {"c-1": "logs"}


def test_a_short_value_is_found_as_it_is_written_only():
    """Seven letters and digits come up by chance."""
    assert leaks([SHORT], {"logs": b"b x 1 2 3 4 5 and fbx12345"}) == {}
    assert leaks([SHORT], {"SIEM": b"see BX-12345"}) == {"c-2": "SIEM"}


def test_a_disguised_value_is_found_in_its_disguise():
    """The carrier, letter by letter."""
    made = case("c-3", "kira.moleni412@bodak.org", carriers=(("kira [at] bodak [dot] org",),))
    assert leaks([made], {"logs": b'... "kira [at] bodak [dot] org" ...'}) == {"c-3": "logs"}


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(30, 90))
def test_a_value_is_found_across_any_cut(before, after, piece):
    """The search goes in pieces, and no border hides anything."""
    kept, channels._PIECE = channels._PIECE, piece
    try:
        raw = before + b" BX-12345 " + after
        assert leaks([SHORT], {"logs": raw}) == {"c-2": "logs"}
    finally:
        channels._PIECE = kept


def test_only_what_was_written_since_is_read(tmp_path):
    """A leak of yesterday is not this run's; a new file, and a rotated one, are read whole."""
    log = tmp_path / "a.log"
    log.write_text("BX-12345 was here\n")
    watch = Watch({"logs": tmp_path, "SIEM": tmp_path / "none"})
    assert leaks([SHORT], watch.grown()) == {}
    (tmp_path / "b.log").write_text("BX-12345\n")
    assert leaks([SHORT], watch.grown()) == {"c-2": "logs"}
    (tmp_path / "b.log").unlink()
    log.write_text("BX-12345\n")
    assert leaks([SHORT], watch.grown()) == {"c-2": "logs"}
