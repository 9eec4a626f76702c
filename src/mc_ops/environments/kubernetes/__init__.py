"""A Kubernetes cluster: the platform that deploy/kubernetes brings up there, and its autoscalers."""

from __future__ import annotations

from mc_ops.environments.kubernetes.autoscaler import Autoscaler, Autoscalers
from mc_ops.environments.kubernetes.client import Client, checked_name
from mc_ops.environments.kubernetes.names import deployment_of
from mc_ops.environments.kubernetes.rights import Right, allowed, role

__all__ = [
    "Autoscaler",
    "Autoscalers",
    "Client",
    "Right",
    "allowed",
    "checked_name",
    "deployment_of",
    "role",
]
