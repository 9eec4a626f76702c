"""Markdown to `Runbook`, or the whole list of reasons why it is not one.

A fence is part of the runbook when its info string is `yaml runbook` (the header) or a shell
fence that carries attributes (`step=`, `check=`, `undo=`); any other fence is prose for people.
Pure: no file is opened and no shell is asked (`lint` does that).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from markdown_it import MarkdownIt

from mc_contract.configuration import FileProblems, text_of
from mc_ops.runbooks.model import On, Parameter, Problem, Repeat, Runbook, Script, Step, Undo

if TYPE_CHECKING:
    from markdown_it.token import Token

SHELLS = ("sh", "bash")
ATTRIBUTES = {
    "step": {"title", "timeout", "repeat"},
    "check": {"timeout"},
    "undo": {"timeout", "on", "until"},
}
DEFAULT_TIMEOUT_S = 600.0
# What the engine itself puts into a step's environment; a parameter may not take these names.
ENGINE_VARIABLES = frozenset(
    {"ENV", "HOME", "MC_HOME", "PATH", "RUN_DIR", "RUN_ID", "RUNBOOK", "STEP_OUTPUT"}
)

_LINE_END = re.compile(r"\r\n|\r|\n")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h)")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_ADVICE = re.compile(r"\s*\**if it fails(?: with exit (?P<exit>\d+))?:?\**:?\s*", re.IGNORECASE)


class _HeaderLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML takes the last, and aliases, which can nest."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call] # PyYAML has no types
            raise yaml.MarkedYAMLError(problem="has an alias", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {str(key.value)[:60]!r} stands twice", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(slots=True)
class _Draft:
    """A step while its check, undo and advice may still follow."""

    id: str
    line: int
    title: str
    section: str
    script: Script
    repeat: Repeat
    check: Script | None = None
    undo: Undo | None = None
    undo_line: int = 0
    advice: str = ""
    advice_by_exit: dict[int, str] = field(default_factory=dict)

    def finished(self) -> Step:
        return Step(
            id=self.id,
            title=self.title,
            section=self.section,
            script=self.script,
            repeat=self.repeat,
            check=self.check,
            undo=self.undo,
            advice=self.advice,
            advice_by_exit=tuple(sorted(self.advice_by_exit.items())),
        )


@dataclass(slots=True)
class _Reader:
    """Collects what the tokens say; problems are gathered, never raised."""

    problems: list[Problem] = field(default_factory=list)
    header: Mapping[str, Any] | None = None
    header_line: int = 1
    drafts: dict[str, _Draft] = field(default_factory=dict)
    section: str = ""

    def problem(self, line: int, reason: str) -> None:
        self.problems.append(Problem(line, reason))


def parse(source: bytes, path: str) -> tuple[Runbook | None, list[Problem]]:
    """Read a runbook.

    Args:
        source: The file's bytes (UTF-8).
        path: The name the runbook is known by in messages and in the journal.

    Returns:
        The runbook and no problems, or None and every problem found, in the file's order.
    """
    try:
        text = text_of(source)
    except FileProblems as error:
        return None, [Problem(1, str(error))]
    reader = _Reader()
    tokens = MarkdownIt("commonmark").parse(text)
    lines = _LINE_END.split(text)  # a line separator within prose (U+2028, U+0085) ends none
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            reader.section = tokens[position + 1].content
        elif token.type == "fence":
            _read_fence(reader, token, lines)
        elif token.type == "blockquote_open":
            _read_advice(reader, tokens, position)
    parameters = _read_header(reader)
    _check_references(reader, parameters)
    if reader.problems or reader.header is None:
        return None, sorted(reader.problems)
    runbook = Runbook(
        id=str(reader.header["id"]),
        title=str(reader.header["title"]),
        path=path,
        source=source,
        parameters=parameters,
        steps=tuple(draft.finished() for draft in reader.drafts.values()),
    )
    return runbook, []


def _read_fence(reader: _Reader, token: Token, lines: list[str]) -> None:
    line = (token.map or [0, 0])[0] + 1
    words = token.info.split(maxsplit=1)
    language, rest = (words[0] if words else ""), (words[1] if len(words) > 1 else "")
    if language == "yaml" and rest.strip() == "runbook":
        _take_header(reader, token.content, line)
        return
    if language not in SHELLS or not rest:
        return
    last = (token.map or [0, 0])[1] - 1
    if last >= len(lines) or not lines[last].lstrip(" >").startswith(token.markup):
        reader.problem(line, "the block is not closed")
        return
    attributes = _attributes(reader, rest, line)
    if attributes is None:
        return
    kinds = [kind for kind in ATTRIBUTES if kind in attributes]
    if len(kinds) != 1:
        reader.problem(
            line, "a shell block with attributes needs exactly one of step=, check=, undo="
        )
        return
    _take_block(reader, kinds[0], attributes, token.content, line)


def _attributes(reader: _Reader, rest: str, line: int) -> dict[str, str] | None:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        reader.problem(line, f"attributes cannot be read: {str(error).lower()}")
        return None
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            reader.problem(line, f"attribute {word!r} is not of the form key=value")
            return None
        if key in found:
            reader.problem(line, f"attribute {key!r} is given twice")
            return None
        found[key] = value
    return found


def _take_block(
    reader: _Reader, kind: str, attributes: dict[str, str], text: str, line: int
) -> None:
    step_id = attributes.pop(kind)
    for unknown in sorted(set(attributes) - ATTRIBUTES[kind]):
        known = ", ".join(sorted(ATTRIBUTES[kind]))
        reader.problem(line, f"unknown attribute {unknown!r} of a {kind}; known are {known}")
    if not _ID.fullmatch(step_id):
        reader.problem(line, f"id {step_id!r} is not lower-case words joined by hyphens")
        return
    if not text.strip():
        reader.problem(line, f"the {kind} {step_id!r} is empty")
    script = Script(text, line, _timeout(reader, attributes.get("timeout"), line))
    if kind == "step":
        if step_id in reader.drafts:
            first = reader.drafts[step_id].line
            reader.problem(line, f"duplicate step id {step_id!r}, first used on line {first}")
            return
        reader.drafts[step_id] = _Draft(
            id=step_id,
            line=line,
            title=attributes.get("title", step_id),
            section=reader.section,
            script=script,
            repeat=_repeat(reader, attributes.get("repeat"), line),
        )
        return
    draft = reader.drafts.get(step_id)
    if draft is None:
        reader.problem(line, f"{kind} for unknown step {step_id!r} (a {kind} follows its step)")
    elif kind == "check" and draft.check is None:
        draft.check = script
    elif kind == "undo" and draft.undo is None:
        events = _on(reader, attributes.get("on", On.failure), line)
        draft.undo = Undo(script, events, attributes.get("until", step_id))
        draft.undo_line = line
    else:
        reader.problem(line, f"step {step_id!r} has a second {kind}")


def _timeout(reader: _Reader, value: str | None, line: int) -> float:
    if value is None:
        return DEFAULT_TIMEOUT_S
    match = _DURATION.fullmatch(value)
    if match is None or int(match[1]) == 0:
        reader.problem(line, f"timeout {value!r} is not a duration such as 90s, 20m or 1h")
        return DEFAULT_TIMEOUT_S
    return float(int(match[1]) * _UNIT_S[match[2]])


def _repeat(reader: _Reader, value: str | None, line: int) -> Repeat:
    if value is None:
        return Repeat.ask
    try:
        return Repeat(value)
    except ValueError:
        reader.problem(line, f"repeat {value!r} is neither safe nor ask")
        return Repeat.ask


def _on(reader: _Reader, value: str, line: int) -> frozenset[On]:
    events = set()
    for word in re.split(r"[|,]", value):
        try:
            events.add(On(word))
        except ValueError:
            reader.problem(line, f"on={word!r} is neither failure nor interrupt")
    return frozenset(events)


def _read_advice(reader: _Reader, tokens: list[Token], position: int) -> None:
    """Attach a blockquote "If it fails:" or "If it fails with exit N:" to the step above it."""
    depth = tokens[position].level
    paragraphs: list[str] = []
    for token in tokens[position + 1 :]:
        if token.type == "blockquote_close" and token.level == depth:
            break
        if token.type == "inline":
            paragraphs.append(" ".join(token.content.split()))
    text = " ".join(paragraphs)
    begin = _ADVICE.match(text)
    if not (begin and reader.drafts):
        return
    draft = reader.drafts[next(reversed(reader.drafts))]
    said = text[begin.end() :]
    if begin["exit"] is None:
        draft.advice = said
    else:
        draft.advice_by_exit[int(begin["exit"])] = said


def _take_header(reader: _Reader, text: str, line: int) -> None:
    if reader.header is not None:
        reader.problem(line, f"a second header; the first is on line {reader.header_line}")
        return
    reader.header_line = line
    reader.header = {}
    try:
        loaded = yaml.load(text, _HeaderLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = line + 1 + (mark.line if mark else 0)
        reader.problem(at, f"the header is not YAML: {getattr(error, 'problem', error)}")
        return
    if isinstance(loaded, dict):
        reader.header = loaded
    else:
        reader.problem(line, "the header is not a mapping of id, title and parameters")


def _read_header(reader: _Reader) -> tuple[Parameter, ...]:
    if reader.header is None:
        reader.problem(1, "no header: a ```yaml runbook block with id, title and parameters")
        return ()
    line = reader.header_line
    for key in sorted(set(map(str, reader.header)) - {"id", "title", "parameters"}):
        reader.problem(line, f"unknown key {key!r} in the header")
    for key in ("id", "title"):
        if not isinstance(reader.header.get(key), str):
            reader.problem(line, f"the header has no {key}")
    identity = reader.header.get("id")
    if isinstance(identity, str) and not _ID.fullmatch(identity):
        reader.problem(line, f"id {identity!r} is not lower-case words joined by hyphens")
    return tuple(_parameters(reader, reader.header.get("parameters") or [], line))


def _parameters(reader: _Reader, listed: object, line: int) -> Iterator[Parameter]:
    if not isinstance(listed, list):
        reader.problem(line, "parameters is not a list")
        return
    seen: set[str] = set()
    for item in listed:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            reader.problem(line, f"a parameter without a name: {item!r}")
            continue
        name = item["name"]
        if not _NAME.fullmatch(name):
            reader.problem(line, f"parameter {name!r} is not an upper-case variable name")
        if name in ENGINE_VARIABLES:
            reader.problem(line, f"parameter {name!r} is set by the engine itself")
        if name in seen:
            reader.problem(line, f"parameter {name!r} is declared twice")
        seen.add(name)
        for key in sorted(set(map(str, item)) - {"name", "default", "help", "set_by", "pattern"}):
            reader.problem(line, f"unknown key {key!r} of parameter {name!r}")
        for key in ("default", "help", "set_by", "pattern"):
            # YAML reads a bare no, yes, 1.10 or 08:30 as something else than these letters.
            if not isinstance(item.get(key, ""), str):
                reader.problem(line, f"{key} of parameter {name!r} is not text; put it in quotes")
        pattern = str(item.get("pattern", ""))
        default = item.get("default")
        try:
            fits = default is None or not pattern or re.fullmatch(pattern, str(default))
        except re.error as error:
            reader.problem(line, f"pattern of parameter {name!r} is no regular expression: {error}")
            pattern, fits = "", True
        if not fits:
            reader.problem(line, f"default of parameter {name!r} does not match its pattern")
        yield Parameter(
            name=name,
            help=str(item.get("help", "")),
            default=None if default is None else str(default),
            set_by=str(item.get("set_by", "")),
            pattern=pattern,
        )


def _check_references(reader: _Reader, parameters: tuple[Parameter, ...]) -> None:
    """Refuse what points at a step that is not there, or that comes too early."""
    order = list(reader.drafts)
    if not order:
        reader.problem(1, "no steps: a shell block with step=ID is one")
    for parameter in parameters:
        if parameter.set_by and parameter.set_by not in order:
            reader.problem(
                reader.header_line,
                f"parameter {parameter.name!r} is set by unknown step {parameter.set_by!r}",
            )
    for draft in reader.drafts.values():
        if draft.undo is None or draft.undo.until == draft.id:
            continue
        if draft.undo.until not in order:
            reader.problem(draft.undo_line, f"until names unknown step {draft.undo.until!r}")
        elif order.index(draft.undo.until) < order.index(draft.id):
            reader.problem(
                draft.undo_line,
                f"until names {draft.undo.until!r}, which comes before {draft.id!r}",
            )
