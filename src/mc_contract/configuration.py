"""Files that people write: read with bounds, checked strictly, every problem told at once.

A file's form is a subclass of `Strict`. `check` holds a parsed document against it: unknown keys
are refused, a string is no list, `"false"` is no boolean, a fraction is no whole number, NaN and
infinities are no numbers. Each problem names the key's path, the value and the accepted form.

    class Prices(Strict):
        currency: Text
        cpu_second: float = Field(ge=0, le=1e9)

    check(Prices, toml_of(path.read_bytes()))

Nothing here opens a file. A value is shown as the file has it, not as placeholders fill it
(`shown`), and never one whose key speaks of a secret.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin
from urllib.parse import urlsplit

from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails

MOST_BYTES = 1 << 20
MOST_TENANT_BYTES = 16 << 20
"""Of a file with an entry for each tenant: the catalogue, credentials."""
_MOST_TOLD = 100
_MOST_SHOWN = 60
_SECRET = re.compile(
    r"key(?!_id)$|token|secret|passw|authori[sz]ation|credential|cookie", re.IGNORECASE
)
_PLACEHOLDER = re.compile(r"\$\{(MC_[A-Z0-9_]+)\}")
_USERINFO = re.compile(r"//[^/@\s]*@")


class FileProblems(ValueError):
    """What is wrong with a file; `problems` lists every finding."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Form:
    """In a type's `Annotated`: the accepted form in words, where type and bounds do not say it."""

    words: str


class Strict(BaseModel):
    """A table of a file that people write; `rules` says what fields alone do not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Which key is wrong and why, by which keys stand together; values are not checked yet.

        They are told beside what is wrong with single fields. What needs checked values belongs
        in a `model_validator(mode="after")`.
        """
        del raw
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _with_rules(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        broken = list(cls.rules(raw)) if isinstance(raw, Mapping) else []
        if not broken:
            return handler(raw)
        lines = [
            InitErrorDetails(
                type="value_error", loc=(key,) if key else (), input=raw, ctx={"error": said}
            )
            for key, said in broken
        ]
        try:
            handler(raw)
        except ValidationError as error:
            lines = [_line(item) for item in error.errors(include_url=False)] + lines
        raise ValidationError.from_exception_data(cls.__name__, lines)


def _line(item: ErrorDetails) -> InitErrorDetails:
    line = InitErrorDetails(type=item["type"], loc=item["loc"], input=item["input"])
    if "ctx" in item:
        line["ctx"] = item["ctx"]
    return line


M = TypeVar("M", bound=BaseModel)
_Item = TypeVar("_Item")

Text = Annotated[str, StringConstraints(min_length=1, max_length=1000), Form("text")]
WORD_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
Word = Annotated[
    str,
    StringConstraints(pattern=WORD_PATTERN),
    Form("a word of letters, digits, . _ : or -"),
]
# TOML and JSON have lists only; what stands in them stays strict
Several = Annotated[tuple[_Item, ...], Field(strict=False)]
SetOf = Annotated[frozenset[_Item], Field(strict=False)]


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not value.isprintable() or " " in value:
        raise ValueError("")
    if "@" in parts.netloc:
        raise ValueError(
            "must hold no user or password: none is sent, and a URL is shown and recorded; "
            "let the peer know the service by network or by a proxy before it"
        )
    return value


HttpUrl = Annotated[Text, AfterValidator(_http_url), Form("a URL: http(s)://host...")]


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, one = waiting.pop()
        if isinstance(one, dict):
            waiting += [(f"{path}.{key}", item) for key, item in one.items()]
        elif isinstance(one, list):
            waiting += [(f"{path}[{place}]", item) for place, item in enumerate(one)]
        elif isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"{path[1:]} is {one}, must be a JSON value")
        elif not isinstance(one, str | int | float | bool | None):
            raise ValueError(f"{path[1:]} is a {type(one).__name__}, must be a JSON value")
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(_json_object), Form("a table of JSON values")]


def known(table: str) -> AfterValidator:
    """A name that the document declares elsewhere: `check` gets the names as `names[table]`."""

    def declared(value: str, info: ValidationInfo) -> str:
        names = None if info.context is None else info.context.get(table)
        if names is not None and value not in names:
            raise ValueError(f"unknown {value[:100]!r}; {_choices(value, names)}")
        return value

    return AfterValidator(declared)


def among(names: Iterable[str]) -> AfterValidator:
    """One of these words."""
    words = sorted(names)

    def one_of(value: str) -> str:
        if value not in words:
            raise ValueError(f"unknown {value[:100]!r}; {_choices(value, words)}")
        return value

    return AfterValidator(one_of)


