"""What requests cost: each tenant's own, its share of the rest, and the bill beside the sum."""

from __future__ import annotations

import pytest
from tests.fake_replica import replica

from mc_ops.errors import UnusableInput
from mc_ops.slo import Measure, Prices, ScrapeSource, costs, read_prices

PRICES = Prices.model_validate(
    {
        "currency": "EUR",
        "cpu_second": 0.01,
        "targets": {"per_request": 0.001, "tenants": {"TENANT_002": 0.0001}},
    }
)


@pytest.fixture
def blue():
    """TENANT_001 used 6 of 10 CPU-seconds for 300 requests, TENANT_002 2 for 100; 2 are nobody's."""
    with replica() as made:
        made.samples["process_cpu_seconds_total"] = 10
        made.count("mc_cost_cpu_seconds_total", 6, tenant="TENANT_001")
        made.count("mc_cost_cpu_seconds_total", 2, tenant="TENANT_002")
        made.answered("200", 300)
        made.answered("200", 100, tenant="TENANT_002")
        made.answered("200", 5000, route="health", tenant="unknown")
        yield made


def measured(one, prices=PRICES, **more):
    return costs(Measure(ScrapeSource({"blue-1": one.url})), prices, **more)


def by_name(told):
    return {one.name: one for one in told.figures}


def test_what_nobody_used_is_shared_by_use_and_told_apart(blue):
    """The two seconds of start-up and background are split as the eight were: three to one."""
    first, second = measured(blue).tenants
    assert (first.direct_cpu_s, first.shared_cpu_s) == (6, 1.5)
    assert (second.direct_cpu_s, second.shared_cpu_s) == (2, 0.5)
    assert first.cost == pytest.approx(0.075)
    assert first.per_request == pytest.approx(0.00025)


def test_a_target_of_a_tenant_is_its_own(blue):
    """All together are under the target; TENANT_002 is over its own."""
    figures = by_name(measured(blue))
    assert figures["cost-per-request"].verdict == "met"
    assert figures["cost-per-request"].value == pytest.approx(0.1 / 400)
    assert figures["cost-per-request:TENANT_002"].verdict == "missed"


def test_the_tenants_sum_is_held_against_the_bill(blue):
    """What is billed and not allotted is a finding, whichever way."""
    assert by_name(measured(blue))["cost-reconciliation"].verdict == "met"
    told = measured(blue, billed=0.102)
    assert told.bill.difference == pytest.approx(-0.0196, abs=1e-4)
    assert by_name(told)["cost-reconciliation"].verdict == "missed"
    assert by_name(measured(blue, billed=0.1005))["cost-reconciliation"].verdict == "met"
    assert (
        by_name(measured(blue, billed=1e-320))["cost-reconciliation"].reason == "nothing is billed"
    )


def test_metering_more_than_was_used_is_a_finding(blue):
    """Tenants cannot have used more CPU than their processes did: then the meter is wrong."""
    blue.samples["process_cpu_seconds_total"] = 7
    told = by_name(measured(blue))["cost-reconciliation"]
    assert told.verdict == "missed"
    assert "8 s, their processes used only 7 s" in told.reason


def test_metered_items_and_reserved_capacity_are_added(blue):
    """A price for an operation, and a core that is paid for though nobody used it."""
    blue.operations("TENANT_002", completed=10)
    del blue.samples["process_start_time_seconds"]
    prices = Prices.model_validate(
        {
            "currency": "EUR",
            "cpu_second": 0.01,
            "reserved_cores_per_replica": 1,
            "metered": {"operation": 0.5},
            "targets": {"per_request": 1},
        }
    )
    told = measured(blue, prices)
    assert told.tenants[1].metered == {"operation": 10}
    assert told.tenants[1].cost == pytest.approx(0.025 + 5)
    # The replica does not tell how long it has run: what is idle is unknown, hence the cost
    assert by_name(told)["cost-per-request"].verdict == "unknown"


def test_without_prices_cpu_is_told_and_money_is_not(blue):
    """A made-up price would make a made-up cost."""
    (told,) = measured(blue, None).figures
    assert (told.value, told.verdict) == (None, "not-applicable")
    assert told.detail["direct_cpu_ms_per_request"] == pytest.approx(20)


def test_a_hundred_requests_are_the_least():
    """With fewer, start-up would be most of what a request costs."""
    with replica() as one:
        one.samples["process_cpu_seconds_total"] = 10
        one.count("mc_cost_cpu_seconds_total", 1, tenant="TENANT_001")
        one.answered("200", 99)
        told = by_name(measured(one))["cost-per-request"]
    assert (told.verdict, told.few) == ("unknown", True)


def test_prices_are_read_from_a_file(tmp_path):
    """Currency and price are needed, the rest is optional."""
    path = tmp_path / "prices.toml"
    path.write_text(
        'currency = "EUR"\ncpu_second = 1e-5\nreserved_cores_per_replica = 0.5\n'
        "[metered]\nrequest = 0\n[targets]\nper_request = 1\n[targets.tenants]\nTENANT_001 = 2\n"
    )
    told = read_prices(path)
    assert (told.currency, told.cpu_second, told.reserved_cores_per_replica) == ("EUR", 1e-5, 0.5)
    assert told.items == {"request": 0}
    assert (told.targets.per_request, told.targets.tenants) == (1, {"TENANT_001": 2})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "currency is missing, must be 1 to 8 letters; cpu_second is missing"),
        ('currency = "EUR"', "cpu_second is missing, must be a number from 0 to 1e\\+09"),
        ('currency = "EUR"\ncpu_second = -1', "cpu_second is -1, must be a number from 0 to"),
        ('currency = "EUR"\ncpu_second = nan', "cpu_second is nan, must be a number from 0 to"),
        ('currency = "EUR"\ncpu_second = 1e308', r"cpu_second is 1e\+308, must be a number"),
        ('currency = "EUR"\ncpu_second = true', "cpu_second is true, must be a number"),
        ('currency = "EUR"\ncpu_second = "1"', 'cpu_second is "1", must be a number'),
        ('currency = "EUR"\ncpu_seconds = 1', "cpu_seconds is unknown; did you mean cpu_second?"),
        (
            'currency = "EUR"\ncpu_second = 1\n[metered]\nbytes = 1',
            "metered.bytes is unknown; known: operation, request",
        ),
        ('currency = "EUR"\ncpu_second = 1\nmetered = 1', "metered is 1, must be a table"),
        ('currency = "€"\ncpu_second = 1', "must be 1 to 8 letters"),
        ("currency = ", "is not TOML"),
    ],
)
def test_a_price_that_is_none_is_refused(tmp_path, text, said):
    """Each defect is named with its key."""
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(UnusableInput, match=said):
        read_prices(path)


def test_a_missing_file_of_prices_is_refused(tmp_path):
    """A path that leads nowhere is not taken for "no prices"."""
    with pytest.raises(UnusableInput, match="cannot be read") as refused:
        read_prices(tmp_path / "none.toml")
    assert "make a file" in refused.value.hint
