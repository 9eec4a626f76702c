"""Values that a cue announces: the pattern finds both, an own test says whether it counts.

All patterns run in re2; what stands between a cue and its value is bounded, so that a finder is
linear in the text. Evidence of a personal record is looked for in a bounded window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import re2

from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import Budget, Finding

_WINDOW_CHARS = 240
_VALUE = "value"
Read = Callable[[str, int], tuple[int, int] | None]
"""From the text and the end of a cue: where the value stands that it announces."""

Accept = Callable[[str, int, int], bool]
"""From the text and the span of the value: whether it counts."""

COLON = r"""["'`*\]_]{0,3}[ \t]{0,3}(?:[:=|]|=>|:=|-[ ])[ \t]{0,4}(?:\n[ \t]{0,4})?["'`*_]{0,3}"""
"""Between the name of a field and its value: `name: x`, `"name": "x"`, `**Name:** x`, `name=x`."""

# What only stands in somebody's record: it makes a name or a date somebody's personal datum.
_RECORD = re2.compile(
    r"[\w.+\-]@[\w\-]+\.\w|\+\d[\d ().\-]{7}"
    r"|(?i)\b(?:ssn|social security|passport|d\.?o\.?b|date of birth|birth ?date|mrn"
    r"|medical record|next of kin|home address|lives at|residing at|residing in|live at|resides"
    r"|driver'?s licen[cs]e|(?:mobile|phone|cell|e-?mail|address|tel)[ \t]{0,2}[:=]|call back"
    r"|(?:patient|customer|client|member|employee|staff|account|policy|claim|case|booking|order"
    r"|loan|insurance|invoice|reservation|student|national|tax|personal|ticket|ticket holder)"
    r"['s]{0,2}[ _\-]?(?:id|no|num|number|nr|record|file|holder|ref|reference|#)\b"
    r"|nhs|pesel|nif|dni|bsn|iban|next appointment|date of admission|admitted to"
    r"|(?:his|her|their|my) (?:account|card|address|phone|e-?mail|salary|diagnosis|medication"
    r"|prescription|password|balance|appointment|order|file|record)"
    r"|geburtsdatum|geboren am|geb\.|wohnhaft|anschrift|personalausweis|kundennummer|kontonummer"
    r"|fecha de nacimiento|domicilio|direcci[oó]n[:=]|con dni|n[uú]mero de cliente"
    r"|date de naissance|domicili[eé]e?|demeurant|num[eé]ro de client|n° client"
    r"|data urodzenia|zamieszka[lł][aey]|numer klienta|adres zamieszkania"
    r"|data di nascita|residente in|codice cliente|codice fiscale|data de nascimento)"
)


def words(listed: str) -> frozenset[str]:
    """The words of a list that is written with white space between them."""
    return frozenset(listed.split())


_SQUASHED = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Cue:
    """One way in which a value is announced; see `cued`."""

    kind: str
    detector: str
    pattern: re2._Regexp
    group: int
    confidence: float
    reason: str
    read: Read | None
    accept: Accept

    def find(self, text: str, _: str, budget: Budget) -> Iterator[Finding]:
        """The values that count."""
        for match in self.pattern.finditer(text):
            budget.spend()
            span = match.span(self.group) if self.read is None else self.read(text, match.end())
            if span is None or span[0] < 0 or span[0] >= span[1]:
                continue
            start, end = span
            if self.accept(text, start, end):
                yield Finding(self.kind, start, end, self.confidence, self.detector, self.reason)


def always(_: str, __: int, ___: int) -> bool:
    """The cue alone is enough."""
    return True


def cued(
    kind: str,
    detector: str,
    pattern: str,
    *,
    reason: str,
    shape: str = "",
    confidence: float = 0.85,
    read: Read | None = None,
    accept: Accept = always,
) -> Shaped:
    """A finder for a value with its cue.

    Args:
        kind: The label's type.
        detector: Its name, as labels give it.
        pattern: RE2; with the group `value`, or `read` says where the value behind it stands.
        reason: One sentence, without content.
        shape: What must occur before the pattern is tried; empty: the pattern itself.
        confidence: 0 to 1.
        read: From the text and the cue's end: the span of the value, if there is one.
        accept: Whether a value counts where it stands.
    """
    compiled = re2.compile(pattern)
    group = compiled.groupindex.get(_VALUE, 0)
    cue = Cue(kind, detector, compiled, group, confidence, reason, read, accept)
    return shape or pattern, cue.find


def in_record(text: str, start: int, end: int, *, chars: int = _WINDOW_CHARS) -> bool:
    """Whether something near a span belongs to somebody's record: an id, a contact, a cue."""
    return (
        _RECORD.search(text[end : end + chars]) is not None
        or _RECORD.search(text[max(0, start - chars) : start]) is not None
    )


_COMMON = words(
    """engineer engineers developer developers scientist scientists analyst analysts teacher teachers nurse nurses driver drivers worker workers
    officer officers director directors manager managers class classes europe asia africa america eastern western northern southern middle
    upper lower high low small large big black white gold silver platinum bronze premium tier blood street disease diseases syndrome disorder
    virus fever type types network networks problem problems error errors machine learning deep artificial intelligence internet explorer
    cloud mobile phone android apple google microsoft windows server servers studio visual power payment nations united states kingdom
    republic trade market markets business businesses family families card cards friday account accounts service services support software
    hardware data system systems product products group team city county new york north south east west butter error review update found
    course year annual portal model build release version case cases failure heart lung liver mental public general standard test tests"""
)
_LETTERS = re2.compile(r"[\pL]+")


def is_common(phrase: str) -> bool:
    """Whether one of a phrase's words is a common one, so that its capitals make no name of it."""
    return any(word.lower() in _COMMON for word in _LETTERS.findall(phrase))


@lru_cache(maxsize=4096)
def squash(key: str) -> str:
    """A key's letters and digits in lower case: `firstName`, `first_name`, `First-Name` are one."""
    return _SQUASHED.sub("", key[:80]).lower()
