"""Numbers as arguments: the types that a verb's options have instead of `int` and `float`.

Typer reads those as Python does, so `8_0` would be 80. To a type checker both are the plain ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mc_contract.numbers import number, whole_number

if TYPE_CHECKING:
    Whole = int
    Number = float
else:

    def _schema(read: Callable[[str], Any], plain: str) -> Any:
        # Late: pydantic takes 0.1 CPU-seconds, and `--help` reads no number
        from pydantic_core import PydanticCustomError, core_schema

        def strictly(value: Any) -> Any:
            try:
                return read(value) if isinstance(value, str) else value
            except ValueError as error:
                raise PydanticCustomError("number", "{why}", {"why": str(error)}) from None

        return core_schema.no_info_before_validator_function(
            strictly, getattr(core_schema, plain)()
        )

    class Whole(int):
        """A whole number, as `mc_contract.numbers.whole_number` reads it."""

        @classmethod
        def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
            """How typer's values are made."""
            return _schema(whole_number, "int_schema")

    class Number(float):
        """A number, as `mc_contract.numbers.number` reads it."""

        @classmethod
        def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
            """How typer's values are made."""
            return _schema(number, "float_schema")

    Whole.__name__, Number.__name__ = "whole number", "number"  # as `--help` shows them


__all__ = ["Number", "Whole"]
