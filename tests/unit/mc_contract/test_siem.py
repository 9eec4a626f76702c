"""What service and operations make of a SIEM's URL."""

from __future__ import annotations

import re

import pytest

from mc_contract.siem import HEC_EVENT_PATH, INDEX_PATTERN, bulk_url, collector_url, is_loopback


@pytest.mark.parametrize(
    "url",
    [
        "https://s:8088",
        "https://s:8088/",
        "https://s:8088/services/collector",
        "https://s:8088/services/collector/event",
        "https://s:8088/services/collector/raw/1.0",
    ],
)
def test_any_url_of_the_collector_leads_to_its_event_endpoint(url):
    """Operators paste different ones."""
    assert collector_url(url, HEC_EVENT_PATH) == "https://s:8088/services/collector/event"


def test_a_collector_behind_a_path_keeps_it():
    """A proxy may serve it below a path of its own, with a query."""
    url = collector_url("https://s/splunk/services/collector?a=b", HEC_EVENT_PATH)
    assert url == "https://s/splunk/services/collector/event?a=b"


@pytest.mark.parametrize(
    "url", ["https://s:9200", "https://s:9200/", "https://s:9200/_bulk", "https://s:9200/x/_bulk"]
)
def test_any_url_of_elastic_leads_to_the_bulk_endpoint_of_the_index(url):
    """The index is the setting's."""
    assert bulk_url(url, "x") == "https://s:9200/x/_bulk"
    assert bulk_url("https://s/es/", "x", "q=1") == "https://s/es/x/_bulk?q=1"


@pytest.mark.parametrize("name", ["mc-audit", "logs-mc.audit-prod", "a", "0_x"])
def test_names_of_indexes(name):
    """Lower case with dots, dashes and underscores inside."""
    assert re.fullmatch(INDEX_PATTERN, name)


@pytest.mark.parametrize(
    "name", ["", "_all", "-x", "A", "a b", "a/b", "a,b", "*", ".", "..", "a..b", "a.", "a\n", "a?b"]
)
def test_what_is_no_name_of_an_index(name):
    """Nothing that addresses something else than one index."""
    assert not re.fullmatch(INDEX_PATTERN, name)


def test_which_hosts_are_this_machine():
    """By their text alone: a name that happens to resolve to loopback is another machine."""
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("siem", "10.0.0.1", "localhost.example", "0.0.0.0", "")))
