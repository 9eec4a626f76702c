"""Screening beside Presidio's pattern recognisers, on the same messages, in one run.

The messages are generated (the seed is printed): honest prose, code and figures, and typed
identifiers in the forms in which people write them. Presidio runs in an environment of its own,
with its predefined English pattern recognisers and without a language model, which would only slow
it down. Rounds alternate. CPU seconds are compared, so that another process does not matter.

F1 is of spans: a found span counts if it overlaps a true one of the same type.

    python benchmarks/screening.py [--seed 20]
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import string
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _table import Row, add_option, finish
from stdnum import iban as ibans
from stdnum import luhn

from mc_platform.screen import LibraryScreener

PEER = Path(__file__).parents[1] / ".venv-presidio" / "bin" / "python"
SIDE = Path(__file__).with_name("_presidio_side.py")
LEAST_RATIO = 20.0
LONGER_CHARS = 500
TYPES = ("payment-card", "email", "iban", "phone", "national-id")
_PREFIXES = {
    12: ("50", "56", "57", "58", "63", "67"),
    13: ("4",),
    14: ("36", "38", "300", "305"),
    15: ("34", "37"),
    16: ("4", "51", "55", "2221", "6011", "65", "3528"),
    18: ("6304", "6759"),
    19: ("62", "6304", "6759", "4"),
}
_PROSE = (
    "the order was sent on time and the customer is happy with it please check the invoice before"
    " friday we met at the station and talked about the plan for next quarter nothing is missing"
    " the build failed in the second stage because a test was flaky rerun it later thanks a lot"
)
_WORDS = _PROSE.split()

Span = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Message:
    """A text with the typed identifiers that stand in it."""

    text: str
    spans: tuple[Span, ...]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def _card(rng: random.Random) -> str:
    length = rng.choice([*_PREFIXES, 16, 16, 16])
    start = rng.choice(_PREFIXES[length])
    body = start + _digits(rng, length - len(start) - 1)
    card = body + luhn.calc_check_digit(body)
    if rng.random() < 0.5:
        return card
    gap = rng.choice(" -")
    return gap.join(card[at : at + 4] for at in range(0, length, 4))


def _iban(rng: random.Random) -> str:
    country = rng.choice(("DE", "PL", "AT"))
    body = _digits(rng, {"DE": 18, "PL": 24, "AT": 16}[country])
    made = country + ibans.calc_check_digits(country + "00" + body) + body
    if not ibans.is_valid(made):
        return _iban(rng)
    return made if rng.random() < 0.5 else ibans.format(made)


def _ssn(rng: random.Random) -> str:
    area = rng.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03}-{rng.randint(1, 99):02}-{rng.randint(1, 9999):04}"


def _email(rng: random.Random) -> str:
    name = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 9)))
    host = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 9)))
    return f"{name}.{_digits(rng, 2)}@{host}.{rng.choice(('com', 'org', 'de', 'co.uk'))}"


def _phone(rng: random.Random) -> str:
    return rng.choice(
        (
            f"+1 212 55{rng.randint(5, 9)} {_digits(rng, 4)}",
            f"+49 30 {rng.randint(2, 9)}{_digits(rng, 6)}",
            f"+44 20 7{_digits(rng, 3)} {_digits(rng, 4)}",
        )
    )


_MAKERS = {
    "payment-card": (_card, ("card", "please charge", "paid with card number")),
    "email": (_email, ("write to", "contact", "e-mail")),
    "iban": (_iban, ("IBAN", "transfer it to", "account")),
    "phone": (_phone, ("call", "phone", "my number is")),
    "national-id": (_ssn, ("SSN", "social security number")),
}


def _prose(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


def _clean(rng: random.Random) -> str:
    near = luhn.calc_check_digit(body := _digits(rng, 15))
    wrong = body + str((int(near) + rng.randint(1, 9)) % 10)
    return rng.choice(
        (
            _prose(rng, 40),
            f"{_prose(rng, 12)} order {wrong} {_prose(rng, 12)}",
            f"for i in range({rng.randint(2, 99)}):\n    total += rows[i].price * {rng.random():.4f}\n",
            f"commit {secrets.token_hex(20)} touched {rng.randint(2, 40)} files, {_prose(rng, 15)}",
            f"2{rng.randint(0, 999):03}-{rng.randint(1, 12):02}-01 {_prose(rng, 20)} {rng.random()}",
        )
    )


def messages(seed: int, count: int, chars: int = 0) -> list[Message]:
    """The first half with one or two identifiers, the second half without any.

    Args:
        seed: Of all that is chosen.
        count: How many.
        chars: Prose is put behind each that is shorter.
    """
    made = _messages(seed, count)
    if not chars:
        return made
    rng = random.Random(seed + 1)
    return [
        Message(f"{one.text} {_prose(rng, chars)}"[: max(chars, len(one.text))], one.spans)
        for one in made
    ]


def _messages(seed: int, count: int) -> list[Message]:
    rng = random.Random(seed)
    made = []
    for number in range(count):
        if number >= count // 2:
            made.append(Message(_clean(rng), ()))
            continue
        text, spans = _prose(rng, rng.randint(4, 20)), []
        for kind in rng.sample(TYPES, rng.randint(1, 2)):
            make, cues = _MAKERS[kind]
            value = make(rng)
            text += f", {rng.choice(cues)} "
            spans.append((kind, len(text), len(text) + len(value)))
            text += f"{value}, {_prose(rng, rng.randint(3, 12))}"
        made.append(Message(text, tuple(spans)))
    return made


def scores(made: list[Message], found: list[list[Span]]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each type, and of all."""
    table: dict[str, list[int]] = {kind: [0, 0, 0, 0] for kind in (*TYPES, "all")}
    for message, spans in zip(made, found, strict=True):
        for kind in TYPES:
            true = [span for span in message.spans if span[0] == kind]
            told = [span for span in spans if span[0] == kind]
            hit = sum(any(_overlap(one, other) for other in told) for one in true)
            right = sum(any(_overlap(one, other) for other in true) for one in told)
            for row in (table[kind], table["all"]):
                row[0] += hit
                row[1] += len(true)
                row[2] += right
                row[3] += len(told)
    result = {}
    for kind, (hit, true_count, right, told_count) in table.items():
        recall = hit / true_count if true_count else 1.0
        precision = right / told_count if told_count else 1.0
        f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
        result[kind] = {"precision": precision, "recall": recall, "f1": f1}
    return result


