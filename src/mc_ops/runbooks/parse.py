"""Markdown to `Runbook`, or the whole list of reasons why it is not one.

A fence is part of the runbook when its info string is `yaml runbook` (the header) or a shell
fence that carries attributes (`step=`, `check=`, `undo=`), or a `text` fence with `gate=`; any
other fence is prose for people.
Pure: no file is opened and no shell is asked (`lint` does that).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from markdown_it import MarkdownIt
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from mc_contract.configuration import (
    FileProblems,
    Form,
    SetOf,
    Several,
    Strict,
    Text,
    check,
    text_of,
)
from mc_ops.runbooks.condition import Condition, condition
from mc_ops.runbooks.model import (
    Gate,
    On,
    Parameter,
    Problem,
    Repeat,
    Retry,
    Runbook,
    Script,
    Step,
    Undo,
)
from mc_ops.runbooks.references import check_references

if TYPE_CHECKING:
    from markdown_it.token import Token

SHELLS = ("sh", "bash")
_MOST_RETRIES = 10
_LINE_END = re.compile(r"\r\n|\r|\n")
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h)")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_WHOSE = re.compile(r"(?<![^\s{])(step|check|undo|gate)=")
"""An attribute that makes a block one of the runbook's, wherever it stands: none is passed over as prose."""
_OPENING = re.compile(r"[ \t>]*(?:(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)*(`{3,}|~{3,})(?P<info>.*)")
_ADVICE = re.compile(r"\s*\**if it fails(?: with exit (?P<exit>\d+))?:?\**:?\s*", re.IGNORECASE)


def _seconds(duration: str) -> float:
    match = _DURATION.fullmatch(duration)
    if match is None or int(match[1]) == 0:
        raise ValueError("")
    return float(int(match[1]) * _UNIT_S[match[2]])


def _times(text: str) -> int:
    times = int(text) if re.fullmatch("[0-9]{1,3}", text) else 0
    if not 1 <= times <= _MOST_RETRIES:
        raise ValueError("")
    return times


def _declared_once(parameters: Iterable[Parameter]) -> Iterable[Parameter]:
    seen: set[str] = set()
    for parameter in parameters:
        if parameter.name in seen:
            raise ValueError(f"{parameter.name} is declared twice")
        seen.add(parameter.name)
    return parameters


_Id = Annotated[
    str,
    StringConstraints(pattern="^[a-z0-9]+(-[a-z0-9]+)*$"),
    Form("lower-case words joined by hyphens"),
]


_Seconds = Annotated[float, BeforeValidator(_seconds), Form("a duration such as 90s, 20m or 1h")]
_Assignee = Annotated[str, StringConstraints(max_length=100)]
_When = Annotated[
    Condition | None,
    BeforeValidator(condition),
    Form("NAME=VALUE or NAME!=VALUE, several values with | and several clauses with `and` between"),
]


class _Header(Strict):
    id: _Id
    title: Text
    assignee: _Assignee = ""
    parameters: Annotated[Several[Parameter], AfterValidator(_declared_once)] | None = None


class _Block(Strict):
    """The attributes of an executable block; the first of them names its step."""

    timeout: _Seconds = 600.0


class _StepBlock(_Block):
    step: _Id
    title: str = ""
    repeat: Annotated[Repeat, Field(strict=False)] = Repeat.ask
    when: _When = None
    retry: Annotated[
        int, BeforeValidator(_times), Form(f"a number of attempts from 1 to {_MOST_RETRIES}")
    ] = 0
    wait: _Seconds = 1.0
    assignee: _Assignee = ""

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """A retry repeats what it does not know to be undone, so it is for safe steps alone."""
        if "retry" in raw and raw.get("repeat") != Repeat.safe:
            yield "retry", "is for steps that are repeat=safe"
        if "wait" in raw and "retry" not in raw:
            yield "wait", "is the pause before a retry=, of which there is none"


class _GateBlock(Strict):
    """The attributes of a gate."""

    gate: _Id
    title: str = ""
    when: _When = None
    assignee: _Assignee = ""
    not_by: Literal["starter"] | None = None


class _CheckBlock(_Block):
    check: _Id


