"""What tenants cost: a replica's start, its memory, and the CPU of screening a message, by their number.

Each tenant declares a customer id of its own form, two confidential terms and a host. Each number of tenants
is measured in a process of its own; CPU of a message in rounds that alternate between three tenants of a
catalogue of three (`few`), one tenant of all, and all of them in turn, in the
same process.

    python benchmarks/tenants.py [--tenants 3,100,1000,10000]

The exit code is 1 if a message of the most tenants costs 120 microseconds more than one of three (a tenth of
what a request may cost as a whole), or they begin in more than 6 CPU seconds or 400 MiB.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _table import Figure, Row, Series, add_option, finish

NUMBERS = (3, 100, 1000, 10_000)
MOST_START_S, MOST_MIB, MOST_ADDED_US = 6.0, 400.0, 120.0
_MESSAGES, _ROUNDS, _BYTES, _FEW = 300, 15, 500, 3
_PROSE = (
    "the order was sent on time and the customer is happy with it please check the invoice before"
    " Friday we met at the Station and talked about the plan for next quarter nothing is missing"
)
_WORDS = _PROSE.split()


def catalogue(tenants: int) -> dict[str, Any]:
    """A catalogue's document with so many tenants."""
    return {
        "agents": {"records": {"url": "https://a.example/", "residency": "eu", "purposes": []}},
        "tenants": {
            f"TENANT_{number:05}": {
                "residency": "eu",
                "purposes": ["support"],
                "agents": ["records"],
                "autonomy_tier": 1,
                "customer_ids": [rf"C{number:05}-\d{{6}}"],
                "dictionary": [f"Project Falcon {number}", f"Königsblau {number}"],
                "hosts": [f"shop{number}.example"],
            }
            for number in range(tenants)
        },
    }


def _memory_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _texts(tenants: int) -> list[str]:
    """Messages of some 500 bytes; in one of ten stands a customer id of some tenant."""
    rng = random.Random(5)
    made = []
    for number in range(_MESSAGES):
        text = " ".join(rng.choices(_WORDS, k=_BYTES // 5))[:_BYTES]
        if number % 10 == 0:
            text = f"about C{rng.randrange(tenants):05}-{rng.randrange(10**6):06}: {text}"
        made.append(text)
    return made


def measure(tenants: int) -> dict[str, float]:
    """One number of tenants, in this process."""
    from mc_platform.model.catalogue import parse_catalogue
    from mc_platform.screen import LibraryScreener
    from mc_platform.screen.detectors.tenant_terms import check_patterns, know_customer_ids

    document = catalogue(tenants)
    before_mib = _memory_mib()
    began = time.process_time()
    parsed = parse_catalogue(document)
    parsed_at = time.process_time()
    parsed_s = parsed_at - began
    for tenant in parsed.tenants.values():
        assert not check_patterns(tenant.customer_ids)
    know_customer_ids(parsed.customer_ids.patterns)
    scopes = [parsed.scope_of(tenant) for tenant in parsed.tenants.values()]
    start_s = time.process_time() - parsed_at
    added_mib = _memory_mib() - before_mib
    screener = LibraryScreener()
    few = parse_catalogue(catalogue(_FEW))
    of_few, of_all = _texts(_FEW), _texts(tenants)
    sides = {
        "few": ([few.scope_of(tenant) for tenant in few.tenants.values()], of_few),
        "one": (scopes[:1], of_all),
        "in_turn": (scopes, of_all),
    }
    spent: dict[str, list[float]] = {name: [] for name in sides}
    number = 0
    for _ in range(_ROUNDS):
        for name, (asked, texts) in sides.items():
            began = time.process_time()
            for text in texts:
                screener.screen(({"text": text},), asked[number * 7 % len(asked)])
                number += 1
            spent[name].append((time.process_time() - began) / len(texts))
    cost = {name: statistics.median(times[1:]) for name, times in spent.items()}
    return {
        "tenants": tenants,
        "parse_s": parsed_s,
        "screening_start_s": start_s,
        "added_mib": added_mib,
        "resident_mib": _memory_mib(),
        "few_us": cost["few"] * 1e6,
        "message_us": cost["one"] * 1e6,
        "in_turn_us": cost["in_turn"] * 1e6,
    }


def _figures(found: list[dict[str, float]]) -> list[Figure]:
    """Each column as a series by tenants; what the most tenants cost, against the targets."""
    columns = {
        "start, catalogue": ("parse_s", "CPU-s"),
        "start, screening": ("screening_start_s", "CPU-s"),
        "memory": ("resident_mib", "MiB"),
        "screening a message, of one tenant": ("message_us", "CPU us"),
        "screening a message, tenants in turn": ("in_turn_us", "CPU us"),
    }
    series = [
        Series(
            what=what,
            size="tenants",
            unit=unit,
            points=tuple((one["tenants"], (one[column],)) for one in found),
        )
        for what, (column, unit) in columns.items()
    ]
    last = found[-1]
    most, few = f"{last['tenants']:.0f} tenants", f"{_FEW} tenants"
    start_s = last["parse_s"] + last["screening_start_s"]
    added_us = max(last["message_us"], last["in_turn_us"]) - last["few_us"]
    return [
        *series,
        Row(
            what=f"start, {most}",
            values=(start_s,),
            unit="CPU-s",
            at_most=MOST_START_S,
        ),
        Row(
            what=f"memory, {most}",
            values=(last["resident_mib"],),
            unit="MiB",
            at_most=MOST_MIB,
        ),
        Row(
            what=f"added to a message, {most}",
            beside=few,
            values=(added_us,),
            unit="CPU us",
            at_most=MOST_ADDED_US,
        ),
    ]


def main() -> int:
    """Print the tables; see the module for the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tenants", default=",".join(map(str, NUMBERS)))
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help="the same: all sizes are quick")
    add_option(parser)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(measure(given.only)))
        return 0
    found: list[dict[str, float]] = []
    for number in map(int, given.tenants.split(",")):
        side = [sys.executable, __file__, "--only", str(number)]
        found.append(json.loads(subprocess.run(side, check=True, stdout=subprocess.PIPE).stdout))
    return finish(_figures(found), given.rows)


if __name__ == "__main__":
    sys.exit(main())
