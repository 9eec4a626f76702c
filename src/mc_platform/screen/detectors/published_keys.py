"""Keys and tokens by the rules that gitleaks publishes, read from its file as it stands.

Each rule has keywords, one of which must occur before its pattern is tried; a value counts if its entropy is
the rule's at least and it is no placeholder. The patterns run in RE2 and are compiled when first needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated

import re2
from pydantic import Field, StringConstraints

from mc_contract.configuration import FileProblems, Form, Several, Strict, check, toml_of
from mc_platform.errors import Misconfigured
from mc_platform.screen.detectors.assigned_secrets import bits_of, is_placeholder
from mc_platform.screen.detectors.key_rules import is_drawn, over_token
from mc_platform.screen.detectors.recogniser import Prefiltered
from mc_platform.screen.findings import SECRET_KEY, Budget, Finding
from mc_platform.screen.prefilter import Prefilter
from mc_platform.screen.rules import FOLDER, compiled

_FILE = FOLDER / "published" / "gitleaks.toml"
_IN_SET = 64
_LEAST_CHARS = 8
_REASON = "It has the form that its issuer gives to keys."

_Text = Annotated[str, StringConstraints(min_length=1, max_length=4000), Form("a text")]


class PublishedRule(Strict):
    """One rule, in gitleaks' words.

    Attributes:
        regex: The value is its first group, or `secretGroup`; all that matches if it has none.
        entropy: What Shannon's entropy of the value is at least, in bits a character; 0: any.
        keywords: In small letters; one of them occurs where the pattern does.
    """

    id: _Text
    regex: _Text
    entropy: Annotated[float, Field(ge=0, le=8)] = 0.0
    secretGroup: Annotated[int, Field(ge=0, le=9)] = 0  # noqa: N815 - as it is published
    keywords: Annotated[Several[_Text], Field(min_length=1)]

    @cached_property
    def compiled(self) -> re2._Regexp:
        """The pattern, compiled when it is first tried."""
        return compiled(self.regex)

    @property
    def pattern(self) -> str:
        """Any of the keywords, for a prefilter."""
        return "(?i)" + "|".join(map(re.escape, self.keywords))

    def find(self, text: str, budget: Budget) -> Iterator[Finding]:
        """The values in a text that a keyword of the rule occurs in."""
        for match in self.compiled.finditer(text):
            budget.spend()
            start, end = match.span(self.secretGroup or (1 if self.compiled.groups else 0))
            value = text[start:end]
            if len(value) < _LEAST_CHARS or bits_of(value) < self.entropy:
                continue
            if is_drawn(value) and not is_placeholder(value):
                stop = over_token(text, end)
                yield Finding(SECRET_KEY, start, stop, 0.9, f"gitleaks.{self.id}", _REASON)


class _File(Strict):
    published: Annotated[Several[PublishedRule], Field(alias="rules")]


def _read() -> Sequence[PublishedRule]:
    try:
        return check(_File, toml_of(_FILE.read_bytes())).published
    except (OSError, FileProblems) as error:
        hint = "restore the file as it is published"
        raise Misconfigured(f"screening rules {_FILE}: {error}", hint=hint) from error


RULES = _read()
_KEYWORDS = Prefilter(([rule.pattern for rule in RULES], frozenset(), _IN_SET))


def _find(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    for hit in _KEYWORDS.hits(text):
        yield from RULES[hit].find(text, budget)


RECOGNISERS: tuple[Prefiltered, ...] = (
    (
        "(?i)" + "|".join(sorted({re.escape(word) for rule in RULES for word in rule.keywords})),
        _find,
    ),
)
