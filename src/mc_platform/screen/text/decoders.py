"""Encodings that are looked through, a decoder each.

Percent, HTML entities, escapes of programming languages, quoted-printable, UTF-7; base64, base32,
hexadecimal and other numbers for characters; compressed bytes; rot13; text read backwards; what
characters without a glyph say; and what markup cuts in pieces which a reader sees whole. Each yields the string decoded, with the way back to the characters
that were sent. Decoding is linear in the string's length; `decoded_text` bounds how often it is done.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import string
import zlib
from collections.abc import Callable, Iterator

import re2

from mc_platform.screen.findings import LimitReached
from mc_platform.screen.text.normalise import Normalised, Replacement, rewrite, standing_for

Decode = Callable[[str], Iterator[Normalised]]

INFLATED_BYTES, _WITH_HEAD = 1 << 16, 47
_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?")
_ESCAPES = re.compile(
    r"(?:\\u[0-9a-fA-F]{4})+|\\u\{[0-9a-fA-F]{1,6}\}|\\U[0-9a-fA-F]{8}|(?:\\x[0-9a-fA-F]{2})+"
    r"|(?:\\[0-3][0-7]{2})+|(?:U\+[0-9a-fA-F]{4,6}[ ,]?)+|\\[nrt\"/\\]"
)
_QUOTED = re.compile(r"(?:=[0-9A-F]{2})+|=\r?\n")
# A lone one behind a parameter's name is its sign and value: `?w=800&h=600`.
_PARAMETER = re.compile(r"[?&;][\w.\-\[\]]{1,32}\Z")
_PARAMETER_CHARS = 34
_ONE_QUOTED = 3
_UTF7 = re.compile(r"\+[A-Za-z0-9/]{2,}-?")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{12,}={0,2}")
_TWELVE = b"x" * 12
_LONG_RUN = 24
_WORD_OR_FIGURES = re.compile(
    r"[A-Za-z]?[a-z]+(?:[_\-/][a-z]+){0,4}|[0-9]+(?:[\-/][0-9]+){0,8}|[A-Z]{2}[0-9]+"
)
_BASE64_PIECE = re.compile(r"[A-Za-z0-9+]{12,}={0,2}")

_BASE64_QUADS = re.compile(
    r"(?<!\S)(?:[A-Za-z0-9+/]{4,16}[ \-]){2,}[A-Za-z0-9+/]{2,16}={0,2}(?!\S)"
)
_BASE32 = re.compile(r"(?<![A-Za-z0-9])(?:[A-Z2-7]{13,}|[a-z2-7]{13,})={0,6}")
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?:0[xX])?((?:[0-9a-fA-F]{2}){5,})(?![0-9a-zA-Z])")
_HEX_APART = re2.compile(
    r"(?:0[xX]|\\?x)?[0-9a-fA-F]{2}(?:[\s,:;\-|]{1,2}(?:0[xX]|\\?x)?[0-9a-fA-F]{2}){4,}"
)
_HEX_RUN = re.compile(b"h+")
_TEN, _PAIR_AND_MARK, _LEAST_PAIRS = b"h" * 10, b"hh ", 4
_DECIMAL = re.compile(
    r"(?<![0-9])[0-9]{2,3}(?:(?:[\s,;\-|]{1,2}|\)\s?[+.&|]{1,2}\s?[\w.]{2,24}\()[0-9]{2,3}){4,}(?![0-9])"
)
_OCTAL = re.compile(r"[0-3][0-7]{2}")
_BINARY = re.compile(r"[01]{7,8}(?:[\s,]{0,2}[01]{7,8}){4,}")
_NUMBER = re.compile(r"[0-9]+")
_MARK = re.compile(r"0[xX]|\\?x|[\s,:;\-|]+")
_WHITE = str.maketrans("", "", "\t\n\r\v\f")
_ZLIB_HEADS = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_MOSTLY = 0.7
_PLAIN = re.compile(rb"[\t\n\r -~]")


def _classes(named: dict[bytes, str]) -> bytes:
    """A table for `bytes.translate`: a byte for each class of characters, a full stop for all others."""
    table = bytearray(b"." * 256)
    for name, members in named.items():
        for member in members:
            table[ord(member)] = ord(name)
    return bytes(table)


_BASE64_CLASS = _classes({b"x": string.ascii_letters + string.digits + "+/_-"})
_HEX_CLASSES = _classes({b"h": string.hexdigits, b" ": " \t\n\f\r,:;-|"})
_ROT13 = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)


def rot13(text: str) -> str:
    """The inverse of itself; digits and signs stay."""
    return text.translate(_ROT13)


def decode_percent(text: str) -> Iterator[Normalised]:
    """The string with percent-encoded UTF-8 decoded."""
    yield _decoded(text, _PERCENT, lambda found: _utf8(bytes.fromhex(found.replace("%", ""))))


def decode_entities(text: str) -> Iterator[Normalised]:
    """The string with HTML's character references resolved."""
    yield _decoded(text, _ENTITY, html.unescape)


