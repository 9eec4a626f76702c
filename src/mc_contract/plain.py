"""Whether a JSON value is plain: then every encoder and every reader agrees about it, at once.

Most of what is recorded is plain, so it need not be walked value by value. What is not plain may still
be good; the careful way tells.
"""

from __future__ import annotations

from typing import Any, Final

_CONTAINERS: Final = frozenset({dict, list, tuple})
_KINDS: Final = frozenset({str, int, bool, type(None)}) | _CONTAINERS
_ONLY_TEXT: Final = frozenset({str})
_LARGEST: Final = 2**53 - 1


def is_plain(value: Any, *, most_depth: int, most_values: int) -> bool:
    """Whether `value` is a list, tuple or object that is surely good.

    All types are the built-in ones themselves, without floats; integers are below 2**53 in size; keys
    are ASCII; no string holds a NUL or half of a surrogate pair; lists and objects are not deeper in
    each other than `most_depth`, and hold `most_values` at most.
    """
    if type(value) not in _CONTAINERS:
        return False
    level, depth, count = [value], 0, 0
    while level:
        depth += 1
        inner: list[Any] = []
        for container in level:
            count += len(container)
            items = container
            if type(container) is dict:
                if not _ONLY_TEXT.issuperset(map(type, container)):
                    return False
                keys = "".join(container)
                if "\0" in keys or not keys.isascii():
                    return False
                items = container.values()
            kinds = set(map(type, items))
            if not kinds <= _KINDS or not _good_scalars(kinds, items):
                return False
            if not kinds.isdisjoint(_CONTAINERS):
                inner += [item for item in items if type(item) in _CONTAINERS]
        if depth > most_depth or count > most_values:
            return False
        level = inner
    return True


def _good_scalars(kinds: set[type], items: Any) -> bool:
    if int in kinds and not all(-_LARGEST <= it <= _LARGEST for it in items if type(it) is int):
        return False
    if str not in kinds:
        return True
    text = "".join(items if len(kinds) == 1 else [it for it in items if type(it) is str])
    if "\0" in text:
        return False
    if not text.isascii():
        try:
            for it in items:  # each for itself: two halves would be a pair when they are joined
                if type(it) is str:
                    it.encode()
        except UnicodeEncodeError:
            return False
    return True
