"""What screening knows as data: word lists, patterns and rules, one TOML file for each area.

A file is read once in each process, when the module that uses it is imported, and held against
`RuleFile`: unknown keys, wrong types, unknown labels and fragments that do not exist are told with
file, row and reason, all at once. docs/how-to/add-a-screening-rule.md says how a row is written.

In a pattern `%{name}` stands for the fragment of that name, of the same file or of `common.toml`,
and of a pattern of several lines neither the line breaks nor the indents are part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, cast

import re2
from pydantic import Field, StringConstraints, ValidationError

from mc_contract.configuration import (
    FileProblems,
    Form,
    Several,
    Strict,
    path_of,
    problems_of,
    toml_of,
)
from mc_platform.errors import Misconfigured
from mc_platform.screen.findings import BY_SEVERITY

FOLDER = Path(__file__).parent
COMMON = "common"
_MOST_NESTED = 12
_FRAGMENT = re.compile(r"%\{([a-z0-9-]+)\}")
_SQUASHED = re.compile(r"[\W_]+")
_KEY_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_KEY_CHARS = 160
_NOWHERE = (-1, -1)
_ANYWHERE = re2._Anchor.UNANCHORED
_INDENT = re.compile(r"(?m)^[ \t]+|\n")
_GUIDE = "see docs/how-to/add-a-screening-rule.md"

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=20_000), Form("a pattern")]
Example = Annotated[str, StringConstraints(min_length=1, max_length=4000), Form("a text")]


class _Row(Strict):
    """A rule with a text in which it finds something, and one in which it does not."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,63}$")]
    positive: Example
    negative: Example


class Recogniser(_Row):
    """A value that its context announces, or a wording.

    Attributes:
        name: As labels give it.
        label: The type of its labels.
        group: The group whose prefilter pattern is asked first; empty: none.
        pattern: RE2; with the group `value`, or `reader` says where the value behind it stands.
        prefilter: What must occur before the pattern is tried; empty: the pattern itself.
        reason: One sentence, without content.
        validator: Names the function that says whether a value counts; empty: each does.
        reader: Names the function that finds the value behind the pattern; empty: none.
    """

    label: Annotated[str, Form(f"one of {', '.join(BY_SEVERITY)}")]
    group: str = ""
    pattern: Pattern
    prefilter: str = ""
    reason: Example
    confidence: Annotated[float, Field(gt=0, le=1)] = 0.85
    validator: str = ""
    reader: str = ""


class Group(Strict):
    """Recognisers that share a prefilter pattern."""

    prefilter: Pattern


class Street(_Row):
    """How streets are written in some languages."""

    pattern: Pattern
    prefilter: Pattern


class Key(_Row):
    """A form of keys and tokens that their issuer documents."""

    pattern: Pattern


class Issuer(_Row):
    """How the numbers of a payment card begin, and how many digits they have."""

    pattern: Pattern
    digits: Several[int]


class Announced(_Row):
    """An identifier that counts behind its name.

    A row that is named `stdnum.` and a module of python-stdnum is judged by that; others are judged
    by their form.
    """

    words: Pattern
    pattern: Pattern


class Digits(_Row):
    """A national identifier of digits, named as its module of python-stdnum, by its layouts.

    Attributes:
        free: Layouts that count wherever they stand.
        named: Layouts that count where a word nearby says what they are.
    """

    free: Several[str] = ()
    named: Several[str] = ()


class Lettered(_Row):
    """A national identifier of letters and digits; `named`: only where a word says what it is."""

    pattern: Pattern
    named: bool = False