def _overlap(one: Span, other: Span) -> bool:
    return one[1] < other[2] and other[1] < one[2]


def _ours(screener: LibraryScreener, made: list[Message]) -> tuple[float, list[list[Span]]]:
    began = time.process_time()
    found = [screener.screen(({"text": message.text},)) for message in made]
    spent = time.process_time() - began
    return spent, [[(one.type, one.start, one.end) for one in each.labels] for each in found]


def main() -> int:
    """Measure both sides; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default=str(PEER), help="Python that has presidio-analyzer")
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--chars", type=int, default=LONGER_CHARS, help="of the longer messages")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    add_option(parser)
    given = parser.parse_args()
    short = messages(given.seed, given.messages)
    made = [*short, *messages(given.seed, given.messages, given.chars)]
    size = sum(len(message.text.encode()) for message in made)
    screener = LibraryScreener()
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump([message.text for message in made], file)
        file.flush()
        with subprocess.Popen(
            [given.peer, str(SIDE), file.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as peer:
            assert peer.stdin is not None
            assert peer.stdout is not None

            def ask(what: str) -> Any:
                peer.stdin.write(what + "\n")  # type: ignore[union-attr]
                peer.stdin.flush()  # type: ignore[union-attr]
                line = peer.stdout.readline()  # type: ignore[union-attr]
                if not line:
                    raise SystemExit("Presidio's side ended; its reason stands above")
                return json.loads(line)

            opening = peer.stdout.readline()
            if not opening:
                raise SystemExit(f"{given.peer} has no usable presidio-analyzer")
            told = json.loads(opening)
            theirs_found = [[(k, a, b) for k, a, b in each] for each in ask("find")]
            _, ours_found = _ours(screener, made)
            half, count = len(short) // 2, len(short)
            groups = {
                "with identifiers": (0, half),
                "without": (half, count),
                f"of {given.chars} characters": (count, 2 * count),
            }
            spent: dict[str, list[tuple[float, float]]] = {name: [] for name in groups}
            for _ in range(given.rounds):
                for name, (first, stop) in groups.items():
                    ours = _ours(screener, made[first:stop])[0]
                    spent[name].append((ours, float(ask(f"time {first} {stop}"))))
            peer.stdin.close()
    print(
        f"{len(made)} messages, {size / 1e6:.3f} MB, seed {given.seed};"
        f" presidio-analyzer {told['version']}, {len(told['recognisers'])} recognisers"
    )
    our_scores, their_scores = scores(made, ours_found), scores(made, theirs_found)
    print(
        f"  {'type':13} {'ours: P':>8} {'R':>6} {'F1':>6}   {'presidio: P':>11} {'R':>6} {'F1':>6}"
    )
    for kind in (*TYPES, "all"):
        us, them = our_scores[kind], their_scores[kind]
        print(
            f"  {kind:13} {us['precision']:8.3f} {us['recall']:6.3f} {us['f1']:6.3f}"
            f"   {them['precision']:11.3f} {them['recall']:6.3f} {them['f1']:6.3f}"
        )
    better = our_scores["all"]["f1"] > their_scores["all"]["f1"]
    if not better:
        print("our F1 over all types is not above Presidio's: that is a fault")
    *halves, longer = spent.items()
    figures = [_row(name, pairs, half) for name, pairs in halves]
    both = [
        (sum(o for o, _ in pairs), sum(t for _, t in pairs))
        for pairs in zip(*(pairs for _, pairs in halves), strict=True)
    ]
    figures.append(_row("all", both, count, LEAST_RATIO))
    figures.append(_row(*longer, count, LEAST_RATIO))
    return finish(figures, given.rows) or int(not better)


def _row(
    name: str, pairs: list[tuple[float, float]], messages: int, at_least: float | None = None
) -> Row:
    """A row of one kind of messages, from the CPU seconds of each round, ours and Presidio's."""
    return Row(
        what=f"screening, messages {name}",
        beside="Presidio's pattern recognisers",
        values=tuple(theirs / ours for ours, theirs in pairs),
        at_least=at_least,
        cpu_us=tuple(ours / messages * 1e6 for ours, _ in pairs),
        peer_cpu_us=tuple(theirs / messages * 1e6 for _, theirs in pairs),
        per="message",
    )


if __name__ == "__main__":
    sys.exit(main())
