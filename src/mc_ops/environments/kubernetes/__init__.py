"""A Kubernetes cluster: the platform that deploy/kubernetes brings up there, and its autoscalers."""

from __future__ import annotations

from mc_ops.environments.kubernetes.autoscaler import Autoscaler, Autoscalers
from mc_ops.environments.kubernetes.client import checked_name

__all__ = ["Autoscaler", "Autoscalers", "checked_name"]