class _UndoBlock(_Block):
    undo: _Id
    on: Annotated[
        SetOf[Annotated[On, Field(strict=False)]], BeforeValidator(re.compile(r"[|,]").split)
    ] = frozenset({On.failure})
    until: str = ""


_BLOCKS: Mapping[str, type[_Block]] = {"step": _StepBlock, "check": _CheckBlock, "undo": _UndoBlock}
_ANCHORS = ("step", "gate")


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
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value[:60]!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(slots=True)
class _Reader:
    """Collects what the tokens say; a block that cannot be used is a problem, and is left out.

    Attributes:
        named: Each step that is there, those with problems among them, and its line.
    """

    problems: list[Problem] = field(default_factory=list)
    header: _Header | None = None
    header_line: int = 0
    named: dict[str, int] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
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
    if "\0" in text:  # Markdown has another character for it, and bash would run that one
        line = text.count("\n", 0, text.index("\0")) + 1
        return None, [Problem(line, "a NUL character: is it a text file?")]
    reader = _Reader()
    tokens = MarkdownIt("commonmark").parse(text)
    lines = _LINE_END.split(text)  # a line separator within prose (U+2028, U+0085) ends none
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            reader.section = tokens[position + 1].content
        elif token.type == "fence":
            begin, end = token.map or (0, 0)
            try:
                _read_fence(reader, token, begin + 1, lines[end - 1 : end])
            except FileProblems as error:
                reader.problems += [Problem(begin + 1, reason) for reason in error.problems]
        elif token.type == "blockquote_open":
            _read_advice(reader, tokens, position)
        _tell_lost(reader, token, lines)
    if not reader.header_line:
        reader.problem(1, "no header: a ```yaml runbook block with id, title and parameters")
    parameters = (reader.header and reader.header.parameters) or ()
    reader.problems += check_references(
        parameters, tuple(reader.steps.values()), reader.named, reader.header_line
    )
    if reader.problems or reader.header is None:
        return None, sorted(reader.problems)
    runbook = Runbook(
        id=reader.header.id,
        title=reader.header.title,
        path=path,
        source=source,
        parameters=parameters,
        steps=tuple(reader.steps.values()),
        assignee=reader.header.assignee,
    )
    return runbook, []


def _read_fence(reader: _Reader, token: Token, line: int, last: list[str]) -> None:
    """Take a block, if it is one of the runbook's.

    Raises:
        FileProblems: it cannot be used.
    """
    language, rest = [*token.info.split(maxsplit=1), "", ""][:2]
    if language == "yaml" and rest.strip() == "runbook":
        _take_header(reader, token.content, line)
    elif language == "text" and _WHOSE.search(rest):
        _closed(token, last)
        attributes = _attributes(rest)
        if "gate" not in attributes:
            raise FileProblems([f"a text block is a gate, and nothing else ({rest[:40]})"])
        _take_gate(reader, attributes, token.content, line)
    elif language in SHELLS and rest:
        _closed(token, last)
        attributes = _attributes(rest)
        if "gate" in attributes:
            raise FileProblems(["a gate is a text block, which a person reads; nothing runs it"])
        kinds = [kind for kind in _BLOCKS if kind in attributes]
        if len(kinds) != 1:
            raise FileProblems(
                ["a shell block with attributes needs exactly one of step=, check=, undo="]
            )
        _take_block(reader, kinds[0], attributes, token.content, line)
    elif language not in ("text", *SHELLS) and _WHOSE.search(token.info):
        told = f"a block of {language[:40]} is not run"
        raise FileProblems([f"{told}: steps, checks and undos are sh or bash, gates text"])


def _tell_lost(reader: _Reader, token: Token, lines: list[str]) -> None:
    """Tell each block of the runbook's that Markdown takes for a part of something else: it would never run."""
    if token.map is None or token.type not in ("fence", "code_block", "html_block", "inline"):
        return
    if token.content.lstrip().startswith("<!--"):  # commented out on purpose
        return
    begin, end = token.map
    # A block of examples has a longer fence than they have, or one of the other kind
    around = token.markup if token.type == "fence" else ""
    for number in range(begin + bool(around), end):
        opening = _OPENING.match(lines[number])
        if (
            opening
            and opening[1].startswith(around)
            and opening[1] not in opening["info"]  # closed on the same line: code within prose
            and _WHOSE.search(opening["info"])
        ):
            where = "indented too far, or within HTML or prose"
            if around:
                where = f"it is within the one of line {begin + 1}, which is not closed"
            reader.problem(number + 1, f"this block is not run: {where}")


