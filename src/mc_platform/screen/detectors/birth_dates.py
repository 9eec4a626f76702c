"""Dates of birth: a date that a cue announces, of somebody who may be alive."""

from __future__ import annotations

import re2

from mc_platform.screen.detectors.context_words import COLON, cued, in_record, words
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import DATE_OF_BIRTH

_YEAR = r"(?:19[1-9]\d|20[0-3]\d)"
_DAY = r"(?:[12]\d|3[01]|0?[1-9])"
_MONTH = r"(?:1[0-2]|0?[1-9])"
_WORD = r"[A-Za-zÀ-ž]{3,12}\.?"
DATE = (
    rf"(?:{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}\b|{_DAY}[-/.][ ]?{_DAY}[-/.][ ]?(?:{_YEAR}|\d\d\b)"
    rf"|{_DAY}(?:st|nd|rd|th)?\.?[ \-](?:de |of )?{_WORD},?[ \-](?:de |del )?{_YEAR}"
    rf"|{_WORD}[ ]{_DAY}(?:st|nd|rd|th)?,?[ ]{_YEAR}|{_YEAR}年{_MONTH}月{_DAY}日|{_YEAR}{_MONTH}{_DAY}\b)"
)
_FIELD = (
    r"(?i:\bdate[ _\-]?of[ _\-]?birth|\b_?(?:[a-z]{2,12}_)?d\.?o\.?b\b\.?|birth[ _\-]?dat(?:e|um)|\bbirthday"
    r"|geburts(?:datum|tag)|\bgeb\.(?: am)?|fecha (?:de )?nac(?:imiento|\.)?|date de naissance"
    r"|data urodzenia|\bur\.|data di nascita|data de nascimento|geboortedatum|f[oö]delsedatum"
    r"|f[øo]dselsdato|datum narození|出生日期|生年月日|дата рождения)"
)
_BETWEEN = (
    rf"(?:{COLON}|[ ]{{1,2}}(?:(?i:is|was|on|am|es|est|to|jest|[eè]|on file is|as|of|el|le|il)[ ]){{0,2}}"
    r"|[ ]?\(|,[ ])"
)
_TOLD = (
    r"(?i:\b(?:i was born|i am born|i'm born|my birthday is|my birth ?day's|ich bin geboren"
    r"|ich wurde|je suis n[eé]e?|nac[ií] el|urodzi[lł][ae]m si[eę]|sono nat[oa]|nasci)"
    r"(?:[ ](?:on|in|am|le|el|il|em|the|dnia)){0,2}[ ])"
)
_BORN = (
    r"(?i:\bborn\b(?:[ ](?:on|in))?:?|\bgeboren(?: am)?:?|\bn[eé]e? le|\bnacid[oa] el|\bnat[oa] il"
    r"|\burodzon[ya](?: dnia)?|\bnascid[oa] em)[ ]"
)

BIRTH_FINDERS: tuple[Shaped, ...] = (
    cued(
        DATE_OF_BIRTH,
        "context.birth-field",
        rf"{_FIELD}{_BETWEEN}(?P<value>{DATE})",
        shape=_FIELD,
        reason="A field for dates of birth stands before it.",
        confidence=0.9,
    ),
    cued(
        DATE_OF_BIRTH,
        "context.birth-told",
        rf"{_TOLD}(?P<value>{DATE})",
        shape=_TOLD,
        reason="Somebody tells when they were born.",
    ),
    cued(
        DATE_OF_BIRTH,
        "context.birth-role",
        rf"(?i:\b(?:patient|customer|client|employee|member|insured|claimant|applicant|holder|passenger|student|child|subscriber|user|female|male"
        rf"|versicherte\w?|kund\w+|patientin|paciente|cliente|pacjent\w*|klient\w*|paziente)[,:]?[ ](?:[\w.'\-]{{1,20}},?[ ]){{0,3}})"
        rf"(?i:is |was )?{_BORN}(?P<value>{DATE})",
        shape=_BORN,
        reason="It says when somebody in a file was born.",
    ),
    cued(
        DATE_OF_BIRTH,
        "context.birth-role",
        rf"{_BORN}(?P<value>{DATE})(?i:,? \(?(?:fe)?male\b|,? (?:m|f|w)\b|,? (?:weiblich|männlich|mujer|varón|femme|homme|kobieta|mężczyzna))",
        shape=_BORN,
        reason="It says when somebody in a file was born.",
    ),
    cued(
        DATE_OF_BIRTH,
        "context.birth-figures",
        r"(?i:\bgeboren am|\bn[eé]{1,2} le|\bn[eé]\(e\) le|\bnacid[oa] el|\bnat[oa] il|\burodzon[ya] dnia|\bnascid[oa] em|\bgeboren op|\bf[oö]dd den)[: ]{1,2}"
        rf"(?P<value>{_DAY}[-/.]{_DAY}[-/.]{_YEAR}|{_YEAR}-{_MONTH}-{_DAY})\b",
        reason="It says when somebody was born, as files write it.",
    ),
    cued(
        DATE_OF_BIRTH,
        "context.birth-record",
        rf"{_BORN}(?P<value>{DATE})",
        shape=_BORN,
        reason="It says when somebody was born, within that person's record.",
        accept=in_record,
    ),
)

BIRTH_KEYS = words(
    """dob dateofbirth birthdate birthday geburtsdatum geburtstag fechanacimiento fechadenacimiento
    datedenaissance datenaissance dataurodzenia datadinascita datadenascimento datanascimento
    geboortedatum födelsedatum fødselsdato patientdob customerdob birthdatum"""
)
_VALUE = re2.compile(rf"\A\s*{DATE}(?:[T ].{{0,20}})?\s*\z")


def is_birth_value(text: str) -> bool:
    """Whether what stands under a key for dates of birth is a date."""
    return _VALUE.match(text) is not None
