"""What a canary run is asked to do, checked before anything is sent: URLs, pairs, margin, token."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mc_contract.judgement.verdict import (
    FULL_MARGIN,
    FULL_PAIRS,
    MOST_INSTANCES,
    SamplesUnusable,
    error_tolerance,
    is_rehearsal,
    rehearsal_margin,
)
from mc_ops.errors import NotAllowed, UnusableInput
from mc_ops.urls import plain_url

DEFAULT_RATE = 50.0  # pairs a second: ten minutes make 30,000
TENANT = "CANARY"
TOKEN_ENV = "MC_CANARY_TOKEN"  # noqa: S105 - the variable's name
_MOST_PAIRS = 10_000_000
_FASTEST_RATE = 5_000.0
# The driver's lateness (p99, seconds) that voids a run; a laptop that also runs both sides and
# the database cannot hold the first, and a rehearsal does not claim what it would protect.
LATENESS_LIMIT_S, REHEARSAL_LATENESS_LIMIT_S = 0.005, 0.050


@dataclass(frozen=True, slots=True)
class Size:
    """How many pairs a run has, and the margin that they decide."""

    pairs: int
    margin: float

    @property
    def rehearsal(self) -> bool:
        """Whether such a run gives less than the full verdict."""
        return is_rehearsal(margin=self.margin, planned_pairs=self.pairs)


@dataclass(frozen=True, slots=True)
class Plan(Size):
    """A run's declared parameters; everything the verdict depends on besides the samples."""

    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    rate: float

    @property
    def instances(self) -> int:
        """Instances a side, by which samples are told apart; 1 when the sides have not as many."""
        return len(self.baseline) if len(self.baseline) == len(self.candidate) else 1

    @property
    def lateness_limit_s(self) -> float:
        """The p99 of the driver's lateness above which the run is void."""
        return REHEARSAL_LATENESS_LIMIT_S if self.rehearsal else LATENESS_LIMIT_S

    def parameters(self) -> dict[str, object]:
        """As `verdict.json` has them: what `rejudge` takes, and more."""
        return {
            "margin": self.margin,
            "planned_pairs": self.pairs,
            "instances": self.instances,
            "rehearsal": self.rehearsal,
            "error_tolerance": error_tolerance(margin=self.margin, planned_pairs=self.pairs),
            "rate_pairs_per_s": self.rate,
        }


def make_plan(
    baseline: Sequence[str],
    candidate: Sequence[str],
    *,
    minutes: float,
    rate: float = DEFAULT_RATE,
    margin: float | None = None,
) -> Plan:
    """Check what was asked for, and fix the margin by the pairs planned if none is given.

    Raises:
        UnusableInput: For a URL that is not http(s), a length, rate or margin that makes no
            sense, the same URL on both sides, or too few pairs for any margin.
    """
    size = size_of(minutes=minutes, rate=rate, margin=margin)
    sides = _urls("baseline", baseline), _urls("candidate", candidate)
    plan = Plan(size.pairs, size.margin, *sides, rate)
    both = sorted({_place(url) for url in plan.baseline} & {_place(url) for url in plan.candidate})
    if both:
        raise UnusableInput(
            f"{both[0]} is baseline and candidate at once",
            hint="compared with itself everything is equal: mcctl instances --colour COLOUR "
            "prints each side's URLs",
        )
    return plan


def size_of(*, minutes: float, rate: float = DEFAULT_RATE, margin: float | None = None) -> Size:
    """The pairs that a run of that length has, and the margin that they decide if none is given.

    Raises:
        UnusableInput: For a length, rate or margin that makes no sense, or too few pairs for any
            margin.
    """
    if not (math.isfinite(minutes) and minutes > 0):
        raise UnusableInput(f"minutes must be above 0, got {minutes}")
    if not (math.isfinite(rate) and 0 < rate <= _FASTEST_RATE):
        raise UnusableInput(f"rate must be above 0 and at most {_FASTEST_RATE:.0f}, got {rate}")
    if margin is not None and not (math.isfinite(margin) and 0 < margin <= 1):
        raise UnusableInput(
            f"margin must be above 0 and at most 1, got {margin}",
            hint="0.05 means: p95 at most 5 % worse",
        )
    wanted = minutes * 60 * rate
    if not 0.5 < wanted <= _MOST_PAIRS:  # it may be infinite, so it is not rounded before
        raise UnusableInput(
            f"{minutes} minutes at {rate} pairs/s make {wanted:.0f} pairs, "
            f"expected 1 to {_MOST_PAIRS}"
        )
    pairs = round(wanted)
    return Size(pairs, _margin_for(pairs) if margin is None else margin)


def token_source(env: Mapping[str, str]) -> str:
    """Where `read_token` takes the token from."""
    return TOKEN_ENV if env.get(TOKEN_ENV, "").strip() else "secrets/credentials.json"


def read_token(env: Mapping[str, str], home: Path) -> str:
    """The canary tenant's bearer token: `MC_CANARY_TOKEN`, else the local platform's secrets.

    Raises:
        NotAllowed: When there is none.
    """
    token = env.get(TOKEN_ENV, "").strip()
    if token:
        return _sendable(token, TOKEN_ENV)
    try:
        known = json.loads((home / "secrets" / "credentials.json").read_bytes())
        token = str(known[TENANT]["token"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotAllowed(
            f"no token for the canary's tenant {TENANT}",
            hint=f"start the platform (mcctl up), or set {TOKEN_ENV}",
        ) from error
    return _sendable(token, "credentials.json")


def _sendable(token: str, source: str) -> str:
    if token.isascii() and token.isprintable() and " " not in token:
        return token
    raise NotAllowed(
        f"the canary's token in {source} cannot be sent in a header",
        hint="a token is printable ASCII without spaces",
    )


def _margin_for(pairs: int) -> float:
    if pairs >= FULL_PAIRS:
        return FULL_MARGIN
    try:
        return rehearsal_margin(pairs)
    except SamplesUnusable as error:
        raise UnusableInput(error.message, hint=error.hint) from error


def _urls(side: str, urls: Sequence[str]) -> tuple[str, ...]:
    if not urls:
        raise UnusableInput(f"no URL for the {side}", hint=f"--{side} http://host:port")
    if len(urls) > MOST_INSTANCES:
        raise UnusableInput(
            f"{len(urls)} URLs for the {side}, at most {MOST_INSTANCES} can be told apart",
            hint="take some of the instances, chosen at random",
        )
    return tuple(_url(side, url) for url in urls)


def _place(url: str) -> str:
    """A URL with its port written out and no slash at its end: equal when they mean the same."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"


def _url(side: str, url: str) -> str:
    url = plain_url(
        side, url, example="http://127.0.0.1:8080", instead=f"the token comes from {TOKEN_ENV}"
    )
    return url if urlsplit(url).path else f"{url}/"
