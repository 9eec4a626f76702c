"""Runs of digits, cut into groups, and the windows of whole groups that may be an identifier.

Whatever is neither letter nor digit may stand between two groups; how unusual it is, a window
says, so that a column of figures is held to more than a card in its usual notation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import re2

from mc_platform.screen.detectors.national_ids import BY_LAYOUT
from mc_platform.screen.findings import Budget
from mc_platform.screen.rules import rule_file

# For the prefilter, which knows letters beyond ASCII at a cost only: looser, never tighter.
RUN_PREFILTER = r"(?:\d[^0-9A-Za-z]*){6}\d"
MIN_DIGITS, MAX_DIGITS = 7, 19
# Possessive, so that it never backtracks.
_RUN = re.compile(r"[0-9](?:[\W_]{0,4}+[0-9]){6,}+")
_GROUP = re.compile(r"[0-9]+")
_UUID = re2.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_DASHES = 4
_MAX_GROUPS = 8
_GROUPS_PER_UNIT = 32  # a run of very many groups costs even where nothing is validated
_GROUP_WORK, _WINDOW_WORK = 3.5, 12
_SPELLED_MIN = 12
_SERIES_MIN = 7  # a card of four groups with a date or code on either side is no series
_CARD_GROUPS = 4
_DIGEST_CHARS = frozenset({32, 40, 56, 64, 96, 128})
_HEX = re.compile(r"[0-9a-fA-F]*+")
_HEX_REVERSED_CHARS = 128
_USUAL = re.compile(r"[ .\-/()_]{1,3}")
_COMMON = frozenset({" ", "-", "."})
_JOINED_BEFORE, _JOINED_BEHIND = re.compile(r"[^\W_]_-?\Z"), re.compile(r"_[^\W_]")
_LIGHT = re.compile(r"[\s.\-/()_]{1,4}")
_FOLDED = {ord(char): " " for char in "\t\n\v\f\r\x85"} | {ord("_"): "-"}

_CARDS = rule_file("payment_cards")


def _layouts(name: str) -> frozenset[tuple[int, ...]]:
    return frozenset(tuple(map(int, layout.split("-"))) for layout in _CARDS.words(name))


CARD_LAYOUTS, CARD_LAYOUTS_OF_TWO = map(_layouts, ("layouts", "layouts-of-two"))
_PAIRS = {layout[:2] for layout in CARD_LAYOUTS | CARD_LAYOUTS_OF_TWO}

_NOTATIONS = {tuple(map(int, re.findall(r"[0-9]+", layout))) for layout in BY_LAYOUT} | {
    (3, 3, 4),
    (1, 3, 3, 4),
}
"""How many digits the groups have of identifiers, and of phone numbers in North America."""

USUAL, LIGHT, FOREIGN = 0, 1, 2
"""What separates the groups: an identifier's notation, other white space, anything else."""


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive groups of one run.

    Attributes:
        start: First digit.
        end: One past the last digit.
        starts: Where each group begins.
        digits: The digits of all groups.
        sizes: How many digits each group has.
        layout: Sizes and separators, as in `3-2-4`.
        fraction: Whether it is what follows a decimal point.
        glued: Whether a letter touches it.
        separators: `USUAL`, `LIGHT` or `FOREIGN`.
        column: Whether it is cut from a long series of groups of one size with such separators.
        cut: Whether another group goes on before or after it with its own separator.
        joined: Whether an underscore joins its groups, or joins it to what stands before or after.
        beside: In a column, the digits of as many groups just before and just after.
    """

    start: int
    end: int
    starts: tuple[int, ...]
    digits: str
    sizes: tuple[int, ...]
    layout: str
    fraction: bool
    glued: bool
    separators: int
    column: bool = False
    beside: tuple[str, ...] = ()
    cut: bool = False
    joined: bool = False


def fold_separators(text: str) -> str:
    """Line breaks and tabs as spaces, underscores as hyphens; every character keeps its place."""
    return text if text.isprintable() and "_" not in text else text.translate(_FOLDED)


def digit_runs(text: str) -> Iterator[tuple[int, int]]:
    """The stretches of digits and what separates them; UUIDs are left out."""
    uuids = (
        [match.span() for match in _UUID.finditer(text)] if text.count("-") >= _UUID_DASHES else []
    )
    ahead = 0
    for run in _RUN.finditer(text):
        start, end = run.span()
        while ahead < len(uuids) and uuids[ahead][1] <= start:
            ahead += 1
        at = ahead
        while at < len(uuids) and uuids[at][0] < end:
            if uuids[at][0] > start:
                yield start, uuids[at][0]
            start = uuids[at][1]
            at += 1
        if start < end:
            yield start, end


def windows(
    text: str, start: int, end: int, budget: Budget, *, named: Callable[[], bool]
) -> list[Window]:
    """Windows of whole groups, longest first from each group, and the spelled stretches.

    With separators that are not usual, and no word nearby, only cards' groupings are cut out.

    Args:
        text: The normalised string.
        start: Where the run begins.
        end: One past its end.
        budget: What many groups cost.
        named: Tells whether a word says what the number is.
    """
    digits = text[start:end]
    if digits.isdecimal():
        return _of_one_group(text, start, digits, budget)
    groups = [match.span() for match in _GROUP.finditer(text, start, end)]
    budget.spend(len(groups) // _GROUPS_PER_UNIT)
    budget.work(len(groups) * _GROUP_WORK)
    found = []
    gaps = [_separators(text[one[1] : other[0]]) for one, other in pairwise(groups)]
    # Of fewer groups none is one of so many
    series = _series(groups, gaps) if len(groups) >= _SERIES_MIN else [1] * len(groups)
    if len(groups) > _MAX_GROUPS:
        for first, last in _spelled(groups):
            if last - first <= MAX_DIGITS:
                sizes = tuple([stop - begin for begin, stop in groups[first:last]])
                if MIN_DIGITS <= sum(sizes) <= MAX_DIGITS:
                    separators = max(gaps[first : last - 1])
                    found.append(_window(text, groups, first, sizes, separators, series=False))
    lengths = [stop - begin for begin, stop in groups]
    left = sum(lengths)
    for first in range(len(groups)):
        if left < MIN_DIGITS:
            break
        left -= lengths[first]
        cuts = _cuts(lengths, gaps, first, named)
        budget.work(len(cuts) * _WINDOW_WORK)
        for sizes, separators in reversed(cuts):
            in_series = series[first] >= _SERIES_MIN
            found.append(_window(text, groups, first, sizes, separators, series=in_series))
    return found


def _of_one_group(text: str, start: int, digits: str, budget: Budget) -> list[Window]:
    """The window of a run without separators: all of it, or none."""
    budget.spend(0)
    budget.work(_GROUP_WORK)
    size = len(digits)
    if not MIN_DIGITS <= size <= MAX_DIGITS:
        return []
    budget.work(_WINDOW_WORK)
    glued = _glued(text, start, start + size)
    return [
        Window(
            start,
            start + size,
            (start,),
            digits,
            (size,),
            str(size),
            fraction=False,
            glued=glued,
            separators=USUAL,
            joined=_joined(text, start, start + size),
        )
    ]


def _cuts(
    lengths: list[int], gaps: list[int], first: int, named: Callable[[], bool]
) -> list[tuple[tuple[int, ...], int]]:
    """The sizes and separators of what may be cut out from one group on, shortest first.

    Without a word nearby, only the groupings count that an identifier has.
    """
    cuts: list[tuple[tuple[int, ...], int]] = []
    if _begins_nothing(lengths, gaps, first) and (gaps[first] != LIGHT or not named()):
        return cuts
    digits, separators = 0, USUAL
    for at in range(first, min(len(lengths), first + _MAX_GROUPS)):
        if at > first and gaps[at - 1] > separators:
            separators = gaps[at - 1]
        digits += lengths[at]
        if digits < MIN_DIGITS:
            continue
        if digits > MAX_DIGITS:
            break
        sizes = tuple(lengths[first : at + 1])
        if (
            sizes in CARD_LAYOUTS
            or sizes in CARD_LAYOUTS_OF_TWO
            or (separators == USUAL and (len(sizes) == 1 or sizes in _NOTATIONS or named()))
            or (separators == LIGHT and named())
        ):
            cuts.append((sizes, separators))
    return cuts


def _begins_nothing(lengths: list[int], gaps: list[int], first: int) -> bool:
    """Whether a group can only begin something where a word says so: most figures of a list."""
    return (
        first < len(gaps)
        and gaps[first] != USUAL
        and not MIN_DIGITS <= lengths[first] <= MAX_DIGITS
        and (lengths[first], lengths[first + 1]) not in _PAIRS
    )


def _separators(between: str) -> int:
    if between in _COMMON or _USUAL.fullmatch(between):
        return USUAL
    return FOREIGN if _LIGHT.fullmatch(between) is None else LIGHT


def _series(groups: list[tuple[int, int]], gaps: list[int]) -> list[int]:
    """For each group, of how many neighbours it is one: of four digits, or listed with commas."""
    lengths = _fours(groups)
    first = 0
    for at in range(len(groups)):
        if at == len(gaps) or gaps[at] != FOREIGN:
            count = at + 1 - first
            lengths[first : at + 1] = [max(length, count) for length in lengths[first : at + 1]]
            first = at + 1
    return lengths


def _fours(groups: list[tuple[int, int]]) -> list[int]:
    lengths: list[int] = []
    for four, members in groupby(groups, lambda group: group[1] - group[0] == _CARD_GROUPS):
        count = sum(1 for _ in members)
        lengths += [count if four else 0] * count
    return lengths


def _beside(text: str, groups: list[tuple[int, int]], first: int, last: int) -> Iterator[str]:
    count = last - first
    for low, high in ((first - count, first), (last, last + count)):
        if low >= 0 and high <= len(groups):
            yield "".join(text[begin:stop] for begin, stop in groups[low:high])


def _goes_on(text: str, groups: list[tuple[int, int]], first: int, last: int) -> bool:
    own = text[groups[first][1] : groups[first + 1][0]]
    before = first > 0 and text[groups[first - 1][1] : groups[first][0]] == own
    return before or (last < len(groups) and text[groups[last - 1][1] : groups[last][0]] == own)


def _glued(text: str, start: int, end: int) -> bool:
    return (start > 0 and text[start - 1].isalnum()) or (end < len(text) and text[end].isalnum())


def _joined(text: str, start: int, end: int) -> bool:
    if "_" not in text[max(0, start - 3) : end + 1]:  # as of most numbers
        return False
    return (
        "_" in text[start:end]
        or _JOINED_BEFORE.search(text[max(0, start - 3) : start]) is not None
        or _JOINED_BEHIND.match(text, end) is not None
    )


def in_digest(text: str, start: int, end: int) -> bool:
    """Whether digits stand in a hexadecimal token that has the length of a digest or id."""
    before = _HEX.match(text[max(0, start - _HEX_REVERSED_CHARS) : start][::-1])
    after = _HEX.match(text, end, end + _HEX_REVERSED_CHARS)
    if before is None or after is None:
        return False
    low, high = start - before.end(), after.end()
    return high - low in _DIGEST_CHARS and not _glued(text, low, high)


def _spelled(groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Stretches of single digits, and the run as a whole."""
    first = 0
    for index, (begin, stop) in enumerate([*groups, (0, 0)]):
        if stop - begin == 1:
            continue
        if index - first >= _SPELLED_MIN:
            yield first, index
        first = index + 1
    yield 0, len(groups)


def _window(
    text: str,
    groups: list[tuple[int, int]],
    first: int,
    sizes: tuple[int, ...],
    separators: int,
    *,
    series: bool,
) -> Window:
    last = first + len(sizes)
    chosen = groups[first:last]
    start, end = chosen[0][0], chosen[-1][1]
    layout = [str(sizes[0])]
    for (_, before), (begin, stop) in pairwise(chosen):
        layout += (text[before:begin], str(stop - begin))
    column = series and separators != USUAL
    return Window(
        start=start,
        end=end,
        starts=tuple([begin for begin, _ in chosen]),
        digits="".join([text[begin:stop] for begin, stop in chosen]),
        sizes=sizes,
        layout=fold_separators("".join(layout)),
        fraction=first > 0 and len(chosen) == 1 and text[start - 1] == ".",
        glued=_glued(text, start, end),
        separators=separators,
        column=column,
        beside=tuple(_beside(text, groups, first, last)) if column else (),
        cut=len(sizes) > 1 and _goes_on(text, groups, first, last),
        joined=_joined(text, start, end),
    )
