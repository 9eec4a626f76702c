"""Identifiers that only a word announces: passports, licences, and further countries' numbers.

Where python-stdnum knows a number, it judges it; a passport's machine-readable lines carry their
own check digits. Addresses of machines count only where they are said to be a person's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import import_module

import re2
from stdnum import mac

from mc_platform.screen.detectors.context_words import Accept, cued
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import NATIONAL_ID, Budget, Finding

_IS = (
    r"[\"'`*]{0,3}(?:[ ]?\(?(?:no\.?|nr\.?|number|num|#|id|n[º°o]\.?)\)?){0,2}[\"'`*]{0,3}[ \t]{0,3}(?:[:：=#|]|(?i:is|was|es|est|lautet|to))?"
    r"[ \t\"'`*]{0,4}"
)
_PASSPORT = r"(?i:\bpassport|travel document|паспорт\w{0,2}|여권(?:번호)?[은는]?|护照(?:号码?)?|旅券番号|reisepass(?:nummer|-?nr\.?)?|pasaporte|passeport|paszport(?:u)?|passaporto|paspoort(?:nummer)?|pass-?nr\.?|numer paszportu)"
_LICENCE = (
    r"(?i:\bdriv(?:er|ing)(?:'?s)?[ _]licen[cs]e|\bdriver[_ ]?licen[cs]e|f[uü]hrerschein(?:nummer|-?nr\.?)?|permis de conduire|permiso de conducir|carn[eé] de conducir"
    r"|prawo jazdy|patente di guida|patente|rijbewijs|\bdl(?:n)?\b)"
)
_REASON = "A word names it, and it is formed accordingly."


def _mixed(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return sum(char.isdigit() for char in value) >= 4 and len(set(value)) > 2


def _medicare(text: str, start: int, end: int) -> bool:
    # Services Australia: eight digits, weighed 1, 3, 7, 9, then their sum modulo ten, then the issue.
    digits = [int(char) for char in text[start:end] if char.isdigit()]
    weights = (1, 3, 7, 9, 1, 3, 7, 9)
    return (
        len(digits) in (10, 11)
        and digits[0] in range(2, 7)
        and sum(w * d for w, d in zip(weights, digits, strict=False)) % 10 == digits[8]
    )


def _by(module: str) -> Accept:
    check = import_module(f"stdnum.{module}").is_valid

    def accept(text: str, start: int, end: int) -> bool:
        try:
            return bool(check(text[start:end]))
        except Exception:  # noqa: BLE001 - foreign validators raise what they like
            return False

    return accept


# The word, the shape of the number, and the validator.
_LIBRARY = (
    ("ar.dni", r"\bdni|documento nacional", r"\d{1,2}\.?\d{3}\.?\d{3}"),
    ("ar.cuit", r"\bcui[tl]\b", r"\d{2}[- ]?\d{8}[- ]?\d"),
    ("co.nit", r"\bnit\b|c[eé]dula de ciudadan[ií]a", r"\d{3}\.?\d{3}\.?\d{3}-?\d"),
    ("do.cedula", r"\bc[eé]dula", r"\d{3}-?\d{7}-?\d"),
    ("ec.ci", r"\bc[eé]dula|\bci\b", r"\d{9}-?\d"),
    ("uy.rut", r"\brut\b", r"\d{12}"),
    ("pe.cui", r"\bdni\b|\bcui\b", r"\d{8}-?[\dA-K]"),
    ("pk.cnic", r"\bcnic\b|\bnic\b", r"\d{5}-?\d{7}-?\d"),
    ("id.nik", r"\bnik\b|\bktp\b", r"\d{16}"),
    ("nz.ird", r"\bird\b", r"\d{2,3}[- ]?\d{3}[- ]?\d{3}"),
    ("gb.utr", r"\butr\b|unique taxpayer reference", r"\d{10}K?|\d{5}[ ]\d{5}"),
    ("gb.upn", r"\bupn\b|unique pupil number", r"[A-Z]\d{11}[\dA-Z]"),
    ("us.atin", r"\batin\b", r"9\d{2}-?93-?\d{4}"),
    ("us.ptin", r"\bptin\b", r"P\d{8}"),
    (
        "nl.identiteitskaartnummer",
        r"identiteitskaart(?:nummer)?|id-?kaart",
        r"[A-Z]{2}[A-Z\d]{6}\d",
    ),
    ("in_.epic", r"\bepic\b|voter id", r"[A-Z]{3}\d{7}"),
    ("in_.vid", r"\bvid\b|virtual id", r"\d{4}[ ]?\d{4}[ ]?\d{4}[ ]?\d{4}"),
    ("pl.nip", r"\bnip\b", r"\d{3}-?\d{3}-?\d{2}-?\d{2}"),
    ("fr.nif", r"num[eé]ro fiscal|\bspi\b", r"\d{2}[ ]?\d{2}[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}"),
    ("ca.bc_phn", r"\bphn\b|health number", r"9\d{3}[ ]?\d{3}[ ]?\d{3}"),
    ("sk.rc", r"rodn[eé] [cč][ií]slo", r"\d{6}/?\d{3,4}"),
    ("cu.ni", r"carn[eé] de identidad", r"\d{11}"),
    ("eg.tn", r"\btax (?:reg|number)\w*", r"\d{3}-?\d{3}-?\d{3}"),
    ("ke.pin", r"\bkra\b|\bpin\b", r"[A-Z]\d{9}[A-Z]"),
    ("cl.rut", r"\bru[tn]\b", r"(?:CL )?\d{7,8}-?[\dK]"),
    ("cr.cpf", r"c[eé]dula|\bcpf\b", r"\d-?\d{3,4}-?\d{3,4}"),
    ("ve.rif", r"\brif\b", r"[VEJPG]-?\d{8}-?\d"),
    ("py.ruc", r"\bruc\b", r"\d{5,9}-?\d"),
    ("mx.rfc", r"\brfc\b", r"[A-ZÑ&]{3,4}[ \-]?\d{6}[ \-]?[A-Z0-9]{3}"),
    ("at.tin", r"abgabenkontonummer|steuernummer", r"\d{2}-?\d{3}/?\d{4}"),
    (
        "de.stnr",
        r"steuer-?(?:nummer|nr)|\bst\.?-?nr",
        r"\d{2,3}[ /]?\d{3,4}[ /]?\d{4,5}(?: \d)?|\d{13}",
    ),
    ("si.emso", r"em[sš]o|jmbg|matična številka(?: občana)?", r"\d{13}"),
    ("za.tin", r"\btin\b|tax (?:number|reference)", r"\d{9}-?\d"),
    ("za.idnr", r"\bid", r"\d{6}[ ]?\d{7}"),
    ("fr.nif", r"\bnif\b|\bspi\b", r"[0-3]\d{12}"),
    ("bg.egn", r"\begn\b", r"\d{6}[ ]?\d{3}[ ]?\d"),
    ("bg.pnf", r"\bpnf\b|\blnch\b", r"\d{4}[ ]?\d{3}[ ]?\d{3}"),
    ("uy.rut", r"\brut\b", r"(?:UY[ ]?)?\d{2}[ \-]?\d{6}[ \-]?\d{3}[ \-]?\d"),
    ("ie.pps", r"\bppsn?\b", r"\d{7}[A-W][A-IWT]?"),
    ("il.idnr", r"teudat zehut|identity", r"\d{7,8}-?\d"),
)
# No validator in the library: the form alone, behind the word that names it.
_FORMED = (
    (
        "hu.szemelyi",
        r"szem[eé]lyi (?:szám|azonos[ií]t[oó](?: jel)?)|ad[oó]azonos[ií]t[oó](?: jel)?",
        r"\d[ \-]?\d{6}[ \-]?\d{4}|\d{10,12}",
    ),
    (
        "kr.registration",
        r"\b[rf]rn\b|resident registration|alien registration|주민등록번호|주민번호|외국인등록번호",
        r"\d{2}[01]\d[0-3]\d-?[1-8]\d{6}",
    ),
    ("de.personalausweis", r"(?:personal)?ausweis(?:-?nr\.?|nummer)?|\bid card", r"[A-Z0-9]{9,10}"),
    (
        "de.kvnr",
        r"kvnr|\begk(?:-?nummer)?|kranken(?:versicherten|kassen|versicherungs)(?:-?nr\.?|nummer)|versichertennummer",
        r"[A-Z]\d{9}",
    ),
    (
        "de.rvnr",
        r"rvnr|(?:renten|sozial)versicherungs(?:-?nr\.?|nummer)|sv-?nummer",
        r"\d{2}[ ]?\d{6}[ ]?[A-Z][ ]?\d{3}",
    ),
    ("de.fuehrerschein", r"fahrerlaubnis|f[uü]hrerschein\w*", r"[A-Z0-9]{11}"),
    (
        "us.mbi",
        r"\bmbi\b|medicare",
        r"[1-9][AC-HJ-NP-RT-Y][AC-HJ-NP-RT-Y0-9]\d-?[AC-HJ-NP-RT-Y][AC-HJ-NP-RT-Y0-9]\d-?[AC-HJ-NP-RT-Y]{2}\d{2}",
    ),
    ("ph.tin", r"\btin\b", r"\d{3}-\d{3}-\d{3}(?:-\d{3})?|\d{12}"),
    ("sg.nric", r"\bnric\b|\bfin\b|identity card", r"[STFGM]\d{7}[A-Z]"),
    ("in.epic", r"\bvoter(?:'?s)?(?: id| card)?|\bepic\b", r"[A-Z]{3}\d{7}"),
    ("it.card", r"carta d.identit[aà]|\bcie\b", r"[A-Z]{2}\d{5}[A-Z]{2}|[A-Z]{2}\d{7}"),
    ("es.passport", r"pasaporte", r"[A-Z]{3}\d{6}[A-Z]?"),
    (
        "cn.id",
        r"身份证(?:号码?)?|身份證(?:號碼?)?|\bric\b",
        r"\d{6}(?:19|20)\d{2}[01]\d[0-3]\d\d{3}[\dX]",
    ),
    # Invented ones fail their check or have a prefix that is never issued; the word says what they are.
    ("in.aadhaar", r"a+dhaa?r|uidai", r"\d{4}[ \-]?\d{4}[ \-]?\d{4}"),
    (
        "gb.nino",
        r"\bnino\b|national insurance|\bni (?:number|no\.?)",
        r"[A-Z]{2}[ ]?\d{2}[ ]?\d{2}[ ]?\d{2}[ ]?[A-DT]",
    ),
    ("us.ssn", r"\bssn\b|social security|\bitin\b", r"\d{3}[\- ]\d{2}[\- ]\d{4}"),
    ("ru.snils", r"снилс|\bsnils\b", r"\d{3}[ \-]?\d{3}[ \-]?\d{3}[ \-]?\d{2}"),
    ("hk.id", r"\bhkid\b|hong kong (?:id|identity)(?: card)?", r"[A-Z]{1,2}\d{6} ?\(?[\dA]"),
    ("ae.id", r"\bemirates id", r"784-?(?:19|20)\d{2}-?\d{7}-?\d"),
    ("ca.sin", r"\b(?-i:SIN|NAS)\b|social insurance(?: number)?", r"\d{3}[ \-]\d{3}[ \-]\d{3}"),
    ("ru.passport", r"паспорт\w{0,2}", r"\d{2}[ ]?\d{2}[ №]{0,2}\d{6}"),
)
_BEHIND = (
    r"(?i)\b(?P<value>[A-Z]{1,3}\d{6,9}[A-Z]?|\d{9})[\"',]{0,2}[ ](?i:is (?:my|his|her|their|the (?:customer|patient|client)'s)|es mi|est mon|ist (?:mein|ihr)e?|jest mo\w+)"
    r"[ ](?:\w{1,8}[ ]){0,3}(?i:passport|pasaporte|passeport|reisepass|paszport\w*|passaporto|driver'?s licen[cs]e|national id)"
)
_UK_LICENCE = r"\b(?P<value>[A-Z9]{5}\d(?:0[1-9]|1[0-2]|5[1-9]|6[0-2])(?:0[1-9]|[12]\d|3[01])\d[A-Z9]{2}[A-Z0-9][A-Z]{2})\b"


def _known(module: str, word: str, form: str) -> Shaped:
    return cued(
        NATIONAL_ID,
        f"stdnum.{module}",
        rf"(?i:{word}){_IS}(?P<value>(?i:{form}))\b",
        reason="A word names it, and its own checksum or structure holds.",
        confidence=0.9,
        accept=_by(module),
    )


def _formed(name: str, word: str, form: str) -> Shaped:
    return cued(
        NATIONAL_ID,
        f"context.{name}",
        rf"(?i:{word}){_IS}(?P<value>(?i:{form}))\b",
        reason=_REASON,
        confidence=0.8,
        accept=_mixed,
    )


def _any_of(rows: Sequence[tuple[str, str, str]], finders: Sequence[Shaped]) -> Shaped:
    """One shape for many: the words that name one of them."""
    asked = [finder for _, finder in finders]

    def find(text: str, key: str, budget: Budget) -> Iterator[Finding]:
        for finder in asked:
            yield from finder(text, key, budget)

    return "(?i)" + "|".join(dict.fromkeys(word for _, word, _ in rows)), find


_MRZ_SHAPE = r"[A-Z]{2,}<+[A-Z]|[A-Z0-9<]{20}<<"
_MRZ_LINE = re.compile(r"(?<![A-Z0-9<])[A-Z0-9<]{30,44}(?![A-Z0-9<])")
_WEIGHTS = (7, 3, 1)


def _check_digit(field: str) -> str:
    """ICAO 9303, part 3: 7-3-1 over digits, letters (A is 10) and fillers (0)."""
    total = 0
    for at, char in enumerate(field):
        value = 0 if char == "<" else int(char, 36)
        total += value * _WEIGHTS[at % 3]
    return str(total % 10)


def find_mrz(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """The lines of a passport or identity card that are made for machines."""
    lines = list(_MRZ_LINE.finditer(text))
    for at, line in enumerate(lines):
        budget.spend()
        row = line[0]
        if (
            len(row) in (44, 36)
            and row[9] == _check_digit(row[:9])
            and row[19] == _check_digit(row[13:19])
        ):
            first = lines[at - 1] if at and lines[at - 1][0][:1] in "PIACV" else line
            near = line.start() - first.end() <= 4
            yield Finding(
                NATIONAL_ID,
                first.start() if near else line.start(),
                line.end(),
                0.95,
                "icao.mrz",
                "The check digits of a travel document's machine-readable lines hold.",
            )
        elif len(row) == 30 and row[14] == _check_digit(row[5:14]) and "<" in row:
            yield Finding(
                NATIONAL_ID,
                *line.span(),
                0.9,
                "icao.mrz",
                "The check digit of an identity card's machine-readable line holds.",
            )


_MACHINE = (
    r"(?:(?i:\b(?:customer|client|user|patient|employee|member|caller|subscriber|my|his|her|their|home|guest)(?:'s)?[ ](?:\w{2,10}[ ])?"
    r"(?:ip(?:v[46])?|mac|device)(?:[ -]?address)?)|\b(?i:(?:logged|signed) in from|last login from|(?:ip(?:v[46])?|mac|device)(?:[ -]?address)? of (?:the |our )?(?:customer|client|user|patient|employee|member|caller|subscriber|mr|mrs|ms)\b\.?(?:[ ](?-i:[A-Z0-9])[\w'’.\-]{0,20}){0,3}|last seen (?:at|from)|visitor ip))"
)

_DEVICE = (
    r"(?i:\b(?:customer|client|user|patient|employee|member|caller|subscriber|owner|my|his|her|their)(?:'s)?\b[^\n.;]{0,32}?\bimei\b"
    r"|\bimei (?:of|for) (?:the |our )?(?:customer|client|user|patient|employee|member|caller|subscriber|my|his|her|their)\b[^\n.;0-9]{0,32}?)"
)


_PLATE_WORD = (
    r"(?i:\blicen[cs]e plate|\bnumber plate|\bregistration plate|\bvehicle registration|\bplate (?:number|no)|\b(?:amtliches |kfz-?)?kennzeichen"
    r"|\bplaque d.immatriculation|\bnumer rejestracyjny|\bmatr[ií]cula del)"
)
_PLATE = r"(?:[A-ZÄÖÜ]{1,3}[ \-][A-Z]{1,2}[ \-]?\d{1,4}|[A-Z]{2}\d{2}[ ]?[A-Z]{3}|[A-Z]{2}[ \-]\d{3}[ \-][A-Z]{2}|\d{4}[ \-]?[A-Z]{3}|[A-Z0-9]{2,4}[ \-]?[A-Z0-9]{3,4})"
_DRIVER = re2.compile(
    r"(?i:\b(?:belongs? to|registered (?:to|on)|owned by|owner|driver|geh[oö]rt|my|his|her|their|customer|client|employee|patient|mr|mrs|ms|herrn?|frau))\b"
    r"|\b(?:of|von|de) [A-Z][a-zà-ž]{1,20} [A-Z][a-zà-ž]"
)


def _driven(text: str, start: int, end: int) -> bool:
    near = text[max(0, start - 60) : start] + "\n" + text[end : end + 40]
    return any(map(str.isdigit, text[start:end])) and _DRIVER.search(near) is not None


def _public_ip(text: str, start: int, end: int) -> bool:
    parts = text[start:end].split(".")
    return len(parts) != 4 or all(int(part) < 256 for part in parts)


def _is_mac(text: str, start: int, end: int) -> bool:
    return bool(mac.is_valid(text[start:end]))


MORE_ID_FINDERS: tuple[Shaped, ...] = (
    cued(
        NATIONAL_ID,
        "context.passport",
        rf"{_PASSPORT}{_IS}(?P<value>(?i:[A-Z]{{0,3}})[ ]?\d{{6,9}}[A-Z]?|(?i:[A-Z0-9]{{8,9}})|\d{{2}}[ ]?\d{{2}}[ ]?\d{{6}})\b",
        shape=_PASSPORT,
        reason=_REASON,
        accept=_mixed,
    ),
    cued(
        NATIONAL_ID,
        "context.driving-licence",
        rf"{_LICENCE}{_IS}(?P<value>[A-Z]{{0,5}}[\dA-Z]?[ \-]?\d{{3,4}}(?:[ \-]?\d{{2,6}}){{1,4}}[ \-]?[A-Z0-9]{{0,5}}|[A-Z9]{{5}}\d{{6}}[A-Z0-9]{{5}}|[A-Z0-9]{{8,12}})\b",
        shape=_LICENCE,
        reason=_REASON,
        accept=_mixed,
    ),
    cued(
        NATIONAL_ID,
        "shape.au.medicare",
        rf"(?i:\bmedicare(?: card)?){_IS}(?P<value>\d{{4}}[ \-]?\d{{5}}[ \-]?\d(?:[ /\-]?\d)?)\b",
        shape=r"(?i)\bmedicare",
        reason="A word names it, and its checksum holds.",
        accept=_medicare,
    ),
    cued(
        NATIONAL_ID,
        "context.ip-address",
        rf"{_MACHINE}{_IS}(?P<value>\d{{1,3}}(?:\.\d{{1,3}}){{3}}|(?:[0-9A-Fa-f]{{1,4}}:){{4,7}}[0-9A-Fa-f]{{1,4}})\b",
        shape=_MACHINE,
        reason="An address of a machine that is said to be a person's.",
        accept=_public_ip,
        confidence=0.8,
    ),
    cued(
        NATIONAL_ID,
        "context.mac-address",
        rf"{_MACHINE}{_IS}(?P<value>[0-9A-Fa-f]{{2}}(?:[:\-][0-9A-Fa-f]{{2}}){{5}})\b",
        shape=_MACHINE,
        reason="An address of a device that is said to be a person's.",
        accept=_is_mac,
        confidence=0.8,
    ),
    cued(
        NATIONAL_ID,
        "stdnum.imei",
        rf"{_DEVICE}{_IS}(?P<value>\d{{2}}-?\d{{6}}-?\d{{6}}-?\d)\b",
        shape=r"(?i)\bimei\b",
        reason="The number of a device that is said to be a person's.",
        accept=_by("imei"),
        confidence=0.8,
    ),
    (_MRZ_SHAPE, find_mrz),
    cued(
        NATIONAL_ID,
        "context.passport",
        rf"{_PASSPORT}(?i:[ ](?:details|data|info\w*))?[ ]?[:(,][^\n.;]{{0,40}}?\b(?i:number|no|nr|num[eé]ro|n[uú]mero|nummer)\b{_IS}(?P<value>[A-Z]{{1,3}}\d{{6,8}}|\d{{9}}|\d{{2}}[A-Z]{{2}}\d{{5}}|[A-Z]{{2}}\d{{2}}[A-Z]{{2}}\d{{3}})\b",
        shape=_PASSPORT,
        reason=_REASON,
        accept=_mixed,
    ),
    cued(
        NATIONAL_ID,
        "shape.ae.id",
        r"\b(?P<value>784-(?:19|20)\d{2}-\d{7}-\d)\b",
        shape=r"\b784-(?:19|20)",
        reason="It has the notation of an Emirates id.",
    ),
    cued(
        NATIONAL_ID,
        "context.number-plate",
        rf"{_PLATE_WORD}(?:[ ](?i:of|for)[ ][^\n:;0-9]{{2,40}}?)?{_IS}(?P<value>{_PLATE})\b",
        shape=_PLATE_WORD,
        reason="It is named the plate of a person's car.",
        accept=_driven,
    ),
    cued(NATIONAL_ID, "context.behind", _BEHIND, reason=_REASON, accept=_mixed),
    cued(
        NATIONAL_ID,
        "shape.gb.licence",
        _UK_LICENCE,
        reason="It is formed like a British driving licence.",
    ),
    _any_of(_LIBRARY, [_known(*row) for row in _LIBRARY]),
    _any_of(_FORMED, [_formed(*row) for row in _FORMED]),
)
