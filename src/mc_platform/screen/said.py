"""What parts say, in every way in which the screener reads them: what quotations are told by.

A quotation may come without its keys, with one word a key, with invisible characters, letters of
other scripts or encoded. Both the content that is to be known again and the message that may quote
it go through this function, so that the same words are the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mc_platform.model.label import Part
from mc_platform.screen.content import Content
from mc_platform.screen.cost import LEAST_WORK, more_work
from mc_platform.screen.findings import Budget, LimitReached
from mc_platform.screen.message.strings import KEY, Leaf
from mc_platform.screen.prefilter import Prefilter
from mc_platform.screen.text.decoded_text import DECODERS, DECODERS_IN_SET, first_texts
from mc_platform.screen.text.lookalikes import decode_lookalikes

MOST_CHARS = 80_000
"""More than this is not read to the end; `said` then tells that it was not."""
_MOST_WORK, _TEXT_WORK, _CHAR_WORK = 400_000, 10, 0.4
_MOST_TEXTS, _MOST_TOGETHER = 24, 200_000
_PIECE_CHARS = 96
_MOST_GROUPS, _LONGEST_APART, _MOST_USUAL = 4, 4_000, 8
_LEAST_COUNTED = 2 * _MOST_USUAL - 1
_DIGITS = b"0123456789"
_UNKNOWN = (-1,)
_SMALL_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,3}(?![0-9])")
_PREFILTER = Prefilter(([decoder.prefilter for decoder in DECODERS], frozenset(), DECODERS_IN_SET))


def said(parts: Sequence[Part]) -> tuple[tuple[str, ...], bool]:
    """The texts that the parts say, and whether that is all; found out once for a `Content`.

    Each text is folded: as it is seen, look-alike letters as Latin ones, in small letters. The
    first ones are the values joined, the values with their keys, and the keys; what they say
    through encodings and disguises follows. What is not ASCII stands there unfolded as well.
    """
    content = Content.of(parts)
    if content.said is None:
        content.said = _said(content)
    return content.said


def _said(content: Content) -> tuple[tuple[str, ...], bool]:
    if (plain := _plainly_said(content)) is not None:
        return (plain,), True
    budget = Budget(
        per_leaf=MOST_CHARS,
        per_message=MOST_CHARS,
        work=LEAST_WORK,
        more=more_work(content, _MOST_WORK),
    )
    texts: dict[str, None] = {}
    complete, together = True, 0
    for stream in _streams(content.leaves_within(budget)):
        complete = complete and len(stream) <= MOST_CHARS
        try:
            for text in _decoded_texts(_both_ends(stream), budget, content.hits):
                together += len(text)
                if texts and together > _MOST_TOGETHER:
                    raise LimitReached
                if text.isascii():
                    texts[text.casefold()] = None
                else:
                    texts[_folded(text)] = None
                    texts[text.casefold()] = None  # as fingerprints were taken before
        except LimitReached:
            complete = False
            if together <= _MOST_TOGETHER:
                texts[_folded(_both_ends(stream))] = None
    return tuple(texts), complete


def _plainly_said(content: Content) -> str | None:
    """The one text of most messages, if screening found nothing in it to decode; else None."""
    leaf = content.only_leaf
    # What was read as it stands has no controls; a decoder would be among its hits
    if leaf is None or leaf.path[-1] == KEY or content.hits.get(leaf.text, _UNKNOWN):
        return None
    if not leaf.text.isascii() or len(leaf.text) > _LONGEST_APART:
        return None
    if not leaf.is_number and next(_uncounted(leaf.text), None) is not None:
        return None
    return leaf.text.casefold()


def _streams(seen: Sequence[Leaf]) -> Iterator[str]:
    """The strings one after the other: values, values with keys, keys, and pieces put together."""
    if len(seen) == 1 and seen[0].path[-1] != KEY:
        yield seen[0].text
        if not seen[0].is_number:
            yield from _uncounted(seen[0].text)
        return
    values = [leaf.text for leaf in seen if leaf.path[-1] != KEY]
    keys = [leaf.text for leaf in seen if leaf.path[-1] == KEY]
    yield " ".join(values)
    if keys:
        yield " ".join(leaf.text for leaf in seen)
        yield " ".join(keys)
    worded = [leaf for leaf in seen if leaf.path[-1] != KEY and not leaf.is_number]
    yield from _apart(worded, keys, without_numbers=len(worded) < len(values))
    for pieces in (values, keys):
        if len(pieces) > 1 and all(len(piece) <= _PIECE_CHARS for piece in pieces):
            yield "".join(pieces)


def _apart(texts: Sequence[Leaf], keys: Sequence[str], *, without_numbers: bool) -> Iterator[str]:
    """Values of one key in all objects, and what stands between small numbers that count it.

    `[{"n": 1, "w": "pay"}, {"n": 2, "w": "me"}]` and `1. pay 2. me` say what `pay me` says.
    """
    groups: dict[str, list[str]] = {}
    for leaf in texts:
        groups.setdefault(leaf.context, []).append(leaf.text)
    found = [" ".join(group) for group in groups.values() if len(group) > 1][:_MOST_GROUPS]
    if len(groups) > 1 or without_numbers:
        yield from (group for group in found if len(group) <= _LONGEST_APART)
    yield from _uncounted(" ".join([leaf.text for leaf in texts]))
    yield from _uncounted(" ".join(keys))


def _uncounted(text: str) -> Iterator[str]:
    """What stands between small numbers, if there are many."""
    if not _LEAST_COUNTED <= len(text) <= _LONGEST_APART:
        return
    encoded = text.encode()
    if len(encoded) - len(encoded.translate(None, _DIGITS)) < _MOST_USUAL:
        return
    bare, numbers = _SMALL_NUMBER.subn("", text)
    if numbers >= max(_MOST_USUAL, len(bare.split()) // 3):  # sentences have fewer
        yield bare


def _both_ends(text: str) -> str:
    half = MOST_CHARS // 2
    return text if len(text) <= MOST_CHARS else f"{text[:half]} {text[-half:]}"


def _decoded_texts(text: str, budget: Budget, known: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """A text as it is seen, and through every disguise that it may bear.

    Args:
        text: The text.
        budget: What is paid for each.
        known: Which decoders' prefilter patterns occur in texts that were looked through.

    Raises:
        LimitReached: the budget ends, or it says too many things.
    """
    texts = first_texts(text, budget)
    read = {text}
    for decoded in texts:  # grows while it is walked
        budget.work(_TEXT_WORK + len(decoded.text) * _CHAR_WORK)
        yield decoded.text
        hits = known.get(decoded.text)
        for hit in _PREFILTER.hits(decoded.text) if hits is None else hits:
            if hit == len(DECODERS):
                continue  # announced pieces, which are none
            for deeper in decoded.through(DECODERS[hit], budget):
                if not deeper.is_too_deep and deeper.text not in read:
                    read.add(deeper.text)
                    texts.append(deeper)
        if len(texts) > _MOST_TEXTS + len(text) // _PIECE_CHARS:
            raise LimitReached


def _folded(text: str) -> str:
    if not text.isascii():
        text = next((decoded.text for decoded in decode_lookalikes(text)), text)
    return text.casefold()
