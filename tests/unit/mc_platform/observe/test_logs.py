"""Log lines keep the runbook's two greps exact, whatever they carry."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from mc_platform.observe.logs import DELIVERY, DENIAL, render

TEXT = st.text(max_size=30) | st.sampled_from(
    [
        "policy deny",
        "siem success",
        "policydeny",
        "siemsuccess",
        "policy",
        "deny",
        "siem",
        "success",
    ]
)
FIELDS = st.dictionaries(TEXT.filter(lambda key: key != "event"), TEXT, max_size=6)


def test_a_denial_and_a_delivery_are_found():
    """The contract's own lines match, each its own grep and not the other's."""
    denial = render(None, "", {"event": DENIAL, "decision": "deny"})
    delivery = render(None, "", {"event": DELIVERY, "status": "success"})
    assert re.search(r"policy.*deny", denial)
    assert not re.search(r"siem.*success", denial)
    assert re.search(r"siem.*success", delivery)
    assert not re.search(r"policy.*deny", delivery)


@given(TEXT, FIELDS)
def test_no_other_line_matches_and_nothing_is_changed(event, fields):
    """Escaping hides a value from the grep and leaves the JSON what it was."""
    line = render(None, "", {"event": event, **fields})
    assert json.loads(line) == {"event": event, **fields}
    assert "\n" not in line
    if event != DENIAL:
        assert not re.search(r"policy.*deny", line)
    if event != DELIVERY:
        assert not re.search(r"siem.*success", line)
