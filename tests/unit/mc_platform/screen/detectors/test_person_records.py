"""Records in a notation of their own, and values that markup cuts in pieces."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()


def found(text):
    return [(lb.type, text[lb.start : lb.end]) for lb in SCREENER.screen(({"text": text},)).labels]


VCARD = (
    "BEGIN:VCARD\nFN:Petra Lindqvist\nADR;TYPE=home:;;Storgatan 14;Uppsala;;753 31;Sweden\n"
    "BDAY:1981-04-02\nTEL:+46 18 471 00 00\nEND:VCARD"
)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        (VCARD, "person-name", "Petra Lindqvist"),
        (VCARD, "postal-address", "Storgatan 14;Uppsala;;753 31;Sweden"),
        (VCARD, "date-of-birth", "1981-04-02"),
        ("name,street,city,zip\nOlga Ivanova,Lenina 5,Perm,614000", "person-name", "Olga Ivanova"),
        ("name,street,city,zip\nOlga Ivanova,Lenina 5,Perm,614000", "postal-address", "Lenina 5"),
        ("id;name;dob\n1;Olga Ivanova;1981-04-02\n", "date-of-birth", "1981-04-02"),
        ("| name | diagnosis |\n|---|---|\n| Ole Berg | asthma |", "health", "asthma"),
        ("id,first_name,last_name\n1,Ole,Bergsson\n", "person-name", "Bergsson"),
        (
            "<patient><name>Ahmed Saleh</name><icd10>F32.1</icd10></patient>",
            "person-name",
            "Ahmed Saleh",
        ),
        ("<patient><name>A. S.</name><icd10>F32.1</icd10></patient>", "health", "F32.1"),
        ("<p:dateOfBirth>1981-04-02</p:dateOfBirth>", "date-of-birth", "1981-04-02"),
        ("j.fernan<b>dez@cor</b>reo-norte.es", "email", "j.fernan<b>dez@cor</b>reo-norte.es"),
        ('a<span class="x">nn.lee@cor</span>reo-norte.es', "email", None),
        ("*j*.**fernandez**@*correo-norte*.es", "email", None),
        ("DNI: 7  2  3  0  0  5  0  6  Y", "national-id", "7  2  3  0  0  5  0  6  Y"),
    ],
)
def test_a_record_says_what_its_values_are(text, kind, value):
    """A property, a column, an element; a reader sees no tags and no asterisks."""
    assert (kind, value) in found(text) if value else kind in {kind for kind, _ in found(text)}


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN:VCARD and END:VCARD enclose FN, ADR and BDAY.",
        "BEGIN:VCARD\nFN:\nADR:;;;;;;\nBDAY:--\nEND:VCARD",
        "name,street,city,zip are the columns.\nOlga likes 5 of them",
        "name,version,license\nnumpy,1.26.4,BSD-3-Clause",
        "name,type,default\nTimeout Seconds,int,30",
        "name,city\nParis Marathon,Paris",
        "host,name,port\nweb1,Main Server,80",
        "<package><name>Requests Toolbelt</name><version>1.0</version></package>",
        "<h1>Ahmed Saleh Street</h1><address>1 Apple Park Way</address>",
        "<condition>status == 200</condition>",
        "<patient><name></name></patient>",
        "x<sub>2</sub>@y and <b>bold</b> text",
        "a*b@c + d*e",
        "/** @param *name* the name */",
        "a  b  c  d  e  f  g",
    ],
)
def test_tables_and_markup_of_things_are_left_alone(text):
    """Packages, hosts, options, formulas; a notation that is only spoken of."""
    assert found(text) == []