def decode_escapes(text: str) -> Iterator[Normalised]:
    r"""The string with escapes such as `\u0041`, `\x41`, `\101` and `U+0041` resolved."""
    yield _decoded(text, _ESCAPES, _unescape)


def decode_quoted_printable(text: str) -> Iterator[Normalised]:
    """The string with quoted-printable decoded, soft line breaks included."""
    found = (
        (match.start(), match.end(), _unquote(match[0]))
        for match in _QUOTED.finditer(text)
        if not _is_parameter(text, match)
    )
    yield rewrite(text, found)


def _is_parameter(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - _PARAMETER_CHARS) : match.start()]
    return len(match[0]) == _ONE_QUOTED and _PARAMETER.search(before) is not None


def decode_utf7(text: str) -> Iterator[Normalised]:
    """The string with the shifted stretches of UTF-7 decoded."""
    yield _decoded(text, _UTF7, _from_utf7)


def decode_base64(text: str) -> Iterator[Normalised]:
    """What each run of base64 says, if it is text; every character stands for the whole run."""
    done = tried = 0
    for run in _long_runs(text):
        start, end = run.span()
        if start < done:
            continue
        if end - start < _LONG_RUN and _WORD_OR_FIGURES.fullmatch(run[0]):
            continue  # a word or a number; base64 of so few characters mixes them
        if start >= tried and not run[0].endswith("="):
            # What does not decode as one is not tried again from each of its lines.
            shown, tried = _wrapped(text, start, end)
            if shown is not None:
                done = tried
                yield standing_for(shown, start, done)
        shown_run = _base64(run[0])
        if shown_run is not None:
            yield standing_for(shown_run, start, end)
            continue
        # The run may be a path or several values: `/a/b/<base64>`.
        for piece in _BASE64_PIECE.finditer(text, start, end):
            if piece.span() != (start, end):
                yield from _standing(_base64(piece[0]), piece)
    for run in _BASE64_QUADS.finditer(text):
        if run[0].islower():
            continue  # words of four letters
        yield from _standing(_base64(re.sub(r"[ \-]", "", run[0])), run)


def _long_runs(text: str) -> Iterator[re.Match[str]]:
    """As `_BASE64.finditer`, which begins anew at each letter of each word: ten times as slow."""
    classes = text.encode("ascii", "replace").translate(_BASE64_CLASS)  # a byte a character
    at = 0
    while (at := classes.find(_TWELVE, at)) >= 0:
        run = _BASE64.match(text, at)
        assert run is not None
        yield run
        at = run.end()


def _standing(shown: str | None, run: re.Match[str]) -> Iterator[Normalised]:
    if shown is not None:
        yield standing_for(shown, *run.span())


def _wrapped(text: str, start: int, end: int) -> tuple[str | None, int]:
    """What base64 says that goes on in the next lines, as long as they fit; and its end."""
    width = end - start
    lines, stop = [text[start:end]], end
    while (following := _NEXT_LINE.match(text, stop)) is not None:
        if len(following[1]) > width:
            break
        lines.append(following[1])
        stop = following.end()
        if len(following[1]) < width or following[1].endswith("="):
            break
    return (None if len(lines) == 1 else _base64("".join(lines))), stop


_NEXT_LINE = re.compile(r"\s{0,2}\r?\n[ \t>]{0,8}([A-Za-z0-9+/_\-]{1,}={0,2})(?=\s|\Z)")


def decode_base32(text: str) -> Iterator[Normalised]:
    """What each run of base32 says, if it is text."""
    for run in _BASE32.finditer(text):
        plain = run[0].rstrip("=").upper()
        try:
            raw = base64.b32decode(plain + "=" * (-len(plain) % 8))
        except (binascii.Error, ValueError):
            continue
        yield from _standing(_read(raw), run)


def decode_hexadecimal(text: str) -> Iterator[Normalised]:
    """What runs of hexadecimal bytes say, together or apart, if it is text."""
    classes = text.encode("ascii", "replace").translate(_HEX_CLASSES)
    for run in _hexadecimal_runs(text, classes):
        yield from _standing(_read(bytes.fromhex(run[1])), run)
    if classes.count(_PAIR_AND_MARK) < _LEAST_PAIRS:
        return
    for run in _HEX_APART.finditer(text):
        if text[run.end() : run.end() + 1].isalnum():
            continue
        yield from _standing(_read(bytes.fromhex(_MARK.sub("", run[0]))), run)


