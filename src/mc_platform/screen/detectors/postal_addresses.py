"""Postal addresses: a street with a number, and a postcode or a cue that somebody lives there.

Organisations' addresses are public: licences and imprints hold them. An address counts where a
cue says whose it is, or where it is whole and no organisation stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import re2

from mc_platform.screen.detectors.context_words import cued, in_record, words
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import POSTAL_ADDRESS, Budget, Finding

_UP = r"[A-ZÀ-ÞĀ-Ž]"
_LETTER = r"[A-Za-zÀ-ž'’.\-]"
_NUMBER = r"\d{1,5}(?:[ ]?[A-Za-z]\b)?(?:[/\-]\d{1,4}[A-Za-z]?)?"
_UNIT = r"(?:,?[ ](?:(?i:apt|apartment|unit|suite|ste|flat|floor|fl|m|lok)\.?[ ]|#[ ]?)\w{1,6})?"
_FORMS = (
    # 12 Oak Street
    (
        rf"\b{_NUMBER},?[ ](?:[NSEW]{{1,2}}\.?[ ])?(?:(?:{_UP}{_LETTER}{{1,20}}|\d{{1,3}}(?:st|nd|rd|th))[ ])"
        r"{1,4}(?i:street|st|avenue|ave|road|rd|lane|ln|drive|dr|court|ct|place|pl|boulevard|blvd"
        r"|terrace|way|close|crescent|square|gardens|grove|parkway|pkwy|highway|hwy|circle|cir|trail"
        rf"|mews|row|walk|loop|pike|alley|plaza|path|park|hill|view|estate)\b\.?{_UNIT}"
    ),
    # Hauptstraße 5, Berliner Straße 12, Kerkstraat 3
    (
        rf"\b(?:{_UP}{_LETTER}{{2,20}}[ ]){{0,2}}(?:{_UP}{_LETTER}{{1,24}})?(?:[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Ww]eg"
        r"|[Pp]latz|[Aa]llee|[Gg]asse|[Dd]amm|[Uu]fer|straat|laan|plein|gracht|gade|vej|gatan|vägen)"
        rf"[ ]{_NUMBER}\b"
    ),
    # 12 bis, rue de la Paix
    (
        r"\b\d{1,4}(?:[ ]?(?:bis|ter|quater))?,?[ ](?i:rue|avenue|av\.|boulevard|bd|place|chemin|all[ée]e"
        rf"|impasse|quai|cours|route|square|passage)[ ](?:{_LETTER}{{1,20}}[ ]){{0,5}}{_LETTER}{{2,20}}"
    ),
    # Calle Mayor 5, Via Roma, 12, ul. Długa 3/4, Rua Augusta 100
    (
        r"\b(?:(?i:calle|avenida|avda|plaza|paseo|camino|carrer|carretera|via|viale|piazza|corso|vicolo|largo"
        r"|ulica|aleja|aleje|osiedle|plac|rua|travessa|praça)[ ]|(?i:ul\.|al\.|os\.|pl\.|av\.|avda\.|C/\.?)[ ]?)"
        rf"(?:{_LETTER}{{1,20}}[ ]){{0,5}}{_LETTER}{{2,20}},?[ ](?:(?i:n[.º°]|n\.?[º°]|n[uú]m\.?|nr\.?|no\.?)"
        rf"[ ]?)?{_NUMBER}"
    ),
)
_COMPILED = tuple(re2.compile(form) for form in _FORMS)
_POSTCODE = re2.compile(
    r"\A[^;:!?()]{0,60}?\b(?:\d{5}(?:-\d{4})?|\d{2}-\d{3}|\d{4}-\d{3}|\d{4}[ ]?[A-Z]{2}"
    r"|[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2}|[A-Z]\d[A-Z][ ]?\d[A-Z]\d|\d{3}[ ]\d{2}"
    r"|(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT)[ ]\d{4}|\d{4}[ ][A-ZÀ-Þ][a-zà-ž]{2,20})\b"
    r"(?:[ ][A-ZÀ-ÞĀ-Ž][A-Za-zÀ-ž\-]{2,20}){0,3}"
)
_BEFORE_CHARS, _BEHIND_CHARS = 90, 80
_OWNER = re2.compile(
    r"(?i)\b(?:li(?:ve|ves|ving) (?:at|in|on)|(?:i|we|he|she|they|customer|client|patient|tenant|employee)(?: \w+){0,3} lived (?:at|in|on)|resid(?:es?|ing|ed) (?:at|in)|home address"
    r"|(?:my|his|her|their|customer's|patient's|client's|home|street|postal|mailing|delivery|shipping"
    r"|billing|residential|residence|permanent|current|private) address|addressed to|address of"
    r"|(?:ship|deliver|bill|mail|send|post|return|forward|dispatch|courier)(?:ed|ing)?"
    r"(?: \w+){0,4} to|ship[- ]to|bill[- ]to|moved to|moving to|address(?: is| on file)?[\"' ]{0,2}[:=]"
    r"|wohnhaft|wohnt|wohne|anschrift|adresse|domicilio|direcci[oó]n|vive en|vivo en|reside en"
    r"|demeurant|domicili[ée]e?|habite|adresse|zamieszka[lł]\w*|mieszka\w*|adres|residente|abit[ao]"
    r"|indirizzo|morada|mora em|moro na|endereço|woon(?:t|achtig|plaats)?"
    r"|at home|house at|apartment at|flat at|apt at|patient|customer|client|tenant|employee"
    r"|policyholder|paciente|cliente|patientin|kunde|kundin|klient\w*|pacjent\w*)"
)
_PUBLIC = re2.compile(
    r"(?i)\b(?:inc|corp|corporation|foundation|gmbh|ltd|llc|llp|plc|company|co\.|universit\w*|museum|mus[ée]e"
    r"|headquarter\w*|hq|offices?|white house|institute?|store|shop|hotel|restaurant|caf[eé]|bank"
    r"|embassy|venue|conference|agency|department|s\.?a\.?|s\.p\.a|visit us|located|palace|library"
    r"|hospital|clinic|theat\w*|station|church|cathedral|school|college|ministry|court|council"
    r"|sede|ufficio|oficina|ayuntamiento|mairie|rathaus|amt|impressum|licen[cs]e|association|society"
    r"|verein|e\.v\.|ag|kg|warehouse|branch|airport|parliament|landmark|monument|building|tower)\b"
)


def _find_addresses(form: re2._Regexp, text: str, budget: Budget) -> Iterator[Finding]:
    for match in form.finditer(text):
        budget.spend()
        start, end = match.span()
        before = text[max(0, start - _BEFORE_CHARS) : start]
        tail = _POSTCODE.search(text[end : end + 90])
        owned = _OWNER.search(before) is not None
        public = _PUBLIC.search(before + "\n" + text[end : end + _BEHIND_CHARS]) is not None
        whole = tail is not None
        if not (owned or in_record(text, start, end) or (whole and not public)):
            continue
        if public and not owned:
            continue
        if not whole and not owned and not in_record(text, start, end, chars=90):
            continue
        stop = end + len(tail.group()) if tail is not None else end
        yield Finding(
            POSTAL_ADDRESS,
            start,
            stop,
            0.85 if whole else 0.8,
            "context.address",
            "A street with its number, and a postcode or a cue that a person is to be found there.",
        )


_PLACE = (
    r"(?:\b(?:[A-Z]{2}|[A-Z][a-z]{3,12}),?[ ]\d{5}(?:-\d{4})?\b|\b(?:NSW|VIC|QLD|WA|SA|TAS|ACT|NT),?[ ]\d{4}\b"
    r"|\b[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2}\b|\b[A-Z]{1,2}\d{1,2}[A-Z]?[ ]\d[A-Z]{2}\b|\b[A-Z]\d[A-Z][ ]?\d[A-Z]\d\b|\b\d{4}[ ]?[A-Z]{2}\b"
    r"|\b\d{5}-\d{3}\b|\b\d{8}[ ][A-Z]|\b\d{2}-\d{3}[ ]|\b\d{3}[ ]\d{2}[ ]|\b\d{4,5}[ ,]{1,2}[A-ZÀ-Þ][a-zà-ž]{2}|,[ ]\d{5}\b)"
)
# Whatever a street is called: a number, a place with its code, and somebody who is to be found there.
_TOLD = (
    r"(?i:\b(?:(?:home|postal|mailing|delivery|shipping|billing|street|residential|private|current|permanent) address|lives? (?:at|in)|living (?:at|in)"
    r"|lived (?:at|in)|resid(?:es?|ing) (?:at|in)|deliver(?:ed)?(?: it| this| them)? to|(?:ship|send|post|mail|courier|forward|dispatch)(?:ped|ed)?(?: it| this| them)? to"
    r"|wohnhaft(?: in)?|wohnt in|anschrift|wohnadresse|demeurant(?: au)?|habite(?: au)?|domicilio|domiciliad[oa] en|vive en|zamieszka[lł]\w*|adres zamieszkania"
    r"|residente in|abita in|indirizzo di casa|morador?a? (?:em|na)|mora (?:em|na)|woont (?:in|op|aan)|woonachtig"
    r"|(?:customer|patient|tenant|employee|claimant|client|account holder|policyholder|member|applicant)[,:]? [a-zà-ž.'\-]{1,20} [a-zà-ž.'\- ]{1,40},(?: of)?))"
    r"(?:[ ]is)?[:,]?[ \n]{1,2}"
)
_WHOLE = re2.compile(
    rf"{_TOLD}(?P<value>[^\n;!?{{}}<>=@]{{0,90}}?{_PLACE}(?:[ ,]{{1,2}}[A-ZÀ-Þ][A-Za-zà-ž\-]{{1,20}}){{0,3}})"
)
_WHOLE_VALUE = _WHOLE.groupindex["value"]
_CAPITAL = re2.compile(r"[A-ZÀ-Þ][a-zà-ž'’]{2}")
_DIGIT = re2.compile(r"\d")


def _find_whole(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    for match in _WHOLE.finditer(text):
        budget.spend()
        start, end = match.span(_WHOLE_VALUE)
        value = text[start:end]
        if _CAPITAL.search(value) is None or _DIGIT.search(value) is None:
            continue
        yield Finding(
            POSTAL_ADDRESS,
            start,
            end,
            0.75,
            "context.address",
            "A place with its code, where a cue says that a person is to be found.",
        )


def _shaped(form: str, compiled: re2._Regexp) -> Shaped:
    return form, lambda text, _, budget: _find_addresses(compiled, text, budget)


_SHAPES = (
    (
        r"(?i)\d[^\n\d]*?[ ](?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|court|ct|place|pl|boulevard|blvd|terrace"
        r"|way|close|crescent|square|gardens|grove|parkway|pkwy|highway|hwy|circle|cir|trail|mews|row|walk|loop|pike"
        r"|alley|plaza|path|park|hill|view|estate)\b"
    ),
    (
        r"(?:[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Ww]eg|[Pp]latz|[Aa]llee|[Gg]asse|[Dd]amm|[Uu]fer|straat|laan|plein|gracht|gade|vej"
        r"|gatan|vägen)[ ]\d"
    ),
    (
        r"(?i)\d[ ]?(?:bis|ter|quater)?,?[ ](?:rue|avenue|av\.|boulevard|bd|place|chemin|all[ée]e|impasse|quai|cours|route"
        r"|square|passage)[ ]"
    ),
    (
        r"(?i)\b(?:calle|avenida|avda\.?|av\.|plaza|paseo|camino|carrer|carretera|via|viale|piazza|corso|vicolo|largo|ul\."
        r"|ulica|aleja|al\.|aleje|os\.|osiedle|pl\.|plac|rua|travessa|praça|C/)[ ]?[^\n\d]*\d"
    ),
)
"""What must occur before a form is tried: the words for streets, with a number on their side."""

_AT_HOME = (
    r"(?i:\b(?:gps|coordinates?|coords|location|position|geo ?location|lat/?lon\w*|koordinaten)(?:[ ]\w{2,12})?[ ](?:of|for)[ ]"
    r"(?:(?:my|his|her|their|(?:the |our )?(?:customer|patient|client|employee|tenant|member)'s)[ ](?:home|house|flat|apartment|residence|place|address|parents)"
    r"|(?:the |our )?(?:customer|patient|client|employee|tenant|member|mr|mrs|ms)\.?[ ](?-i:[A-Z])))"
)
_PLACE_FIGURES = r"-?\d{1,2}\.\d{3,9}°?[NS]?[ ]?[,;/ ][ ]?-?\d{1,3}\.\d{3,9}°?[EW]?"

ADDRESS_FINDERS: tuple[Shaped, ...] = (
    *map(_shaped, _SHAPES, _COMPILED),
    (_TOLD, _find_whole),
    cued(
        POSTAL_ADDRESS,
        "context.coordinates",
        rf"{_AT_HOME}[^\n.;]{{0,40}}?(?P<value>{_PLACE_FIGURES})",
        shape=_AT_HOME,
        reason="It says where on the map somebody is to be found.",
    ),
)

ADDRESS_KEYS = words(
    """address streetaddress homeaddress postaladdress mailingaddress shippingaddress billingaddress
    deliveryaddress residentialaddress street streetname addressline1 addressline2 address1 address2
    addressline currentaddress permanentaddress adresse anschrift strasse straße wohnadresse
    direccion dirección domicilio calle adres ulica adreszamieszkania indirizzo viaresidenza
    endereco endereço morada rue adressepostale straat huisadres patientaddress customeraddress"""
)
_VALUE = re2.compile(r"\A[^@{}<>=\[\]\n]{0,120}\z")
_HAS_LETTERS = re2.compile(r"[A-Za-zÀ-ž\p{Han}]{3}")
_HAS_NUMBER = re2.compile(r"(?:\A|[\s,./#-])\d{1,5}[A-Za-z]?(?:[\s,./-]|\z)")


def is_address_value(text: str) -> bool:
    """Whether what stands under a key for addresses may be one: words and a number, no host."""
    return (
        _VALUE.match(text) is not None
        and _HAS_LETTERS.search(text) is not None
        and _HAS_NUMBER.search(text) is not None
        and "://" not in text
    )
