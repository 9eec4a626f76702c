"""The file of the other regions: read strictly, and never a way to send credentials in clear."""

from __future__ import annotations

import json

import pytest

from mc_platform.adapters.peer_regions import HttpPeerRegions
from mc_platform.errors import Misconfigured


def _of(tmp_path, document):
    path = tmp_path / "peers.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return HttpPeerRegions(path, region="eu-1", timeout_s=1.0)


def test_peers_are_named_by_their_file(tmp_path):
    """`https` anywhere, `http` on this machine."""
    made = _of(
        tmp_path,
        {
            "peers": [
                {"region": "eu-2", "url": "https://eu-2.example.com/"},
                {"region": "eu-3", "url": "http://127.0.0.1:8081"},
            ]
        },
    )
    assert made.names == {"eu-2", "eu-3"}
    assert HttpPeerRegions(None, region="eu-1", timeout_s=1.0).names == frozenset()


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"peers": [{"region": "eu-2", "url": "http://eu-2.example.com"}]}, "must be https"),
        ({"peers": [{"region": "eu-2", "url": "https://u:p@eu-2.example.com"}]}, "credential"),
        ({"peers": [{"region": "eu-2", "url": "https://eu-2.example.com/a"}]}, "without a path"),
        ({"peers": [{"region": "EU", "url": "https://eu-2.example.com"}]}, "region"),
        ({"peers": [{"region": "eu-2", "url": "https://x.example", "token": "t"}]}, "token"),
        ({"peers": [{"region": "eu-2", "url": "https://x.example"}] * 2}, "twice"),
        ({"peers": [{"region": "eu-1", "url": "https://x.example"}]}, "is this region"),
        ({"peers": [{"region": "eu-2", "url": "https://x.example", "ca_file": "/no"}]}, "ca_file"),
        ('{"peers": [], "peers": []}', "peers"),
        ("{", "JSON"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, document, why):
    """With the key, before anything is sent."""
    with pytest.raises(Misconfigured) as error:
        _of(tmp_path, document)
    assert why in error.value.message


def test_an_absent_file_is_told_by_its_name(tmp_path):
    """The setting names it."""
    with pytest.raises(Misconfigured, match=r"MC_PEERS_FILE .* cannot be read"):
        HttpPeerRegions(tmp_path / "none.json", region="eu-1", timeout_s=1.0)