def _hexadecimal_runs(text: str, classes: bytes) -> Iterator[re.Match[str]]:
    """As `_HEX.finditer`: no letter or digit goes before, so that it begins where a run does."""
    at = 0
    while (at := classes.find(_TEN, at)) >= 0:
        start = at - 2 if text[max(0, at - 2) : at] in ("0x", "0X") else at
        run = _HEX.match(text, start)
        if run is not None:
            yield run
        end = _HEX_RUN.match(classes, at)
        at = end.end() if end is not None else len(classes)


def decode_character_codes(text: str) -> Iterator[Normalised]:
    """What decimal, octal or binary character codes say, if all are those of text."""
    for run in _DECIMAL.finditer(text):
        numbers = _NUMBER.findall(run[0])
        yield from _codes([int(code) for code in numbers], *run.span())
        if all(map(_OCTAL.fullmatch, numbers)):
            yield from _codes([int(code, 8) for code in numbers], *run.span())
    for run in _BINARY.finditer(text):
        bits = [code for code in _NUMBER.findall(run[0]) if len(code) in (7, 8)]
        whole = "".join(_NUMBER.findall(run[0]))
        if not bits and len(whole) % 8 == 0:
            bits = [whole[at : at + 8] for at in range(0, len(whole), 8)]
        yield from _codes([int(code, 2) for code in bits], *run.span())


def _codes(codes: list[int], start: int, end: int) -> Iterator[Normalised]:
    if codes and all(32 <= code < 127 or code in (9, 10, 13) for code in codes):
        yield standing_for("".join(map(chr, codes)), start, end)


def decode_rot13(text: str) -> Iterator[Normalised]:
    """The string with every letter moved by thirteen."""
    yield Normalised(rot13(text))


def decode_reversed(text: str) -> Iterator[Normalised]:
    """The string read backwards."""
    yield Normalised(text[::-1], range(len(text) - 1, -1, -1), backwards=True)


def decode_smuggled(text: str) -> Iterator[Normalised]:
    """What characters without a glyph say: tags are ASCII, variation selectors are bytes."""
    found: list[Replacement] = []
    for match in _TAGS.finditer(text):
        shown = "".join(chr(ord(char) - _TAG_BASE) for char in match[0])
        found.append((*match.span(), shown))
    for match in _SELECTORS.finditer(text):
        told = _text(bytes(_selected(ord(char)) for char in match[0]))
        if told is not None:
            found.append((*match.span(), told))
    if found:
        yield rewrite(text, sorted(found))


_TAG_BASE = 0xE0000
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
SMUGGLED = re.compile("[\U000e0020-\U000e007e]|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4}")


def _selected(code: int) -> int:
    return code - 0xFE00 if code <= 0xFE0F else code - 0xE0100 + 16


def _decoded(text: str, pattern: re.Pattern[str], decode: Callable[[str], str]) -> Normalised:
    return rewrite(
        text, ((match.start(), match.end(), decode(match[0])) for match in pattern.finditer(text))
    )


