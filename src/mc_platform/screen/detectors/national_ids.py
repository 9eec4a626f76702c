"""National identifiers: which validator of python-stdnum judges which shape.

A rule is trusted without context where a random string of its shape passes at most about two
times in a hundred (measured over 20,000 random strings each), or where its notation is distinct;
other shapes count only when a word nearby says what they are. Without that, one in eleven
nine-digit order numbers would be a Dutch citizen.

A *layout* writes a run of digits by its groups: `3-2-4` is `123-45-6789`, `11` eleven digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import re2

CONTEXT = re2.compile(
    r"(?i)\b(?:ssn|itin|social.?security|(?:national|personal|citizen|civil|resident|fiscal|tax)"
    r"[ _-]?(?:registration |identification |identity |insurance |health )?"
    r"(?:id|number|no|code|nummer|identifier|insurance)"
    r"|identity (?:number|card|no)|id[ _-]?card|nhs|nino|bsn|burgerservicenummer|sofinummer"
    r"|personnummer|personnr|cpr|cnp|egn|rodn[eé]|pesel|oib|jmbg|emso|amka|kennitala"
    r"|steuer(?:-?id|identifikationsnummer|nummer)|idnr|svnr|sozialversicherung\w*|ahv|avs"
    r"|nif|nie|dni|cpf|rut|rijksregister\w*|registre national|niss|insee|nir"
    r"|codice fiscale|asmens|isikukood|f[oø]dselsnummer|tckn|tc kimlik|kimlik"
    r"|teudat|aadhaar|aadhar|uidai|pan|mykad|nric|my ?number|rrn|curp"
    r"|tfn|sin|social insurance|medicare|inn|rntrc|pps|ppsn|pin no|tin|vnr|pnr|hetu|henkil[oö]tunnus|nas|num[eé]ro d.assurance"
    r"|s[eé]curit[eé] sociale|seguridad social|rvnr|rentenversicherung\w*|nik|ktp|snils|frn|national (?:id|insurance)|tnin"
    r"|citizen ?card|cart[aã]o de cidad[aã]o|matri[cč]n\w*|c[eé]dula|personas kod\w*|szem[eé]lyi\w*|kimlik\w*|rč|emšo"
    r"|(?:thai|turkish|korean|south african|rsa|sa|finnish|swedish|danish|norwegian|polish|chinese|indian|israeli|estonian|latvian|lithuanian"
    r"|malaysian|singapore|hungarian|romanian|bulgarian|croatian|greek|my|his|her|their|holder'?s?|patient'?s?) (?:national |identity |citizen )?id(?: code| number| no)?)\b"
    r"|егн|инн|снилс|рнокпп|паспорт|身份证|身份證|身分證|주민|외국인등록|เลขประจำตัว|บัตรประชาชน|תעודת זהות|ת\.ז|αμκα|αφμ|マイナンバー|個人番号|رقم الهوية"
)


@dataclass(frozen=True, slots=True)
class IdRule:
    """One kind of identifier: its validator, and the layouts trusted with and without context."""

    name: str
    free: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


DIGIT_RULES = (
    # Groups that no other notation has, or a checksum of two digits over a date.
    IdRule("be.nn", ("11", "2.2.2-3.2", "6 3 2", "6-3-2"), ("2.2.2-3 2", "2 2 2 3 2")),
    IdRule("ch.ssn", ("13", "3.4.4.2")),
    IdRule("cn.ric", ("18",)),
    IdRule("de.idnr", ("11", "2 3 3 3", "2-3-3-3")),
    IdRule("ee.ik", ("11",)),
    IdRule("fr.nir", ("15", "1 2 2 2 3 3 2", "13 2", "1-2-2-2-3-3-2")),
    IdRule("gr.amka", ("11",)),
    IdRule("is_.kennitala", ("6-4",), ("10",)),  # Unix time has ten digits
    IdRule("no.fodselsnummer", ("11", "6 5", "6-5")),
    IdRule("pl.pesel", ("11",)),
    IdRule("se.personnummer", ("6-4",), ("10", "12", "8-4")),
    IdRule("cz.rc", ("6/3", "6/4"), ("9", "10")),
    IdRule("dk.cpr", ("6-4",), ("10",)),
    IdRule("kr.rrn", ("6-7",), ("13",)),
    IdRule("my.nric", ("6-2-4",), ("12",)),
    IdRule("th.pin", ("1-4-5-2-1",), ("13",)),
    IdRule("in_.aadhaar", (), ("12", "4 4 4", "4-4-4")),
    IdRule("br.cpf", ("3.3.3-2",), ("11",)),
    # Millisecond timestamps have thirteen digits too.
    IdRule("ro.cnp", (), ("13",)),
    IdRule("si.emso", (), ("13",)),
    IdRule("za.idnr", (), ("13", "6 4 2 1", "6 7")),
    IdRule("lv.pvn", (), ("6-5", "11")),
    # One check digit only: a word must say so.
    IdRule("gb.nhs", (), ("10", "3 3 4", "3-3-4")),
    IdRule("nl.bsn", (), ("9", "4.2.3")),
    IdRule("pt.nif", (), ("9", "3 3 3")),
    IdRule("ca.sin", (), ("9", "3 3 3", "3-3-3")),
    IdRule("au.tfn", (), ("9", "3 3 3")),
    IdRule("il.idnr", (), ("9", "8-1")),
    IdRule("at.vnr", (), ("10", "4 6")),
    IdRule("bg.egn", (), ("10",)),
    IdRule("ua.rntrc", (), ("10",)),
    IdRule("hr.oib", (), ("11",)),
    IdRule("lt.asmens", (), ("11",)),
    IdRule("tr.tckimlik", (), ("11",)),
    IdRule("ru.inn", (), ("12",)),
    IdRule("jp.in_", (), ("12", "4 4 4", "4-4-4")),
    # No check digit at all, so last: whatever else validates is named first.
    IdRule("us.ssn", ("3-2-4",), ("9", "3 2 4")),
    IdRule("us.itin", ("3-2-4",), ("9",)),
)


@dataclass(frozen=True, slots=True)
class LetteredRule:
    """An identifier of letters and digits: its own shape, and whether a word must name it."""

    name: str
    shape: str
    named: bool = False


LETTERED_RULES = (
    LetteredRule("es.dni", r"(?i)\d{8}[ \-]?[A-Z]"),
    LetteredRule("es.nie", r"(?i)[XYZ][ \-]?\d{7}[ \-]?[A-Z]"),
    LetteredRule(
        "it.codicefiscale",
        r"(?i)[A-Z]{6}[ ]?[0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{2}[ ]?[A-Z][0-9LMNP-V]{3}[A-Z]",
    ),
    LetteredRule("fi.hetu", r"(?i)\d{6}[\-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]"),
    LetteredRule("fr.nir", r"(?i)[12] ?\d\d ?\d\d ?2[AB] ?\d{3} ?\d{3} ?\d\d"),
    LetteredRule("cn.ric", r"(?i)\d{17}X"),
    LetteredRule("mx.curp", r"(?i)[A-Z]{4}\d{6}[A-Z]{6}[A-Z0-9]\d"),
    LetteredRule("cl.rut", r"(?i)\d{1,2}\.\d{3}\.\d{3}-[\dK]"),
    LetteredRule("se.personnummer", r"\d{6}\+\d{4}"),
    # No validator in the library; the shape and the prefixes never issued are HMRC's (NIM39110).
    LetteredRule(
        "gb.nino",
        r"(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ \-]?\d\d[ \-]?\d\d[ \-]?\d\d[ \-]?[A-D]",
    ),
    LetteredRule("ie.pps", r"(?i)\d{7}[A-W][A-IW]?", named=True),
    LetteredRule("in_.pan", r"(?i)[A-Z]{5}\d{4}[A-Z]", named=True),
)

_NINO_NEVER_ISSUED = frozenset({"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"})


def _nino(value: str) -> bool:
    return value[:2].upper() not in _NINO_NEVER_ISSUED


def _library(name: str) -> Callable[[str], bool]:
    check: Callable[[str], bool] = import_module(f"stdnum.{name}").is_valid

    def valid(value: str) -> bool:
        try:
            return bool(check(value))
        except Exception:  # noqa: BLE001 - e.g. stdnum.cn.ric raises KeyError for some places
            return False

    return valid


def _nir(value: str) -> bool:
    # INSEE: the sex (with the codes for the time before a number is given), then year and month.
    return value.lstrip()[:1] in _NIR_BEGINS and _library_nir(value)


_NIR_BEGINS = frozenset("123478")
_library_nir = _library("fr.nir")
_OWN = {"gb.nino": _nino, "fr.nir": _nir}

VALIDATORS: dict[str, Callable[[str], bool]] = {
    rule.name: _OWN.get(rule.name) or _library(rule.name)
    for rule in (*DIGIT_RULES, *LETTERED_RULES)
}

BY_LAYOUT: dict[str, list[tuple[IdRule, bool]]] = {}
"""Layout to the rules that know it, each with whether a word must name it."""
for _rule in DIGIT_RULES:
    for _layout in _rule.free:
        BY_LAYOUT.setdefault(_layout, []).append((_rule, False))
    for _layout in _rule.named:
        BY_LAYOUT.setdefault(_layout, []).append((_rule, True))
