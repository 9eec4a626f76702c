"""Biometric data: values by which a body is recognised, with the cue that says so.

A key's or certificate's fingerprint is none: templates, codes, embeddings and prints of a voice
or face are, with a value of some length behind them.
"""

from __future__ import annotations

import re2

from mc_platform.screen.detectors.context_words import cued, words
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import BIOMETRIC

_CUE = (
    r"(?i:\b(?:(?:finger|thumb|palm)[ _\-]?(?:print)?[ _\-]?(?:template|minutiae|scan(?: data)?|image data"
    r"|biometric\w*|feature vector|vector|record)|minutiae(?: template| data)?|biometric(?:s)?"
    r"(?:[ _\-](?:template|hash|data|id|identifier|signature|vector|token|record|sample))?"
    r"|(?:iris|retina(?:l)?)[ _\-]?(?:code|scan|template|pattern|image|data|id)"
    r"|fac(?:e|ial)[ _\-]?(?:embedding|template|vector|encoding|print|id template|signature|geometry"
    r"|descriptor|recognition (?:template|vector|data))s?|faceprint|voice[ _\-]?(?:print|template"
    r"|embedding|biometric\w*|vector|signature)|speaker[ _\-](?:embedding|print)|gait[ _\-](?:signature"
    r"|template|vector)|(?:palm|finger)[ _\-]vein[ _\-]?(?:template|pattern|data|scan)?|dna[ _\-]?"
    r"(?:profile|sequence|sample|marker)s?|ear[ _\-]template|hand[ _\-]geometry|fingerabdruck"
    r"(?:vorlage|template|daten)?|gesichts(?:vektor|merkmale|vorlage)|huella (?:dactilar|digital)"
    r"|empreinte (?:digitale|vocale)|odcisk palca|impronta digitale|iso[ /\-]?(?:iec )?19794(?:-\d)?"
    r"|ansi[- ]?378)\b)"
)
_TEXT_VALUE = r"(?:0x)?(?:[0-9A-Fa-f]{16,}|[A-Za-z0-9+/_\-]{24,}={0,2}|(?:[0-9A-Fa-f]{2}[ :]){7,}[0-9A-Fa-f]{2}|[01]{32,})"
_NUMBER = r"-?\d{1,4}(?:\.\d{1,18})?(?:e-?\d{1,3})?"
_VECTOR = rf"[\[({{][ ]?(?:{_NUMBER}[ ]?[,; ][ ]?){{3,}}{_NUMBER}"
_LOOSE = r"(?:-?\d?\.\d{2,18}[ ]?[,; ][ ]?){3,}-?\d?\.\d{2,18}"
_BASES = r"[ACGT]{16,}"

BIOMETRIC_FINDERS: tuple[Shaped, ...] = (
    cued(
        BIOMETRIC,
        "context.biometric",
        rf"{_CUE}[^\n]{{0,48}}?(?:\n[ \t]{{0,4}})?[^\n\w]{{0,4}}"
        rf"(?P<value>\b{_TEXT_VALUE}|{_VECTOR}|{_LOOSE}|\b{_BASES})",
        reason="A value follows that is named as a template, code or print of a person's body.",
        shape=_CUE,
    ),
)

BIOMETRIC_KEYS = words(
    """fingerprinttemplate fingerprinttemplates fingerprintminutiae minutiae biometric biometrics
    biometrictemplate biometricdata biometrichash biometricid iriscode irisscan iristemplate
    retinascan faceembedding facialembedding facetemplate facialtemplate facevector faceencoding
    faceencodings faceprint facedescriptor facialgeometry voiceprint voicetemplate voiceembedding
    speakerembedding gaitsignature palmvein palmprint fingerprintscan fingerprintimage thumbprint
    dnaprofile dnasequence handgeometry veinpattern"""
)
_KEY_VALUE = re2.compile(rf"{_TEXT_VALUE}|{_VECTOR}|{_LOOSE}|{_BASES}|\A\s*-?\d?\.\d{{3,}}\s*\z")


def is_biometric_value(text: str) -> bool:
    """Whether what stands under a key for biometric data is encoded, or a number of a vector."""
    return _KEY_VALUE.search(text) is not None
