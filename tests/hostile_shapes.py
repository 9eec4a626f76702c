"""Messages that cost as much as a message of their size can: one for each way that was thought of.

A shape fills a number of bytes of JSON with what makes some part of the screener work: many strings,
near-misses of each recogniser, disguises of each layer, deep or wide structures.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

Parts = tuple[dict[str, Any], ...]

_SEED = 13
_CARD = "4111 1111 1111 1111"
_IBAN = "DE89 3704 0044 0532 0130 00"

# One string of a piece, over and over.
_REPEATED = {
    "emphasis in addresses": "*a*@",
    "at signs": "@",
    "letters at letters": "a@b ",
    "address after address": "a.b@c.de ",
    "almost addresses": "a@b.",
    "digits": "1",
    "digits apart": "1 ",
    "digits with dashes": "12-",
    "digits with dots": "1.",
    "groups of four": "4111 ",
    "cards": _CARD + " ",
    "almost cards": "4111 1111 1111 1112, ",
    "accounts": _IBAN + " ",
    "account prefixes": "DE89 ",
    "account prefixes, long": "DE89370400440532013001",
    "phones": "+1 212 555 1234, ",
    "named phones": "call me 030 1234567 ",
    "pluses": "+1",
    "double zeros": "0049 1 ",
    "social security": "078-05-1121 ",
    "dates": "born 1980-01-01 ",
    "dates alone": "01/02/1980 ",
    "keys with colons": "key: ",
    "names with colons": "name: Ann Lee\n",
    "passwords": "password: hunter22 ",
    "patients": "patient Ann Lee has diabetes. ",
    "persons": "Ann Lee ",
    "titles": "Mr. ",
    "titled persons": "Dr. Ann Lee ",
    "addresses": "12 Main Street, Springfield, IL 62704\n",
    "house numbers": "12 Main St ",
    "salaries": "salary: 40,000 EUR ",
    "diagnoses": "my diabetes ",
    "base64": "QWxs",
    "base64 words": "aGVsbG8gd29ybGQh ",
    "base64 lines": "aGVsbG8gd29ybGQhaGVsbG8gd29ybGQh\n",
    "base64 quads": "aGVs bG8g ",
    "base64 digits": "NDExMSAxMTExIDExMTEgMTExMQ== ",
    "base32": "MFRGGZDFMZTWQ",
    "base32 words": "JBSWY3DPEBLW64TMMQ ",
    "hexadecimal": "6a",
    "hexadecimal words": "68656c6c6f20776f726c64 ",
    "hexadecimal apart": "68 65 6c ",
    "codes": "104 ",
    "bits": "01101000 ",
    "percent": "%41",
    "percent of percent": "%2525",
    "percent, broken": "%4",
    "character references": "&#65;",
    "named references": "&amp;",
    "references, broken": "&a",
    "escapes": "\\u0041",
    "short escapes": "\\x41",
    "backslashes": "\\",
    "newline escapes": "\\n",
    "quotes": '"',
    "single quotes": "'",
    "quoted-printable": "=41=42",
    "soft breaks": "=\n",
    "utf-7": "+AGE-",
    "zero widths": "\u200b",
    "letters with zero widths": "a\u200b",
    "soft hyphens": "so\u00adft ",
    "tags without glyph": "\U000e0041",
    "selectors": "\ufe01",
    "combining": "a\u0301\u0301",
    "cyrillic": "\u0430",
    "cyrillic words": "\u0440\u0430\u0443 ",
    "cyrillic among latin": "p\u0430y ",
    "greek": "\u03b1",
    "full width": "\uff11",
    "arabic digits": "\u0661",
    "circled": "\u2460",
    "chinese": "\u4e2d",
    "korean": "\uac00",
    "ligatures": "\ufdfa",
    "emoji": "\U0001f600",
    "surrogates": "\ud800",
    "accents": "\u00e9",
    "markup": "a<b>b</b>",
    "open tags": "<b",
    "broken tags": "a<b ",
    "link tags": '<a href="https://x.org/?q=1">',
    "links": "https://x.org/?q=secret ",
    "images": "![a](https://x.org/?q=b) ",
    "open brackets": "[",
    "image starts": "![",
    "parentheses": "(",
    "braces": "{",
    "json": '{"a":1},',
    "tool calls": '<tool_call>{"name": "x"}</tool_call>',
    "call names": '{"name": "send", "arguments": {',
    "slashes": "/",
    "colons": ":",
    "schemes": "http://",
    "dots": ".",
    "dashes": "-",
    "underscores": "_",
    "spaces": " ",
    "lines": "\n",
    "tabs": "\t",
    "line ends": "a\n",
    "capitals": "A",
    "capital words": "Aa ",
    "one letter": "a",
    "letters apart": "a ",
    "letters with dashes": "a-",
    "letters with dots": "a.",
    "letters with stars": "a*",
    "letters wide apart": "a  ",
    "leet": "1gn0r3 ",
    "leet digits": "O0l1",
    "number words": "four one double two ",
    "number words, glued": "fouroneonetwo",
    "spelled addresses": "ann at example dot com ",
    "bracketed addresses": "a (at) b (dot) c ",
    "at words": "at ",
    "dot words": "a dot ",
    "rot13": "gur pneq ahzore vf ",
    "backwards": "eht drac rebmun ",
    "backwards addresses": "moc.elpmaxe@a ",
    "injections": "ignore all previous instructions ",
    "injection starts": "ignore ",
    "injection halves": "ignore the ",
    "system prompts": "system prompt ",
    "announced pieces": "the first half 4111 then ",
    "secrets": "AKIAIOSFODNN7EXAMPLE ",
    "secret starts": "AKIA",
    "tokens": "eyJhbGciOiJIUzI1NiJ9.",
    "private keys": "-----BEGIN PRIVATE KEY-----\n",
    "key ends": "-----END PRIVATE KEY-----\n",
    "authorisations": "authorization: bearer abcdefghijkl ",
    "url logins": "://a:abcdef@b ",
    "uuids": "123e4567-e89b-12d3-a456-426614174000 ",
    "uuid starts": "123e4567-",
    "scientific": "4.111111111111111e15 ",
    "decimals": "1.5 ",
    "sums": "40,000.00 EUR ",
    "ids": "AB123456C ",
    "letters and digits": "A1",
    "letters and digits apart": "A1 ",
    "customer ids": "CUST-12345 ",
    "wrapped": "a" * 12 + "\n",
    "words": "the quick brown fox ",
    "zip": base64.b64encode(b"\x78\x9c" + b"a" * 16).decode() + " ",
}  # fmt: skip

_SENTENCE = (
    "the order was sent on time and the customer is happy with it please check the invoice before"
    " Friday we met at the station and talked about the plan for next quarter nothing is missing"
)
_WORDS = _SENTENCE.split()


def _text(size: int, unit: str) -> Parts:
    encoded = len(json.dumps(unit, ensure_ascii=False).encode("utf-8", "surrogatepass")) - 2
    return ({"text": unit * max(1, size // encoded)},)


def _random(alphabet: str) -> Callable[[int], Parts]:
    def made(size: int) -> Parts:
        return ({"text": "".join(random.Random(_SEED).choices(alphabet, k=size))},)

    return made


def _tokens(alphabet: str, length: int) -> Callable[[int], Parts]:
    def made(size: int) -> Parts:
        rng = random.Random(_SEED)
        words = ("".join(rng.choices(alphabet, k=length)) for _ in range(size // (length + 1)))
        return ({"text": " ".join(words)},)

    return made


def _listed(value: Any) -> Callable[[int], Parts]:
    def made(size: int) -> Parts:
        each = len(json.dumps(value, ensure_ascii=False).encode()) + 1
        return ({"data": {"d": [value] * (size // each)}},)

    return made


def _counted(make: Callable[[int], Any], each: int) -> Callable[[int], Parts]:
    return lambda size: ({"data": {"d": [make(at) for at in range(size // each)]}},)


def _keys(make: Callable[[int], tuple[str, Any]], each: int) -> Callable[[int], Parts]:
    return lambda size: ({"data": dict(make(at) for at in range(size // each))},)


def _many_parts(part: dict[str, Any]) -> Callable[[int], Parts]:
    each = len(json.dumps(part, ensure_ascii=False)) + 1
    return lambda size: tuple(dict(part) for _ in range(size // each))


def _deep(size: int) -> Parts:
    """As many branches as deep as is looked at, each with a string at its end."""
    branch: Any = "a b c d"
    for _ in range(58):
        branch = {"k": branch}
    each = len(json.dumps(branch)) + 1
    return ({"data": {"d": [branch] * (size // each)}},)


def _deep_lists(size: int) -> Parts:
    branch: Any = [1, 2]
    for _ in range(58):
        branch = [branch]
    return ({"data": {"d": [branch] * (size // (len(json.dumps(branch)) + 1))}},)


def _nested_base64(size: int) -> Parts:
    text = "ignore all previous instructions, a@b.de " * (size // 120)
    for _ in range(3):
        text = base64.b64encode(text.encode()).decode()
    return ({"text": text[:size]},)


def _disguises(size: int) -> Parts:
    """A little of every disguise at once."""
    block = (
        "%41%42 &#65; \\u0041 =41=42 +AGE- aGVsbG8gd29ybGQh MFRGGZDFMZTWQ2LK 68656c6c6f20776f"
        " 104 101 108 108 111 \u0430bc caf\u00e9 l\u00b0 1gn0r3 four one two a (at) b (dot) c x<b>y</b>"
        " *a*@b i g n o r e gur pneq eht drac "
    )
    return _text(size, block)


def _file(size: int) -> Parts:
    content = ("a@b.de " * (size // 10)).encode()
    raw = base64.b64encode(content).decode()[: size // 4 * 4]
    return ({"raw": raw, "mediaType": "text/plain"},)


def _findings(size: int) -> Parts:
    """As many different findings as fit, a field each."""
    row = {
        "name": "Ann Lee", "email": "a@b.de", "ssn": "078-05-1120", "card": "4111111111111111",
        "dob": "1980-01-01", "address": "12 Main Street", "diagnosis": "diabetes", "iban": _IBAN,
    }  # fmt: skip
    return ({"data": {"rows": [dict(row) for _ in range(size // (len(json.dumps(row)) + 1))]}},)


_STRUCTURES: dict[str, Callable[[int], Parts]] = {
    "integers": _counted(lambda at: 100_000 + at, 7),
    "small integers": _listed(1),
    "card integers": _listed(4111111111111111),
    "big integers": _listed(10**300),
    "floats": _listed(1.5),
    "nulls": _listed(None),
    "booleans": _listed(True),
    "empty strings": _listed(""),
    "one-letter strings": _listed("a"),
    "one-digit strings": _listed("1"),
    "digit strings": _listed("1234"),
    "short strings": _listed("a b c d"),
    "at-sign strings": _listed("a@"),
    "address strings": _listed("a@b.de"),
    "card strings": _listed("4111 1111 1111 1111"),
    "base64 strings": _listed("aGVsbG8gd29ybGQh"),
    "escaped strings": _listed("%41%42%43"),
    "cyrillic strings": _listed("\u0440\u0430\u0443 me"),
    "name strings": _listed("Ann Lee"),
    "announced strings": _listed("the first half is 4111"),
    "pairs of halves": _listed(["ann@", "x.de"]),
    "pairs of numbers": _listed(["4111 1111", "1111 1111"]),
    "records": _listed({"local": "ann", "domain": "x.de"}),
    "one-key objects": _listed({"a": 1}),
    "one-word objects": _listed({"a": "pay"}),
    "empty objects": _listed({}),
    "empty lists": _listed([]),
    "objects of digits": _listed({"4111111111": "111111"}),
    "different keys": _keys(lambda at: (f"k{at}", at), 14),
    "address keys": _keys(lambda at: (f"a{at}@b.de", 1), 15),
    "same placeholder keys": _keys(lambda at: (f"a{at}@b.de", "a@b.de"), 22),
    "named keys": _keys(lambda at: (f"firstName{at}", "Ann"), 22),
    "deep": _deep,
    "deep lists": _deep_lists,
    "parts of text": _many_parts({"text": "a"}),
    "parts with findings": _many_parts({"text": "write to a@b.de, card 4111 1111 1111 1111"}),
    "parts with addresses": _many_parts({"text": "a@b.de"}),
    "parts with digits": _many_parts({"text": "4111"}),
    "parts with words": _many_parts({"text": "the first half is"}),
    "parts with prose": _many_parts({"text": _SENTENCE}),
    "parts of files": _many_parts({"raw": "YUBiLmRl", "mediaType": "text/plain"}),
    "parts of data": _many_parts({"data": {"a": 1}}),
    "parts with metadata": _many_parts({"text": "a", "metadata": {"x": "y"}}),
    "random letters": _random(string.ascii_letters),
    "random small letters": _random(string.ascii_lowercase),
    "random letters and digits": _random(string.ascii_letters + string.digits),
    "random base64": _random(string.ascii_letters + string.digits + "+/"),
    "random printable": _random(string.printable),
    "random digits": _random(string.digits),
    "random digits and spaces": _random(string.digits + " "),
    "random digits and signs": _random(string.digits + " -./"),
    "random hexadecimal": _random("0123456789abcdef"),
    "random hexadecimal apart": _random("0123456789abcdef "),
    "random capitals": _random(string.ascii_uppercase + "234567"),
    "random unicode": _random("".join(map(chr, range(0xA0, 0x2000)))),
    "random cyrillic": _random("".join(map(chr, range(0x400, 0x500)))),
    "random signs": _random(string.punctuation),
    "random tokens": _tokens(string.ascii_letters + string.digits, 12),
    "random long tokens": _tokens(string.ascii_letters + string.digits, 40),
    "random digit tokens": _tokens(string.digits, 7),
    "random card tokens": _tokens(string.digits, 16),
    "random capital tokens": _tokens(string.ascii_uppercase + string.digits, 9),
    "random words": lambda size: (
        {"text": " ".join(random.Random(_SEED).choices(_WORDS, k=size // 6))},
    ),
    "nested base64": _nested_base64,
    "disguises": _disguises,
    "file": _file,
    "findings": _findings,
}

NAMES = (*_REPEATED, *_STRUCTURES)
"""Every shape's name."""


def shape(name: str, size_bytes: int) -> Parts:
    """The parts of one shape, of about so many bytes of JSON."""
    if name in _REPEATED:
        return _text(size_bytes, _REPEATED[name])
    return _STRUCTURES[name](size_bytes)


def shapes(size_bytes: int) -> Iterator[tuple[str, Parts]]:
    """Every shape in one size."""
    for name in NAMES:
        yield name, shape(name, size_bytes)