def _closed(token: Token, last: list[str]) -> None:
    if not (last and last[0].lstrip(" \t>").startswith(token.markup)):
        raise FileProblems(["the block is not closed"])


def _attributes(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise FileProblems([f"attributes cannot be read: {str(error).lower()}"]) from error
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if not value:
            raise FileProblems([f"attribute {word!r} is not of the form key=value"])
        if key in found:
            raise FileProblems([f"attribute {key!r} is given twice"])
        found[key] = value
    return found


def _take_block(
    reader: _Reader, kind: str, attributes: dict[str, str], text: str, line: int
) -> None:
    name = attributes[kind]
    _take_name(reader, kind, name, text, line)
    block = check(_BLOCKS[kind], attributes)
    script = Script(text, line, block.timeout)
    step = reader.steps.get(name)
    if isinstance(block, _StepBlock):
        reader.steps[name] = Step(
            name,
            block.title or name,
            reader.section,
            script,
            block.repeat,
            when=block.when,
            retry=Retry(block.retry, block.wait),
            assignee=block.assignee,
        )
    elif step is not None and step.gate:
        raise FileProblems([f"{name!r} is a gate, which has no {kind}"])
    elif step is not None and (step.undo if isinstance(block, _UndoBlock) else step.check):
        raise FileProblems([f"step {name!r} has a second {kind}"])
    elif step is not None and isinstance(block, _UndoBlock):
        reader.steps[name] = replace(step, undo=Undo(script, block.on, block.until or name))
    elif step is not None:
        reader.steps[name] = replace(step, check=script)


def _take_gate(reader: _Reader, attributes: dict[str, str], text: str, line: int) -> None:
    name = attributes["gate"]
    _take_name(reader, "gate", name, text, line)
    block = check(_GateBlock, attributes)
    reader.steps[name] = Step(
        name,
        block.title or name,
        reader.section,
        Script(text, line, 0.0),
        Repeat.safe,
        when=block.when,
        gate=Gate(block.not_by is not None),
        assignee=block.assignee,
    )


def _take_name(reader: _Reader, kind: str, name: str, text: str, line: int) -> None:
    """Let a step or a gate take its name, or find the step that a block belongs to."""
    anchor = kind in _ANCHORS
    first = reader.named.setdefault(name, line) if anchor else reader.named.get(name)
    if first is None:
        raise FileProblems([f"{kind} for unknown step {name!r} (a {kind} follows its step)"])
    if anchor and first != line:
        raise FileProblems([f"duplicate step id {name!r}, first used on line {first}"])
    if not text.strip():
        raise FileProblems([f"the {kind} {name!r} is empty"])


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
    if not (begin and reader.steps):
        return
    step, said = reader.steps[next(reversed(reader.steps))], text[begin.end() :]
    if begin["exit"] is None:
        reader.steps[step.id] = replace(step, advice=said)
    else:
        by_exit = {**step.advice_by_exit, int(begin["exit"]): said}
        reader.steps[step.id] = replace(step, advice_by_exit=by_exit)


def _take_header(reader: _Reader, text: str, line: int) -> None:
    if reader.header_line:
        raise FileProblems([f"a second header; the first is on line {reader.header_line}"])
    reader.header_line = line
    try:
        loaded = yaml.load(text, _HeaderLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = line + 1 + (mark.line if mark else 0)
        reader.problem(at, f"the header is not YAML: {getattr(error, 'problem', error)}")
        return
    except RecursionError:
        raise FileProblems(["the header is nested too deep"]) from None
    except ValueError as error:  # such as month 13 in what looks like a date
        raise FileProblems([f"the header has a value that cannot be read: {error}"]) from error
    reader.header = check(_Header, loaded)
