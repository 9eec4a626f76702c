"""How far a region is behind is asked of a replica that may just have begun."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.loopback import serving_text

from mc_ops.drills import two_regions
from mc_ops.errors import CouldNotTell


def behind(answers):
    """What a drill takes for the lag, of a replica whose metrics are these, one after the other."""
    given = iter(answers)
    with serving_text(lambda _: next(given)) as url:
        replica = SimpleNamespace(url=url)
        region = SimpleNamespace(
            url=url, active_colour=lambda: "blue", instances=lambda _: [replica]
        )
        return two_regions.lag_of(region, "local-1")


def told(peer, lag_s):
    return f'mc_up 1\nmc_replication_lag_seconds{{peer="{peer}"}} {lag_s}\n'


def test_a_replica_that_does_not_know_its_peer_yet_is_asked_again():
    assert behind(["", "", told("local-1", 0.25)]) == 0.25


def test_one_that_knows_none_has_no_lag(monkeypatch):
    monkeypatch.setattr(two_regions, "_TOLD_WITHIN_S", 0.0)
    with pytest.raises(CouldNotTell, match="does not tell how far it is behind local-1"):
        behind([told("local-3", 1.0)] * 2)
