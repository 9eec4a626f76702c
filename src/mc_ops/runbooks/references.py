"""What the parts of a runbook say of each other: steps, parameters, conditions and gates.

A parameter that a step determines (`set_by`) has no value where that step was left out. So whoever
needs it must run under a condition that implies the step's, unless it has a default, or the shell
text says what stands for it (`${NAME:-...}`). Found are `$NAME`, `${NAME}` and `environ["NAME"]`;
what a script reads in another way, no lint sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mc_ops.environments import KINDS
from mc_ops.runbooks.condition import Clause
from mc_ops.runbooks.model import Parameter, Problem, Step

_USE = re.compile(
    r"""\$\{[#!]?(?P<braced>\w+)(?P<instead>:?[-+=])?|\$(?P<plain>\w+)|environ\[["'](?P<python>\w+)"""
)
_IN_GATE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))")


def names_in(text: str) -> list[str]:
    """The names for which a gate's text has places: `$NAME` or `${NAME}`."""
    return [match["braced"] or match["plain"] for match in _IN_GATE.finditer(text)]


def filled(text: str, values: Mapping[str, str]) -> str:
    """A gate's text with its names' values; raises KeyError for a name without one."""
    return _IN_GATE.sub(lambda match: values[match["braced"] or match["plain"]], text)


def check_references(
    parameters: Sequence[Parameter],
    steps: Sequence[Step],
    named: Mapping[str, int],
    header_line: int,
) -> list[Problem]:
    """Every reference that leads nowhere, comes too early, or may have no value.

    Args:
        parameters: As declared.
        steps: Steps and gates that could be read, in order.
        named: Each id that is there, those that could not be read among them, and its line.
        header_line: Where the parameters are declared.
    """
    problems: list[Problem] = []
    if not named:
        problems.append(Problem(1, "no steps: a shell block with step=ID is one"))
    problems += [
        Problem(header_line, f"parameter {one.name!r} is set by unknown step {one.set_by!r}")
        for one in parameters
        if one.set_by and one.set_by not in named
    ]
    known = _Known({one.name: one for one in parameters}, list(named), {s.id: s for s in steps})
    for step in steps:
        problems += known.until(step)
        problems += known.condition(step)
        problems += known.gate(step)
        problems += known.needs(step)
    return problems


@dataclass(frozen=True, slots=True)
class _Known:
    parameters: Mapping[str, Parameter]
    order: list[str]
    steps: Mapping[str, Step]

    def until(self, step: Step) -> Iterator[Problem]:
        if step.undo is None:
            return
        line, until = step.undo.script.line, step.undo.until
        if until not in self.order:
            yield Problem(line, f"until names unknown step {until!r}")
        elif self._before(until, step):
            yield Problem(line, f"until names {until!r}, which comes before {step.id!r}")

    def condition(self, step: Step) -> Iterator[Problem]:
        for clause in step.when.clauses if step.when else ():
            yield from self._clause(step, clause)

    def _clause(self, step: Step, clause: Clause) -> Iterator[Problem]:
        line, name = step.script.line, clause.name
        parameter = self.parameters.get(name)
        if name == "ENV":
            impossible = clause.values - {*KINDS}
        elif parameter is None:
            yield Problem(line, f"when names {name!r}, which is no parameter{self._names()}")
            return
        else:
            impossible = frozenset(one for one in clause.values if not parameter.allows(one))
        for value in sorted(impossible):
            yield Problem(line, f"when compares {name} with {value!r}, which it never is")
        if parameter:
            yield from self._usable(step, parameter, line, "when names")

    def gate(self, step: Step) -> Iterator[Problem]:
        for name in names_in(step.script.text) if step.gate else ():
            parameter = self.parameters.get(name)
            if parameter:
                yield from self._usable(step, parameter, step.script.line, "the gate shows")
            elif name not in ("ENV", "RUN_ID"):
                yield Problem(
                    step.script.line, f"the gate shows {name!r}, no parameter{self._names()}"
                )

    def needs(self, step: Step) -> Iterator[Problem]:
        """Uses of what a step may not have set, because that step may have been left out."""
        undo = step.undo.script if step.undo else None
        for script in (one for one in (step.script, step.check, undo) if one):
            used = {
                match["braced"] or match["plain"] or match["python"]
                for match in _USE.finditer(script.text)
                if not match["instead"]
            }
            for name in sorted(used & set(self.parameters)):
                said = self._missing(step, self.parameters[name])
                if said and not step.gate:
                    yield Problem(script.line, f"{step.id!r} needs {name}, {said}")

    def _usable(self, step: Step, parameter: Parameter, line: int, verb: str) -> Iterator[Problem]:
        """Why a parameter cannot be read before this step."""
        name = parameter.name
        if parameter.secret:
            yield Problem(line, f"{verb} {name!r}, which is secret")
        elif parameter.set_by and not self._before(parameter.set_by, step):
            yield Problem(line, f"{verb} {name!r}, which is not set before {step.id!r}")
        elif said := self._missing(step, parameter):
            yield Problem(line, f"{verb} {name!r}, {said}")

    def _missing(self, step: Step, parameter: Parameter) -> str:
        setter = self.steps.get(parameter.set_by)
        if setter is None or setter.when is None or parameter.default is not None:
            return ""
        if setter is step or (step.when and step.when.implies(setter.when)):
            return ""
        return (
            f"which {setter.id!r} sets only when {setter.when}: run it when that holds, "
            "or give the parameter a default"
        )

    def _before(self, first: str, step: Step) -> bool:
        return first in self.order and self.order.index(first) < self.order.index(step.id)

    def _names(self) -> str:
        return f" ({', '.join(['ENV', *self.parameters])})"
