"""A Kubernetes cluster, as far as it is operated yet: one HorizontalPodAutoscaler and its events.

The whole environment (replicas, cutover, logs) is not here yet: `open_environment("kubernetes")`
refuses.
"""

from __future__ import annotations

from mc_ops.environments.kubernetes.autoscaler import Autoscaler, Autoscalers, checked_name

__all__ = ["Autoscaler", "Autoscalers", "checked_name"]