def _utf8(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _unescape(found: str) -> str:
    if found[:2] == "U+":
        codes = [int(code, 16) for code in re.findall(r"[0-9a-fA-F]{4,6}", found)]
    elif found[:2] in ("\\u", "\\U"):
        codes = [int(code, 16) for code in re.findall(r"[0-9a-fA-F]+", found)]
    elif found[:2] == "\\x":
        return _utf8(bytes.fromhex(found.replace("\\x", "")))
    elif found[1].isdigit():
        return _utf8(bytes(int(code, 8) for code in re.findall(r"[0-7]{3}", found)))
    else:
        return {"n": "\n", "r": "\r", "t": "\t"}.get(found[1], found[1])
    shown = "".join(chr(code) if code <= 0x10FFFF else "\ufffd" for code in codes)
    return shown.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unquote(found: str) -> str:
    if found[1] in "\r\n":
        return ""
    shown = _utf8(bytes.fromhex(found.replace("=", "")))
    return shown if shown.translate(_WHITE).isprintable() else found


def _from_utf7(found: str) -> str:
    try:
        shown = codecs.decode(found.encode(), "utf-7")
    except ValueError:
        return found
    return shown if shown.isprintable() else found


def _base64(run: str) -> str | None:
    """The text that a run encodes, None if it is none: digests and images are no text."""
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    if plain.islower() or plain.isdigit():
        return None
    if len(plain) % 4 == 1:
        plain = plain[:-1]
    try:
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return _read(raw)


def _read(raw: bytes) -> str | None:
    """The text in bytes, compressed with a head, or without one, or plain."""
    if raw.startswith(_ZLIB_HEADS):
        return _inflated(raw, _WITH_HEAD)
    shown = _text(raw)
    return _inflated(raw, -zlib.MAX_WBITS) if shown is None else shown


def _inflated(raw: bytes, wbits: int) -> str | None:
    """What compressed bytes say; without a head they must end where they say that they do."""
    inflating = zlib.decompressobj(wbits=wbits)
    try:
        shown = _text(inflating.decompress(raw, INFLATED_BYTES))
    except zlib.error:
        return None
    if wbits < 0 and not (inflating.eof or inflating.unconsumed_tail):
        return None
    if shown is not None and inflating.unconsumed_tail:
        raise LimitReached  # more text than is read
    return shown


def _text(raw: bytes) -> str | None:
    """The text in bytes: UTF-8, UTF-16, or what is mostly ASCII; None for anything else."""
    try:
        shown = raw.decode(_encoding(raw))
    except UnicodeDecodeError:
        pass
    else:
        if shown.translate(_WHITE).isprintable():
            return shown
    if len(_PLAIN.findall(raw)) >= _MOSTLY * len(raw):
        return raw.decode("ascii", "replace").replace("\0", " ")
    return None


def _encoding(raw: bytes) -> str:
    """UTF-16 and UTF-32 by their mark, or by the zeros that Latin letters have in UTF-16."""
    if raw.startswith(_UTF32_MARKS):
        return "utf-32"
    if raw.startswith(_UTF16_MARKS):
        return "utf-16"
    half = len(raw) // 2
    if len(raw) > 2 and len(raw) % 2 == 0:
        if raw[1::2].count(0) >= _MOSTLY * half:
            return "utf-16-le"
        if raw[::2].count(0) >= _MOSTLY * half:
            return "utf-16-be"
    return "utf-8"


_UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_INLINE = "b|i|u|s|q|em|strong|span|font|mark|wbr|small|big|sub|sup|a|code|tt|ins|del|abbr|bdi|bdo"
INLINE_TAG = rf"(?i)[\w.@+\-](?:</?(?:{_INLINE})(?:[ /][^<>]*)?>){{1,4}}[\w.@+\-]"
"""A tag that changes how letters look, between two of one word."""
EMPHASIS = r"\*@|@\*|@[\w.\-]+\*|\*[\w.\-]+@"
"""Asterisks within an address."""
_INLINE_TAGS = re.compile(
    rf"(?i)(?<=[\w.@+\-])(?:</?(?:{_INLINE})(?:[ /][^<>]{{0,80}})?>){{1,4}}(?=[\w.@+\-])"
)
_BLOCK = r"(?:\s{0,8}</?(?:br|td|th|tr|li|p|div|dd|dt)(?:[ /][^<>]{0,80})?>\s{0,8}){1,4}"
BLOCK_TAG = rf"(?i)[0-9A-Z]{_BLOCK}[0-9]"
"""Tags that begin a line or a cell, between the groups of a number."""
_BLOCK_TAGS = re.compile(rf"(?i)(?<=[0-9A-Z]){_BLOCK}(?=[0-9])")
CONCATENATED = r"[\"']\s{0,4}(?:\|\||[+.&]|\+\+|\.\.|<>|\n)\s{0,8}[rbfuN]?[\"']"
"""Two literals that a program puts together."""
_CONCATENATED = re.compile(CONCATENATED)
_WORD = re.compile(r"[\w.*+%\-]{1,96}")
_WORD_CHARS = 96
_MOST_ADDRESSES = 5000


def decode_tags(text: str) -> Iterator[Normalised]:
    """The string without the tags that stand within words."""
    found = [(match.start(), match.end(), "") for match in _INLINE_TAGS.finditer(text)]
    if found:
        yield rewrite(text, found)


def decode_blocks(text: str) -> Iterator[Normalised]:
    """The string with a line's end for the tags between the groups of numbers."""
    yield _decoded(text, _BLOCK_TAGS, lambda _: "\n")


def decode_concatenated(text: str) -> Iterator[Normalised]:
    """The string with literals put together, as SQL, Python, JavaScript and PHP do."""
    yield _decoded(text, _CONCATENATED, lambda _: "")


def decode_emphasis(text: str) -> Iterator[Normalised]:
    """The string without the asterisks within addresses.

    Raises:
        LimitReached: more addresses than are read.
    """
    if text.count("@") > _MOST_ADDRESSES:
        raise LimitReached
    found: list[Replacement] = []
    at, done = -1, 0
    while (at := text.find("@", at + 1)) >= 0:
        before = _WORD.match(text[max(done, at - _WORD_CHARS) : at][::-1])
        behind = _WORD.match(text, at + 1)
        if before is None or behind is None:
            continue
        start, end = at - before.end(), behind.end()
        found += [(star, star + 1, "") for star in range(start, end) if text[star] == "*"]
        done = end
    if found:
        yield rewrite(text, found)
