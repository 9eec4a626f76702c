"""`python -m tests.crash`: one run; exit 0 all accounted for, 1 not, 2 usage, 3 could not tell."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import httpx
import psycopg

from mc_ops.errors import OpsError

from .adoption import ADOPTED_WITHIN_S
from .platform import CrashPlatform
from .run import Result, Wanted, run

_SETTINGS = {
    # A repeat of a message whose first replica died is answered soon, with the task as it stands.
    "MC_OPERATION_WAIT_S": "5",
    # A tenth of the orders fail on purpose: the breaker would rightly halt them all.
    "MC_BREAKER_ENABLED": "false",
}
_BEGAN = time.monotonic()
_SHOWN_CRASHES = 5
_OK, _FINDING, _COULD_NOT_TELL = 0, 1, 3


def main() -> int:
    """Read the arguments, run, report."""
    asked = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    wanted = Wanted(
        seed=random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed,
        kills=asked.kills,
        outage_s=asked.outage,
        replicas=asked.replicas,
        rate_per_s=asked.rate,
        clients=asked.clients,
        gap_s=asked.gap,
        questions_must_end=not asked.short,
        keep=asked.keep,
        adopted_within_s=asked.adopted_within,
    )
    settings = dict(_SETTINGS)
    if asked.file_after is not None:
        settings["MC_AUDIT_FILE_AFTER_S"] = f"{asked.file_after:g}"
    platform = CrashPlatform(replicas=wanted.replicas, settings=settings)
    try:
        _say(f"seed {wanted.seed}; starting {wanted.replicas} replicas in {platform.home}")
        platform.up()
        result = asyncio.run(run(platform, wanted, _say))
    except (OpsError, psycopg.Error, httpx.HTTPError, OSError) as error:
        _say(f"could not tell: {error}")
        return _COULD_NOT_TELL
    except KeyboardInterrupt:
        _say("interrupted")
        return _COULD_NOT_TELL
    finally:
        platform.remove(keep=wanted.keep)
    if asked.json is not None:
        asked.json.write_text(json.dumps(result.as_dict(), indent=2) + "\n", encoding="utf-8")
    _print(result)
    return _OK if result.good else _FINDING


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="crash-test",
        description="Kill a loaded platform at random moments, then account for everything.",
    )
    parser.add_argument("--kills", type=int, default=200, help="times of kill -9 (200)")
    parser.add_argument(
        "--outage", type=float, default=0.0, metavar="S", help="afterwards: SIEM down for S seconds"
    )
    parser.add_argument("--seed", type=int, help="of faults and requests; drawn and told if absent")
    parser.add_argument("--replicas", type=int, default=2, help="workbench replicas (2)")
    parser.add_argument("--rate", type=float, default=20.0, help="requests/s at most (20)")
    parser.add_argument("--clients", type=int, default=16, help="requests at once at most (16)")
    parser.add_argument("--gap", type=float, default=3.0, help="longest s between faults (3)")
    parser.add_argument(
        "--file-after", type=float, metavar="S", help="MC_AUDIT_FILE_AFTER_S of this platform"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="don't wait the minute in which questions of dead replicas are failed",
    )
    parser.add_argument(
        "--adopted-within",
        type=float,
        default=ADOPTED_WITHIN_S,
        metavar="S",
        help=f"how soon a dead replica's operations must go on ({ADOPTED_WITHIN_S:g})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--keep", action="store_true", help="leave the platform's folder behind")
    asked = parser.parse_args()
    if asked.replicas < 2 or asked.kills < 0 or asked.outage < 0 or asked.rate <= 0:
        parser.error("expected --replicas 2 or more, and no negative numbers")
    return asked


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:5.0f} s  {text}", file=sys.stderr, flush=True)


def _print(result: Result) -> None:
    for name, figure in result.account.figures.items():
        print(f"  {name:<42} {_shown(figure)}")
    print(f"  {'faults':<42} {_shown(dict(result.tally.faults))}")
    for crash in sorted(set(result.crashes))[:_SHOWN_CRASHES]:
        print(f"    internal error: {crash}")
    print()
    for check in result.account.checks:
        word = "ok  " if check.count == 0 else "FAIL"
        print(f"  {word} {check.count:>6}  {check.name:<32} {check.promise}")
        for example in check.examples:
            print(f"                 {example}")
    for problem in result.problems:
        print(f"  FAIL         {problem}")
    verdict = "everything is accounted for" if result.good else "NOT everything is accounted for"
    print(f"\n{verdict} (seed {result.wanted.seed})")


def _shown(figure: object) -> str:
    if isinstance(figure, dict):
        return ", ".join(f"{key} {value}" for key, value in figure.items()) or "none"
    return "-" if figure is None else str(figure)


if __name__ == "__main__":
    sys.exit(main())
