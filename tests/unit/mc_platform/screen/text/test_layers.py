"""A value beneath layers that programs, pages and databases put around it."""

from __future__ import annotations

import base64
import gzip
import zlib
from typing import Any

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
CARD, MAIL = "4539578763621486", "ann.lee@northwind.com"
GROUPS = [CARD[at : at + 4] for at in range(0, 16, 4)]
TEXT = f"please charge {CARD} and write to {MAIL} today"


def _deflated(text: str) -> bytes:
    """Without a head."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(text.encode()) + packer.flush()


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "layered",
    [
        gzip.compress(TEXT.encode()).hex(),
        zlib.compress(TEXT.encode()).hex(),
        _deflated(TEXT).hex(),
        _b64(_deflated(TEXT)),
        _b64(TEXT.encode("utf-16")),
        _b64(TEXT.encode("utf-16-le")),
        _b64(TEXT.encode("utf-16-be")),
        _b64(f"größe łódź {TEXT}".encode("utf-16")),
        _b64(TEXT.encode("utf-32")),
        TEXT[::-1],
        "".join(f"<b>{char}</b>" for char in TEXT),
        "+".join(f"chr({ord(char)})" for char in TEXT),
        " & ".join(f"ChrW({ord(char)})" for char in TEXT),
        " ".join(f"{ord(char):03o}" for char in TEXT),
    ],
)
def test_a_text_beneath_a_layer_is_read(layered: str) -> None:
    """Compressed, in another encoding, backwards, marked or numbered character by character."""
    types = SCREENER.screen(({"text": f"note {layered} end"},)).types
    assert types >= {"payment-card", "email"}


@pytest.mark.parametrize(
    "text",
    [
        "<br>".join(GROUPS),
        "<br />\n".join(GROUPS),
        "<tr><td>" + "</td><td>".join(GROUPS) + "</td></tr>",
        "<li>" + "</li>\n<li>".join(GROUPS) + "</li>",
        "SELECT '" + "' || '".join(GROUPS) + "'",
        'x = "' + '" + "'.join(GROUPS) + '"',
        "$a = '" + "' . '".join(GROUPS) + "';",
        "local a = '" + "' .. '".join(GROUPS) + "'",
        'a = "' + '" <> "'.join(GROUPS) + '"',
        "a = ('" + "'\n     '".join(GROUPS) + "')",
    ],
)
def test_groups_apart_are_one_number(text: str) -> None:
    """Whatever a page or a program puts between them."""
    assert SCREENER.screen(({"text": text},)).types == {"payment-card"}


def test_a_key_is_read_whose_characters_are_marked_one_by_one() -> None:
    """As a page shows it that colours its text."""
    key = "ghp_" + "a1B2c3D4e5F6" * 3
    marked = "".join(f"<span>{char}</span>" for char in f"use {key}")
    assert SCREENER.screen(({"text": marked},)).types == {"secret-key"}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({str(at): char for at, char in enumerate(MAIL)}, "email"),
        ({str(at): MAIL[at] for at in reversed(range(len(MAIL)))}, "email"),
        (list(MAIL), "email"),
        ([{"i": at, "c": char} for at, char in enumerate(MAIL)], "email"),
        ({str(at): CARD[at] for at in (3, 1, 2, 0, *range(15, 3, -1))}, "payment-card"),
        ({str(at): char for at, char in enumerate("DE89370400440532013000")}, "iban"),
    ],
)
def test_characters_under_their_index_are_read_in_order(data: Any, kind: str) -> None:
    """Each is labelled; redaction leaves none of them."""
    parts = ({"data": data},)
    screening = SCREENER.screen(parts)
    assert screening.types == {kind}
    assert not SCREENER.screen(SCREENER.redact(parts, screening)).types


@pytest.mark.parametrize(
    "text",
    [
        "<td>2019</td><td>2020</td><td>2021</td><td>2022</td>",
        "label = 'total ' + 'of ' + 'rows'",
        "4a7d1ed414474e4033ac29ccb8653d9b" * 2,
        base64.b64encode(bytes(range(64, 128)) * 2).decode(),
        "101 102 103 104 105 106 107",
        "row(12) + col(34) + x(56) + y(78) + z(90)",
        "'4111'\n'1112'",
    ],
)
def test_pages_programs_and_digests_are_left_alone(text: str) -> None:
    """Years in cells, words in literals, bytes that are no text."""
    assert SCREENER.screen(({"text": text},)).types == frozenset()