def text_of(raw: bytes, *, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file's bytes; a byte order mark at its start is no part of it.

    Raises:
        FileProblems: it is too large, or no UTF-8.
    """
    if len(raw) > most_bytes:
        raise FileProblems([f"it has more than {most_bytes} bytes"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileProblems([f"it is not UTF-8: byte {error.start + 1}"]) from None


def toml_of(raw: bytes, *, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """A TOML file's document.

    Raises:
        FileProblems: it is too large, no UTF-8 or no TOML.
    """
    text = text_of(raw, most_bytes=most_bytes)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise FileProblems(["it is nested too deep"]) from None
    except ValueError as error:
        raise FileProblems([f"it is not TOML: {str(error)[:200]}"]) from None


def json_of(raw: bytes, *, most_bytes: int = MOST_BYTES) -> Any:
    """A JSON file's value; NaN, infinities and a key that stands twice are refused.

    Raises:
        FileProblems: it is too large, no UTF-8 or no JSON.
    """
    text = text_of(raw, most_bytes=most_bytes)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise FileProblems([f"key {_shown(twice)} stands twice"])
        return table

    def no_number(name: str) -> Any:
        raise FileProblems([f"{name} is no JSON number"])

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_number)
    except FileProblems:
        raise
    except RecursionError:
        raise FileProblems(["it is nested too deep"]) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FileProblems([f"it is not JSON: {error.msg} ({where})"]) from None
    except ValueError:  # thousands of digits, which Python does not convert
        raise FileProblems(["it has a number that is too long to read"]) from None


def placeholders(document: object) -> set[str]:
    """The variables that a document's strings name as `${MC_NAME}`."""
    if isinstance(document, str):
        return set(_PLACEHOLDER.findall(document))
    if isinstance(document, dict):
        document = list(document.values())
    return set().union(*map(placeholders, document)) if isinstance(document, list) else set()


def filled(document: Any, values: Mapping[str, str], unset: str = "") -> Any:
    """The document with the values of its placeholders; `unset` stands for those without one."""
    if isinstance(document, str):
        return _PLACEHOLDER.sub(lambda match: values.get(match.group(1), unset), document)
    if isinstance(document, dict):
        return {key: filled(item, values, unset) for key, item in document.items()}
    if isinstance(document, list):
        return [filled(item, values, unset) for item in document]
    return document


def document_digest(document: Any) -> str:
    """SHA-256 (hex) of what a document says, whatever its layout is."""
    said = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def check(
    form: type[M],
    document: object,
    *,
    names: Mapping[str, Iterable[str]] | None = None,
    shown: object = None,
) -> M:
    """The document in its form.

    Args:
        form: What is accepted.
        document: What the file says.
        names: Names that `known` looks up, by table.
        shown: The document whose values messages may show; by default `document` itself.

    Raises:
        FileProblems: with every problem.
    """
    try:
        return form.model_validate(document, context=None if names is None else dict(names))
    except ValidationError as error:
        raise FileProblems(problems_of(error, form, document if shown is None else shown)) from None


_HIDDEN = object()


def problems_of(
    error: ValidationError,
    form: type[BaseModel],
    shown: object = _HIDDEN,
    *,
    path: Callable[[tuple[int | str, ...]], str] | None = None,
) -> list[str]:
    """Every problem of a validation as `PATH is VALUE, must be FORM`.

    Args:
        error: What pydantic found.
        form: The model that was validated.
        shown: The document whose values may be shown; without it no value is.
        path: How a key is named; by default `a.b[0]`.
    """
    name = path or path_of
    items = error.errors(include_url=False, include_input=False)
    # A list whose items are wrong is called too short as well
    within = {item["loc"][:depth] for item in items for depth in range(len(item["loc"]))}
    items = [item for item in items if item["type"] != "too_short" or item["loc"] not in within]
    # A default that follows from a value that is wrong is no problem of the file's
    items = [item for item in items if item["type"] != "default_factory_not_called"]
    told = [_problem(item, form, shown, name) for item in items[:_MOST_TOLD]]
    if len(items) > _MOST_TOLD:
        told.append(f"and {len(items) - _MOST_TOLD} more")
    return list(dict.fromkeys(told))


def path_of(location: Iterable[int | str]) -> str:
    """A key's path as people write it: `tenants.T.purposes[0]`; others' keys are cut and escaped."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            plain = re.fullmatch(r"[\w-]{1,100}", part)
            path += ("." if path else "") + (part if plain else _shown(part))
    return path


def unknown_key(key: str, names: Iterable[str]) -> str:
    """What is told of a key that is not known."""
    return f"is unknown; {_choices(key, names)}"


def _choices(word: str, names: Iterable[str]) -> str:
    listed = sorted(map(str, names))
    near = difflib.get_close_matches(word[:100], listed, n=1)
    more = f" and {len(listed) - 30} more" if len(listed) > 30 else ""
    known_ones = f"known: {', '.join(listed[:30]) or 'none'}{more}"
    return f"did you mean {near[0]}? {known_ones}" if near else known_ones


def _problem(
    item: Any,
    form: type[BaseModel],
    document: object,
    name: Callable[[tuple[int | str, ...]], str],
) -> str:
    location, kind = tuple(item["loc"]), item["type"]
    path = name(location)
    if kind == "extra_forbidden":
        holder = _resolve(form, location[:-1])[0]
        keys = [field.alias or key for key, field in getattr(holder, "model_fields", {}).items()]
        return f"{path} {unknown_key(str(location[-1]), keys)}"
    if kind == "invalid_key":  # of YAML, which reads 1 and yes as other than text
        return (
            f"{name(location[:-1])}{': ' if location[1:] else ''}the key {location[-1]} is not text"
        )
    annotation, marks = _resolve(form, location)
    accepted = _form(annotation, marks)
    if kind == "missing":
        return f"{path} is missing{f', must be {accepted}' if accepted else ''}"
    if kind in ("value_error", "assertion_error") and str(item["ctx"]["error"]):
        said = str(item["ctx"]["error"])
        return f"{path}{' ' if said.startswith('is ') else ': '}{said}" if path else said
    accepted = accepted or str(item["msg"]).removeprefix("Input should be ")
    value = "" if document is _HIDDEN else f" is {_value_at(document, location)},"
    return f"{path or 'it'}{value} must be {accepted}"


def _resolve(form: Any, location: tuple[int | str, ...]) -> tuple[Any, list[Any]]:
    """The type at a path of a model, and what its annotations say of it."""
    annotation, marks = _bare(form)
    for place, part in enumerate(location):
        fields = getattr(annotation, "model_fields", None)
        arguments = get_args(annotation)
        if fields is not None:
            field = next(
                (f for key, f in fields.items() if part in (key, f.alias, f.validation_alias)), None
            )
            if field is None:
                return None, []
            annotation, marks = _bare(field.annotation)
            marks = [*field.metadata, *marks]
        elif get_origin(annotation) is dict:
            annotation, marks = _bare(arguments[0 if location[place + 1 :] == ("[key]",) else 1])
        elif arguments and isinstance(part, int):
            annotation, marks = _bare(arguments[0])
        else:
            return annotation, marks
    return annotation, marks


def _bare(annotation: Any) -> tuple[Any, list[Any]]:
    """A type without `Annotated` and `| None`, and the annotations' marks."""
    marks: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            for mark in more:
                marks += getattr(mark, "metadata", None) or [mark]
        elif get_origin(annotation) in (Union, types.UnionType):
            kept = [one for one in get_args(annotation) if one is not type(None)]
            if len(kept) != 1:
                return annotation, marks
            annotation = kept[0]
        else:
            return annotation, marks


def _form(annotation: Any, marks: Iterable[Any]) -> str:
    """The accepted form in words; empty when the type does not tell it."""
    marks = list(marks)
    words = [mark.words for mark in marks if isinstance(mark, Form)]
    origin = get_origin(annotation)
    if words:
        return str(words[-1])  # the outermost
    if origin is Literal:
        return " or ".join(map(str, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(str(one.value) for one in annotation)
    if origin in (tuple, list, frozenset, set):
        inner = _form(*_bare(get_args(annotation)[0]))
        return f"a list{f' (each {inner})' if inner else ''}{_bounds(marks)}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return f"a table{_bounds(marks)}"
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    base = plain.get(annotation, "")
    pattern = next((one for mark in marks if (one := getattr(mark, "pattern", None))), None)
    if pattern is not None:
        return f"text of the form {pattern}"
    return f"{base}{_bounds(marks)}" if base else ""


def _bounds(marks: Iterable[Any]) -> str:
    """What bounds say: ` from 0 to 3`, ` above 0 and at most 60`."""
    low = high = ""
    least, most = 0, None
    for mark in marks:
        match mark:
            case Ge(ge=bound):
                low = f"from {bound:g}" if isinstance(bound, float) else f"from {bound}"
            case Gt(gt=bound):
                low = f"above {bound}"
            case Le(le=bound):
                high = f"{bound:g}" if isinstance(bound, float) else f"{bound}"
            case Lt(lt=bound):
                high = f"less than {bound}"
        least, most = getattr(mark, "min_length", None) or least, getattr(mark, "max_length", most)
    told = " ".join(filter(None, (low, "to" if low.startswith("from") and high else "", high)))
    if low.startswith("above") and high:
        told = f"{low} and at most {high}"
    length = f" of {least} to {most}" if most else f" of {least} or more" if least else ""
    return (f" {told}" if told else "") + length


def _value_at(document: object, location: tuple[int | str, ...]) -> str:
    value, key = document, location[-2] if location[-1:] == ("[key]",) else None
    secret = False
    for part in location[:-1] if key is not None else location:
        secret = secret or (isinstance(part, str) and _SECRET.search(part) is not None)
        try:
            value = value[part] if isinstance(value, Mapping | list | tuple) else value  # type: ignore[index] # by the containers' keys
        except (KeyError, IndexError, TypeError):
            break
    if secret:
        return "***" if isinstance(value, str) else kind_of(value)
    return _shown(value if key is None else key)


def kind_of(value: object) -> str:
    """What kind of value it is, where itself must not be shown."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return _shown(value)


def _shown(value: object) -> str:
    """A value as the file has it: one line, cut, without credentials in a URL."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        value = _USERINFO.sub("//***@", value)
        cut = value if len(value) <= _MOST_SHOWN else value[:_MOST_SHOWN] + "..."
        return json.dumps(cut)
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return str(value)[:_MOST_SHOWN]
