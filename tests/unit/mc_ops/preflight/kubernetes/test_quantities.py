"""Kubernetes' quantities, and what a pod's containers ask for together."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.quantities import asked_for, portion, quantity
from mc_ops.preflight.kubernetes.workloads import pods_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("1.5", "1.5"),
        (2, "2"),
        (0.1, "0.1"),
        ("2Gi", str(2 * 2**30)),
        ("1k", "1000"),
        ("1Ki", "1024"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("1E", str(10**18)),
        ("100n", "1e-7"),
    ],
)
def test_a_quantity_is_read_exactly(text, value):
    """In decimal: 0.1 is a tenth."""
    assert quantity(text, "x") == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Gi",
        "1.2.3",
        "1KiB",
        "1 Gi",
        "five",
        None,
        True,
        "1gi",
        "NaN",
        "1e999999",
        "1\n",
        "9" * 50,
    ],
)
def test_what_is_no_quantity_is_refused(text):
    """With where it stands."""
    with pytest.raises(UnusableInput, match="here"):
        quantity(text, "here")


def test_a_portion_is_a_number_or_a_percentage():
    """Rounded as the API does: up for what may be away, down for what must be there."""
    assert portion(2, 8, "x", up=True) == 2
    assert (portion("25%", 9, "x", up=True), portion("25%", 9, "x", up=False)) == (3, 2)
    for bad in ("a quarter", "25.5%", True, None):
        with pytest.raises(UnusableInput):
            portion(bad, 9, "x", up=True)


def test_a_pod_asks_for_what_its_containers_need_at_once():
    """What is done before the others begin counts only where it is more; a side-car counts with them."""

    def box(requests=None, limits=None, **more):
        return {"resources": {"requests": requests, "limits": limits}, **more}

    def asks(containers, before=(), kind="requests"):
        spec = {"containers": containers, "initContainers": list(before)}
        [pod] = pods_of([Object({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec})])
        return asked_for(pod, kind, "cpu")

    one = box({"cpu": "500m"})
    assert asks([one, one]) == 1
    assert asks([one], [box({"cpu": "2"})]) == 2
    assert asks([one, one], [box({"cpu": "600m"})]) == 1
    assert asks([one], [box({"cpu": "2"}, restartPolicy="Always")]) == Decimal("2.5")
    assert asks([box(limits={"cpu": "1"})]) == 1  # the API takes the limit
    assert asks([one, box()]) is None
    assert asks([one], kind="limits") is None
