"""Replacing labelled spans by typed placeholders, in strings, numbers, keys and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mc_platform.model.label import Label, Part, Path
from mc_platform.screen.findings import BY_SEVERITY, OPAQUE_FILE, UNSAFE_URL
from mc_platform.screen.message.strings import KEY, MAX_DEPTH, decode_text, encode_text, number_text

Replacer = Callable[[str, str], str]
_RANK = {kind: rank for rank, kind in enumerate(BY_SEVERITY)}
PLACEHOLDER = re.compile(r"\[[a-z]{2,16}(?:-[a-z]{2,16}){0,2}(?::[a-p]{34,1100})?\]")
"""What stands in a span's place, or a pseudonym."""


def placeholder(kind: str) -> str:
    """What stands in a redacted span's place."""
    return f"[{kind}]"


def replace_spans(
    parts: Sequence[Part],
    labels: Sequence[Label],
    *,
    whole_strings: bool = False,
    replacer: Replacer | None = None,
) -> tuple[Part, ...]:
    """The parts with the labels' spans replaced; parts without labels are the same objects.

    Args:
        parts: A2A parts in JSON form; not changed.
        labels: Findings in these parts. Labels of strings that are not there are ignored.
        whole_strings: Replace the strings in which labels stand, not just the spans.
        replacer: Makes a span's replacement from label type and original; None: `placeholder`.
    """
    by_path: dict[Path, list[Label]] = {}
    for label in labels:
        by_path.setdefault(label.path, []).append(label)
    touched = {path[0] for path in by_path}
    editor = _Editor(by_path, whole_strings, replacer)
    return tuple(
        editor.part(index, part) if index in touched else part for index, part in enumerate(parts)
    )


@dataclass(frozen=True, slots=True)
class _Editor:
    """One walk over the parts, along the same paths as `leaves`."""

    by_path: Mapping[Path, list[Label]]
    whole: bool
    replacer: Replacer | None

    def part(self, index: int, part: Any) -> Any:
        """A part; one with an opaque file, or an unsafe URL, becomes text that says so."""
        if not isinstance(part, Mapping):
            return self._value((index,), part, 1)
        if whole := self.by_path.get((index,)):
            return {"text": placeholder(_worst(whole))}
        dropped = [
            label
            for key in part
            for label in self.by_path.get((index, key), ())
            if label.type in (OPAQUE_FILE, UNSAFE_URL)
        ]
        if dropped:
            # Type and name described the file; metadata is the sender's and is kept.
            kept = {key: value for key, value in part.items() if key == "metadata"}
            return {"text": placeholder(_worst(dropped)), **self._object((index,), kept, 1)}
        edited = self._object((index,), part, 1)
        raw_labels = self.by_path.get((index, "raw"))
        if raw_labels and isinstance(part.get("raw"), str):
            text = decode_text(part["raw"], part.get("mediaType"))
            if text is not None:
                edited["raw"] = encode_text(self._string(text, raw_labels))
        return edited

    def _object(self, path: Path, value: Mapping[str, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        counts: dict[str, int] = {}
        for key, inner in value.items():
            labels = self.by_path.get((*path, key, KEY))
            name = key if labels is None else self._string(str(key), labels)
            # Two keys may become the same placeholder; neither value may be lost for it.
            unique, count = name, counts.get(name, 1)
            while unique in result or (labels is not None and unique in value):
                count += 1
                unique = f"{name} ({count})"
            counts[name] = count
            result[unique] = self._value((*path, key), inner, depth + 1)
        return result

    def _value(self, path: Path, value: Any, depth: int) -> Any:
        labels = self.by_path.get(path)
        if labels:
            return self._labelled(value, labels)
        if depth >= MAX_DEPTH:
            return value
        if isinstance(value, Mapping):
            return self._object(path, value, depth)
        if isinstance(value, list | tuple):
            return [
                self._value((*path, index), inner, depth + 1) for index, inner in enumerate(value)
            ]
        return value

    def _labelled(self, value: Any, labels: list[Label]) -> str:
        if isinstance(value, str):
            return self._string(value, labels)
        if isinstance(value, int | float | Decimal):
            text = number_text(value)
            if text is not None:
                return self._string(text, labels)
        return placeholder(_worst(labels))

    def _string(self, text: str, labels: list[Label]) -> str:
        if self.whole:
            return placeholder(_worst(labels))
        pieces: list[str] = []
        done = 0
        for start, end, kind in _merged(labels):
            made = self.replacer(kind, text[start:end]) if self.replacer else placeholder(kind)
            pieces += (text[done:start], made)
            done = end
        return "".join([*pieces, text[done:]])


def _worst(labels: Sequence[Label]) -> str:
    return min(labels, key=lambda label: _RANK.get(label.type, len(_RANK))).type


def _merged(labels: Sequence[Label]) -> list[tuple[int, int, str]]:
    """Disjoint spans in order, each with the gravest type among the labels that it joins."""
    spans: list[tuple[int, int, list[Label]]] = []
    for label in sorted(labels, key=lambda label: (label.start, label.end)):
        if spans and label.start < spans[-1][1]:
            start, end, joined = spans[-1]
            joined.append(label)
            spans[-1] = (start, max(end, label.end), joined)
        else:
            spans.append((label.start, label.end, [label]))
    return [(start, end, _worst(joined)) for start, end, joined in spans]
