"""How the SDK's parsers are used here: quick on long texts, and plain in what they refuse.

`google.protobuf.json_format` looks for half surrogate pairs with a pattern, 45 ns a character: a
text of a mebibyte holds the event loop for 45 ms. Encoding the text finds the same in one.

What protobuf and pydantic say of a message that does not fit quotes Python and the message. A caller
is told the place instead.

A listing's parameters are read strictly: the SDK passes over what it does not know, and a filter
that is passed over widens the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from a2a.server import jsonrpc_models
from a2a.server.routes import jsonrpc_dispatcher, rest_dispatcher
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors as sdk
from a2a.utils import proto_utils
from google.protobuf import json_format
from pydantic import ValidationError

_FIELD = re.compile(r"Failed to parse (\w{1,64}) field")
MOST_COUNT = 2**31 - 1
_DIGITS = re.compile(r"[0-9]{1,10}")
NO_COUNT = f"is no whole number from 0 to {MOST_COUNT}"


def is_count(value: Any) -> bool:
    """Whether JSON's value, or a query's text, is a whole number that A2A's integers hold.

    Protobuf would read `-1`, `1_0` and digits of any script as well.
    """
    if isinstance(value, str):
        return _DIGITS.fullmatch(value) is not None and int(value) <= MOST_COUNT
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= MOST_COUNT and value == int(value)


class _HalfPairs:
    """Stands for protobuf's pattern."""

    @staticmethod
    def search(text: str) -> bool:
        """Whether the text has half of a surrogate pair."""
        if not isinstance(text, str):
            raise TypeError("expected string")  # as the pattern has it, and protobuf expects it
        try:
            text.encode()
        except UnicodeEncodeError:
            return True
        return False


class _Plain:
    """A model of A2A 0.3 that says where a request does not fit, and nothing of it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def model_validate(self, body: Any) -> Any:
        """The request.

        Raises:
            ValueError: it is none.
        """
        try:
            return self._model.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"] if isinstance(part, str | int))
            raise ValueError(_misfit(place[:200])) from None


def _plainly(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parsed(*args: Any, **how: Any) -> Any:
        if isinstance(args[1], pb.ListTasksRequest):
            how["ignore_unknown_fields"] = False
            if isinstance(args[0], dict):
                names = {name for one in args[1].DESCRIPTOR.fields for name in _spellings(one)}
                if not args[0].keys() <= names:
                    raise _no_such_parameter(args[1])
                if isinstance(args[0].get("status"), float | bool):
                    raise sdk.InvalidParamsError(_misfit("status"))  # 1.5 and true would be 1
        try:
            return parse(*args, **how)
        except Exception as error:  # noqa: BLE001 - what a parser raises on what is no message
            path = _FIELD.findall(str(error)[:2000])
            known = _words(args[1], path)
            raise sdk.InvalidParamsError(_misfit(".".join(path)) + known) from None

    return parsed


_parse_query = proto_utils.parse_params
_parse_plainly = _plainly(json_format.ParseDict)


def _query(params: Any, message: Any) -> None:
    """Read a query's parameters into a message, none twice and none guessed."""
    fields = {field.camelcase_name: field for field in message.DESCRIPTOR.fields}
    said: dict[str, Any] = {}
    for name in params:
        field, values = fields.get(name), params.getlist(name)
        if field is None or field.is_repeated:
            if field is None and isinstance(message, pb.ListTasksRequest):
                raise _no_such_parameter(message)
            continue
        if len(values) > 1:
            raise sdk.InvalidParamsError(f"{name} is given more than once")
        said[name] = values[0]
        if field.type == field.TYPE_BOOL:
            if values[0].lower() not in ("true", "false"):
                raise sdk.InvalidParamsError(f"{name} must be true or false")
            said[name] = values[0].lower() == "true"
        elif field.type == field.TYPE_INT32 and not is_count(values[0]):
            raise sdk.InvalidParamsError(f"{name} {NO_COUNT}")
    _parse_plainly(said, type(message)())
    _parse_query(params, message)


def _spellings(field: Any) -> tuple[str, str]:
    return field.camelcase_name, field.name


def _no_such_parameter(message: Any) -> sdk.InvalidParamsError:
    known = ", ".join(sorted(field.camelcase_name for field in message.DESCRIPTOR.fields))
    return sdk.InvalidParamsError(f"no parameter but {known}")


def _words(message: Any, path: list[str]) -> str:
    """The words that A2A has at a path of a message, if it has some there and no others."""
    field, holder = None, message.DESCRIPTOR
    for name in path:
        field = holder and holder.fields_by_camelcase_name.get(name)
        holder = field and field.message_type
    if field is None or field.enum_type is None:
        return ""
    return f": one of {', '.join(value.name for value in field.enum_type.values if value.number)}"


def _misfit(place: str) -> str:
    return f"not what A2A has at {place}" if place else "not what A2A has for this method"


def adapt_parsers() -> None:
    """Put the checks in their places; tests see that they are asked there."""
    json_format._UNPAIRED_SURROGATE_PATTERN = _HalfPairs  # type: ignore[attr-defined]
    jsonrpc_dispatcher.ParseDict = _plainly(json_format.ParseDict)  # type: ignore[attr-defined]
    rest_dispatcher.Parse = _plainly(json_format.Parse)  # type: ignore[attr-defined]
    proto_utils.parse_params = _query
    old: Any = import_module("a2a.compat.v0_3.jsonrpc_adapter")  # at the top it would import itself
    models = old.JSONRPC03Adapter.METHOD_TO_MODEL
    models.update(
        {
            name: model if isinstance(model, _Plain) else _Plain(model)
            for name, model in models.items()
        }
    )
    # What does not fit is a method's parameters: the request itself was read before
    old.CoreInvalidRequestError = jsonrpc_models.InvalidParamsError
    # The SDK would call an internal error what A2A 0.3 does not define
    old._V03_ERROR_CODES |= set(sdk.JSON_RPC_ERROR_CODE_MAP.values())
