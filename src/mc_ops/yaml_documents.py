"""YAML that was written for the Kubernetes API, read as the API would read it, or refused.

Safe loading alone. Refused is whatever kubectl's reader and this one could understand in two ways (a
key that stands twice, a merge behind other keys, a key or value that JSON does not have), and a
document that grows beyond all bounds by its aliases or merges. No error shows a line of the file: it
may be of a Secret.
"""

from __future__ import annotations

import json
import math
from typing import Any

import yaml

from mc_ops.errors import UnusableInput

_MOST_NODES = 2_000_000
_MOST_KEYS = 100_000  # of one object, by merges
_MERGE = "tag:yaml.org,2002:merge"
_LARGEST = 2**63


def documents_of(text: bytes | str, source: str) -> list[Any]:
    """The documents of a text (JSON is one), each as JSON has it; an empty one is None.

    Args:
        source: What an error calls it.

    Raises:
        UnusableInput: it is no YAML, or one of which two readers would make two things.
    """
    try:
        documents = _read(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        template = ("{{" if isinstance(text, str) else b"{{") in text  # type: ignore[operator] # as checked
        hint = "it is a template: name what `helm template` prints of it" if template else ""
        raise UnusableInput(f"{source} is no manifest: {_problem(error)}", hint=hint) from None
    for document in documents:
        _require_bounded(document, source)
    return documents


def _read(text: bytes | str) -> list[Any]:
    """As JSON where it is: its tabs, escaped slashes and pairs of surrogates are none of YAML's."""
    try:
        return [json.loads(text, object_pairs_hook=_once)]
    except (json.JSONDecodeError, UnicodeDecodeError):
        return list(yaml.load_all(text, _Loader))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise yaml.MarkedYAMLError(problem=f"key {name[:60]!r} stands twice")
        found[name] = value
    return found


def _problem(error: Exception) -> str:
    """What is wrong and where; never the line itself."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return f"{where}{getattr(error, 'problem', None) or 'it cannot be read as YAML'}"


def _require_bounded(document: Any, source: str) -> None:
    """Refuse what is small as a text and endless when it is walked, holds itself, or is no JSON."""
    sizes: dict[int, int] = {}
    walked: set[int] = set()

    def size(node: Any) -> int:
        if not isinstance(node, dict | list):
            _require_json(node, source)
            return 1
        key = id(node)
        if key in sizes:
            return sizes[key]
        if key in walked:
            raise UnusableInput(f"{source}: an alias leads into itself")
        walked.add(key)
        sizes[key] = 1 + sum(map(size, node.values() if isinstance(node, dict) else node))
        if sizes[key] > _MOST_NODES:
            raise UnusableInput(f"{source}: over {_MOST_NODES} values, by aliases")
        return sizes[key]

    size(document)


def _require_json(value: Any, source: str) -> None:
    """Refuse what the API cannot have: bytes, sets, dates, and numbers beyond its own."""
    if isinstance(value, int):
        good = -_LARGEST <= value < _LARGEST
    elif isinstance(value, float):
        good = math.isfinite(value)
    else:
        good = value is None or isinstance(value, str)
    if not good:
        raise UnusableInput(f"{source}: a value is {type(value).__name__} that JSON does not have")


class _Loader(yaml.SafeLoader):
    """As YAML's, with times and `=` left as texts, and with keys that all readers of YAML have alike."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._flat: set[int] = set()

    def construct_document(self, node: yaml.Node) -> Any:
        self._flat.clear()  # ids of nodes, which the next document's may have again
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {
            self._key(key): self.construct_object(value, deep=deep) for key, value in node.value
        }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what is merged before an object's own keys; kubectl takes whichever stands last."""
        if id(node) in self._flat:
            return
        self._flat.add(id(node))
        seen: set[str] = set()
        for place, (key, _) in enumerate(node.value):
            if key.tag != _MERGE and (name := self._key(key)) not in seen:
                seen.add(name)
            elif key.tag != _MERGE:
                raise _refusal(f"key {name[:60]!r} stands twice", key)
            elif place or key.value != "<<":
                raise _refusal("a merge (`<<`) must be an object's first key, and once", key)
        if node.value and node.value[0][0].tag == _MERGE:
            (_, merged), *own = node.value
            node.value = self._merged(merged) + own

    def _merged(self, node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        for source in reversed(sources):
            if not isinstance(source, yaml.MappingNode):
                raise _refusal("a merge (`<<`) needs an object, or a list of some", node)
            self.flatten_mapping(source)
            pairs += source.value
            if len(pairs) > _MOST_KEYS:
                raise _refusal(f"over {_MOST_KEYS} keys, by merges", node)
        return pairs

    def _key(self, node: yaml.Node) -> str:
        """A key as JSON has it, in which all are texts."""
        made = self.construct_object(node) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(made, bool):
            return str(made).lower()
        if isinstance(made, int | str):
            return str(made)
        raise _refusal("a key is no text: put it in quotes", node)


def _refusal(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_AS_TEXTS = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag not in _AS_TEXTS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
