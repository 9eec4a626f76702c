"""Claims about plain artefacts, and about what replicas told of themselves.

Plain are digests, lines, JSON values, pre-flight, health and metrics. Formats that are read here: a
pre-flight report is JSON with a list of `checks`, each with a `name` and a `status`; a health answer is JSON with
`status`; metrics are Prometheus text. That the parts of a pack are of one thing is no claim, which
a pack could leave out: `verify` holds them against each other itself (`binding`).
"""

from __future__ import annotations

import hashlib
import re

from mc_contract.canonical import Json
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
    text_param,
    utf8,
)
from mc_contract.evidence.strict import parse_json
from mc_contract.running import read_record

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? +([^ ]+)(?: +-?[0-9]+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')


def _sha256(inputs: Inputs, _params: Params) -> Json:
    return hashlib.sha256(inputs[0]).hexdigest()


def _lines_count(inputs: Inputs, _params: Params) -> Json:
    return len(_lines(inputs[0], "the artefact"))


def _json_pointer(inputs: Inputs, params: Params) -> Json:
    pointer = text_param(params, "pointer")
    if pointer and not pointer.startswith("/"):
        raise NotRecomputable(f"{pointer!r} is not a JSON pointer")
    value = parse_json(inputs[0])
    for escaped in pointer.split("/")[1:]:
        part = escaped.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and _INDEX.fullmatch(part) and int(part) < len(value):
            value = value[int(part)]
        else:
            raise NotRecomputable(f"nothing at {pointer!r}")
    return value


def _preflight_passed(inputs: Inputs, _params: Params) -> Json:
    report = json_object(inputs[0], "the pre-flight report")
    checks = report.get("checks")
    if not isinstance(checks, list) or not checks:
        raise NotRecomputable("the pre-flight report has no 'checks'")
    passed: list[Json] = []
    other: dict[str, Json] = {}
    for check in checks:
        if not isinstance(check, dict):
            raise NotRecomputable("a pre-flight check is not an object")
        name, result = check.get("name"), check.get("status")
        if not isinstance(name, str) or not isinstance(result, str):
            raise NotRecomputable("a pre-flight check has no name or no status")
        if result == "pass":
            passed.append(name)
        else:
            other[name] = result
    return {"passed": passed, "other": other}


def _health_ok(inputs: Inputs, _params: Params) -> Json:
    return json_object(inputs[0], "the health answer").get("status") == "ok"


def _metrics_sum(inputs: Inputs, params: Params) -> Json:
    """The sum over the series of one metric whose labels include the given ones."""
    metric, wanted = text_param(params, "metric"), params.get("labels", {})
    if not isinstance(wanted, dict):
        raise NotRecomputable("parameter 'labels' must be an object")
    total, series = 0.0, 0
    for line in _lines(inputs[0], "the metrics"):
        match = None if line.startswith("#") else _SAMPLE.fullmatch(line)
        if match is None or match[1] != metric:
            continue
        series += 1
        labels = dict(_LABEL.findall(match[2] or ""))
        if all(labels.get(name) == value for name, value in wanted.items()):
            total += float(match[3])
    if not series:
        raise NotRecomputable(f"no metric {metric!r}")
    return total


def _recorded(inputs: Inputs, _params: Params) -> Json:
    """Each group's replicas when the measurement ended, and what was exchanged before that."""
    record = read_record(json_object(inputs[0], "the artefact"), "the artefact")
    return {"replicas": record.as_dict()["at_end"], "exchanged": [*record.changed()]}


def _lines(raw: bytes, what: str) -> list[str]:
    """The lines that are not blank; only a newline ends one (not U+2028 and its like)."""
    return [line for line in utf8(raw, what).split("\n") if line.strip()]


_AS_TOLD = "as the source told it at the time; the pack does not show that the source was right"
_TOLD = "the replicas told this of themselves then; whether it is true, the pack does not show"

FUNCTIONS = (
    ClaimFunction("sha256", 1, (), "the artefact's digest", _sha256),
    ClaimFunction("lines.count", 1, (), "how many lines of it are not blank", _lines_count),
    ClaimFunction("json.pointer", 1, ("pointer",), "the artefact says this there", _json_pointer),
    ClaimFunction("preflight.passed", 1, (), _AS_TOLD, _preflight_passed),
    ClaimFunction("health.ok", 1, (), _AS_TOLD, _health_ok),
    ClaimFunction("metrics.sum", 1, ("metric", "labels"), _AS_TOLD, _metrics_sum),
    ClaimFunction("running.recorded", 1, (), _TOLD, _recorded),
    ClaimFunction("running.serving", 1, (), _TOLD, _recorded),
)
