"""What `mcctl up` tells of credentials that it has imported."""

from __future__ import annotations

import json

from mc_ops.environments.local.applied import credential_changes


def test_names_of_thousands_of_credentials_are_counted(tmp_path):
    """The first are named; of the rest there is a number. What was refused is told elsewhere."""
    log = tmp_path / "credentials.log"
    names = [f"T{number:05}" for number in range(10_000)]
    log.write_text("before\n" + json.dumps({"credential_changes": {"added": names}}) + "\n")
    [line] = credential_changes(log, 0, {"T00001"})
    assert line.startswith("credentials T00000, T00002, T00003")
    assert line.endswith("T00020 and 9979 more: now valid")