class RuleFile(Strict):
    """The tables that a file may have."""

    words: dict[str, str] = Field(default_factory=dict)
    fragments: dict[str, Pattern] = Field(default_factory=dict)
    groups: dict[str, Group] = Field(default_factory=dict)
    recogniser: Several[Recogniser] = ()
    street: Several[Street] = ()
    key: Several[Key] = ()
    issuer: Several[Issuer] = ()
    announced: Several[Announced] = ()
    digits: Several[Digits] = ()
    lettered: Several[Lettered] = ()

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Labels and groups that do not exist."""
        rows = raw.get("recogniser", ())
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, Mapping):
                continue
            name = f"{row.get('name')!r}"
            if row.get("label") not in BY_SEVERITY:
                known = ", ".join(BY_SEVERITY)
                yield (
                    "recogniser",
                    f"{name} has the unknown label {row.get('label')!r}; known: {known}",
                )
            if (group := row.get("group", "")) and group not in raw.get("groups", {}):
                yield "recogniser", f"{name} is of the unknown group {group!r}"


ROWS = tuple(name for name in RuleFile.model_fields if name not in ("words", "fragments", "groups"))
"""The tables whose rows have examples."""


class Rules:
    """A rule file that was checked: its word lists, and its patterns with their fragments in place."""

    def __init__(self, name: str, table: RuleFile, common: Mapping[str, str]) -> None:
        self.name = name
        self.table = table
        self._fragments = {**common, **table.fragments}

    def listed(self, name: str) -> list[str]:
        """The words of a list that code asks for, in order.

        Raises:
            Misconfigured: there is none of that name; as `words`, `pattern`, `re2` and `re`.
        """
        if name not in self.table.words:
            raise unusable(self.name, "words", f"{name} is missing, which code asks for")
        return self.table.words[name].split()

    def words(self, name: str) -> frozenset[str]:
        """The words of a list."""
        return frozenset(self.listed(name))

    def pattern(self, name: str) -> str:
        """The fragment of that name, complete."""
        try:
            return self.expand(f"%{{{name}}}")
        except KeyError as error:
            raise unusable(self.name, "fragments", f"{error} is missing, which is used") from error

    def re2(self, name: str) -> re2._Regexp:
        """The fragment of that name as an RE2 expression."""
        try:
            return compiled(self.pattern(name))
        except re2.error as error:
            raise unusable(self.name, f"fragments {name}", why_no_re2(error)) from error

    def re(self, name: str) -> re.Pattern[str]:
        """The fragment of that name as an expression of Python, which knows look-around."""
        try:
            return re.compile(self.pattern(name))
        except re.error as error:
            raise unusable(self.name, f"fragments {name}", f"is no pattern: {error}") from error

    def source(self, table: str, number: int, row: str) -> str:
        """Where a row stands, for people."""
        return f"{self.name}.toml [[{table}]] {number} {row}"

    def expand(self, pattern: str) -> str:
        """A pattern with its fragments in place.

        Raises:
            KeyError: a fragment does not exist, or holds itself.
        """
        plain = _on_one_line(pattern)
        for _ in range(_MOST_NESTED):
            if "%{" not in plain:
                break
            plain = _FRAGMENT.sub(lambda found: self._fragment(found[1]), plain)
        else:
            raise KeyError("fragments hold one another")
        return plain

    def _fragment(self, name: str) -> str:
        return _on_one_line(self._fragments[name])

    def misplaced(self) -> Iterator[str]:
        """What is wrong with the words and patterns: other forms of keys, no such fragment, no RE2."""
        for name, listed in self.table.words.items():
            if name.endswith("-keys") and (wrong := [w for w in listed.split() if w != squash(w)]):
                yield f"words.{name}: write {wrong[0]!r} as {squash(wrong[0])!r}, as keys are compared"
        for where, pattern in self._patterns():
            try:
                compiled(self.expand(pattern))
            except KeyError as error:
                yield f"{where}: no fragment {error}; known: {', '.join(sorted(self._fragments))}"
            except re2.error as error:
                yield f"{where}: {why_no_re2(error)}"

    def _patterns(self) -> Iterator[tuple[str, str]]:
        for name, group in self.table.groups.items():
            yield f"groups.{name}.prefilter", group.prefilter
        for kind in ROWS:
            for row in getattr(self.table, kind):
                for field in ("pattern", "prefilter", "words"):
                    if pattern := getattr(row, field, ""):
                        yield f"{kind} {row.name!r} {field}", pattern


class _Pattern(re2._Regexp):  # type: ignore[misc] # re2 has no types
    """An RE2 pattern that takes the places in ASCII for those of its bytes, and does not count them anew.

    Most calls are on short texts, where counting takes twice as long as RE2 does.
    """

    __slots__ = ()

    def _match(
        self, anchor: Any, text: str, pos: int | None = None, endpos: int | None = None
    ) -> Iterator[Any]:
        if text.isascii():
            return self._in_ascii(anchor, text, pos, endpos)
        return cast("Iterator[Any]", super()._match(anchor, text, pos, endpos))

    def search(self, text: str, pos: int | None = None, endpos: int | None = None) -> Any:
        """The first place; without one, as for most texts, no generator is begun."""
        if pos is None and endpos is None and text.isascii():
            spans = self._regexp.Match(_ANYWHERE, text.encode(), 0, len(text))
            return None if spans[0] == _NOWHERE else re2._Match(self, text, 0, len(text), spans)
        return super().search(text, pos, endpos)

    def _in_ascii(
        self, anchor: Any, text: str, pos: int | None, endpos: int | None
    ) -> Iterator[Any]:
        at = 0 if pos is None else max(0, min(pos, len(text)))
        end = len(text) if endpos is None else max(0, min(endpos, len(text)))
        encoded = text.encode()
        while at <= end:
            spans = self._regexp.Match(anchor, encoded, at, end)
            if spans[0] == _NOWHERE:
                return
            yield re2._Match(self, text, pos or 0, end, spans)
            at = max(spans[0][1], at + 1)  # an empty match is not found again


@cache
def compiled(pattern: str, memory_bytes: int = 8 << 20) -> re2._Regexp:
    """An RE2 pattern, compiled once for the check of its file and for the recogniser that uses it."""
    options = re2.Options()
    options.max_mem = memory_bytes
    options.log_errors = False  # the error is told
    return _Pattern(pattern, options)


def why_no_re2(error: re2.error) -> str:
    """Why RE2 does not take a pattern."""
    why = error.args[0] if error.args else "no reason given"
    told = why.decode() if isinstance(why, bytes) else why
    return f"is no RE2 pattern ({told}); write it without look-around and back-references"


def _table(document: dict[str, Any]) -> RuleFile:
    """The document in its form; problems name rows as people do, not by their number."""

    def path(location: tuple[int | str, ...]) -> str:
        kind, *rest = location
        if (
            rest
            and isinstance(at := rest[0], int)
            and isinstance(row := document[str(kind)][at], dict)
        ):
            return f"{kind} {row.get('name', at + 1)!r} {path_of(rest[1:])}".rstrip()
        return path_of(location)

    try:
        return RuleFile.model_validate(document)
    except ValidationError as error:
        raise FileProblems(problems_of(error, RuleFile, path=path)) from None


@lru_cache(maxsize=4096)
def squash(key: str) -> str:
    """A key's letters and digits in lower case: `firstName`, `first_name`, `First-Name` are one."""
    return _SQUASHED.sub("", key[:80]).lower()


@lru_cache(maxsize=4096)
def words_of(key: str) -> str:
    """A key's words as prose has them: `githubToken`, `github_token`, `GITHUB-TOKEN` are `github token`."""
    return " ".join(_KEY_WORD.findall(key[:_KEY_CHARS])).lower()


def _on_one_line(pattern: str) -> str:
    return _INDENT.sub("", pattern) if "\n" in pattern else pattern


@lru_cache
def rule_file(name: str) -> Rules:
    """The rules of `NAME.toml`, read once.

    Raises:
        Misconfigured: the file cannot be used; every problem is named.
    """
    path = FOLDER / f"{name}.toml"
    try:
        table = _table(toml_of(path.read_bytes()))
        common = table if name == COMMON else rule_file(COMMON).table
        rules = Rules(name, table, common.fragments)
        if problems := list(rules.misplaced()):
            raise FileProblems(problems)
    except (OSError, FileProblems) as error:
        raise Misconfigured(f"screening rules {path}: {error}", hint=_GUIDE) from error
    return rules


def unusable(name: str, row: str, reason: str) -> Misconfigured:
    """The error of a row that the code which reads it cannot use."""
    return Misconfigured(f"screening rules {FOLDER / name}.toml: {row}: {reason}", hint=_GUIDE)
