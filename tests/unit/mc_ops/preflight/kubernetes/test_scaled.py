"""An autoscaler with what it scales."""

from __future__ import annotations

from mc_ops.environments.kubernetes.names import HELD
from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.scaled import Scaled


def test_an_autoscaler_held_for_a_comparison_counts_with_its_own_bounds():
    """What it will be again is checked, not what it is for some minutes."""
    held = {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"annotations": {HELD: '{"minReplicas": 3, "maxReplicas": 8}'}},
        "spec": {"minReplicas": 3, "maxReplicas": 3, "metrics": []},
    }
    one = Scaled(Object(held), None, live=True)
    assert (one.held, one.least, one.most) == (True, 3, 8)
    assert one.spec["metrics"] == []
    free = Scaled(Object({**held, "metadata": {}}), None, live=True)
    assert (free.held, free.least, free.most) == (False, 3, 3)
    written = Scaled(Object(held), None)  # in a manifest: nobody holds it
    assert (written.held, written.least, written.most) == (False, 3, 3)
