"""What verbs are made of: their options alone and in groups, and how values are read.

A group is a dataclass of options. A verb with one parameter of that type has all of them:

    @app.command()
    def show(id: IdArgument, call: Reading) -> None:
        with call.client() as client: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from mc_contract.numbers import number, whole_number
from mc_ops.cli import completion

if TYPE_CHECKING:
    Whole = int
    Number = float
else:

    class Whole(int):
        """A whole number, as `mc_contract.numbers.whole_number` reads it: `8_0` is none."""

    class Number(float):
        """A number, as `mc_contract.numbers.number` reads it."""

    Whole.__name__, Number.__name__ = "whole number", "number"  # as `--help` shows them

EnvOption = Annotated[
    str,
    typer.Option("--env", help="Environment of the platform: `local` or `kubernetes`."),
]
_Verb = TypeVar("_Verb", bound=Callable[..., None])


class OptionGroup:
    """Base of the groups, which are dataclasses with keyword-only fields."""


class Verbs(typer.Typer):
    """As typer's, of verbs that may take groups of options; without arguments it shows its help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{"no_args_is_help": True, **attributes})

    def command(self, name: str | None = None, **attributes: Any) -> Callable[[_Verb], _Verb]:
        """As typer's; the verb itself stays as it is written."""
        register = super().command(name, cls=_Command, **attributes)

        def add(verb: _Verb) -> _Verb:
            register(_spread(verb))
            return verb

        return add


def _spread(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with every option of its groups as a parameter of its own."""
    groups: dict[str, Any] = {}
    parameters = []
    for parameter in inspect.signature(verb, eval_str=True).parameters.values():
        kind = parameter.annotation
        if isinstance(kind, type) and issubclass(kind, OptionGroup):
            groups[parameter.name] = kind
            parameters += _parameters(kind)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    if not groups:
        return verb

    @wraps(verb)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
        verb(**given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # of any function
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=hints[one.name],
        )
        for one in fields(group)
    ]


class _Command(TyperCommand):
    """A command that reads its values itself: typer's pydantic takes 0.1 CPU-seconds to load."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As click's."""
        parameters: list[Any] = super().get_params(ctx)
        for one in parameters:
            kind = one.type_descriptor.annotation
            kind = (*get_args(kind), kind)[0]
            one._runtime_param = _Reader(kind, one)
            if one.param_type_name == "option":
                one.metavar = one.metavar or _SHOWN.get(kind)
            if values := completion.values_of({one.metavar, *one.opts}):
                one._custom_shell_complete = values
        return parameters


@dataclass(frozen=True)
class _Reader:
    """Reads the values of one parameter.

    Attributes:
        kind: Of each value: text, a path, an enumeration or a number.
        parameter: Typer's, which may have more than one value.
    """

    kind: Any
    parameter: Any

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value, read.

        Raises:
            BadParameter: it is not of this kind.
        """
        if value is None or isinstance(value, list | tuple):
            several = tuple(self._read(one, ctx) for one in value or ())
            return several if param.multiple or param.nargs == -1 else None
        return self._read(value, ctx)

    def _read(self, value: Any, ctx: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Enum):
            return value  # a default
        try:
            if self.kind is str:
                value.encode()  # it is sent, recorded and shown; a path may have any bytes
            return self._limited(_READERS.get(self.kind, self.kind)(value))
        except ValueError as error:
            text = str(error)
            if isinstance(error, UnicodeEncodeError):
                text = "must be UTF-8"
            elif issubclass(self.kind, Enum):
                text = f"{value!r} is not one of {', '.join(map(repr, map(str, self.kind)))}"
            raise typer.BadParameter(text, ctx=ctx, param=self.parameter) from None

    def _limited(self, value: Any) -> Any:
        least, most = (
            getattr(self.parameter.type_descriptor.parameter_info, one) for one in ("min", "max")
        )
        most = _MOST.get(self.kind) if most is None else most
        if least is not None and value < least:
            raise ValueError(f"{value} is below {least}")
        if most is not None and value > most:
            raise ValueError(f"{value} is above {most}")
        return value


# How `--help` names what an option takes; typer would show the type's name in Python
_SHOWN: dict[Any, str] = {str: "TEXT", Path: "PATH", Whole: "N", Number: "NUMBER"}
_READERS: dict[Any, Callable[[str], Any]] = {Whole: whole_number, Number: number}
# Where an option has no bound of its own: what the system and the database still take (2 ** 63), a sleep too
_MOST: dict[Any, Any] = {Whole: 10**18, Number: 10**9}
