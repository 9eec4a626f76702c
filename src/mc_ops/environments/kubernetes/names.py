"""What the objects of deploy/kubernetes are called, and the labels that their pods have."""

from __future__ import annotations

from typing import Final

from mc_ops.environments.interface import BASELINE, Colour, Group

SERVICE: Final = "agent-workbench"  # the Service that clients reach, and the container of a pod
SETTINGS: Final = "mc-platform-config"  # the ConfigMap of a region's settings
SECRETS: Final = "mc-platform-secrets"
CATALOGUE: Final = "mc-platform-catalogue"
CATALOGUE_FILE: Final = "catalogue.toml"
COLOUR: Final = "mc-platform/colour"  # the label of a side, and of the fresh baseline
APP: Final = "app.kubernetes.io/name"
LEASE: Final = "mcctl"  # who changes the platform with mcctl holds it
PORT: Final = 8080
ADMIN_SECRET: Final = "mc-platform-admin"  # noqa: S105 - the database administrator's URL
OURS: Final = {"app.kubernetes.io/managed-by": "mcctl"}  # label of what mcctl makes and removes
CHANGED_BY: Final = "mc-platform/changed-by"  # annotation: who changed it last with mcctl, and how
HELD: Final = "mc-platform/held"  # annotation of an autoscaler that is held still: its own bounds
# What stands beside the platform of a test cluster, by the setting that says where
NEIGHBOURS: Final = {
    "records-agent": "MC_RECORDS_AGENT_URL",
    "fulfilment-agent": "MC_FULFILMENT_AGENT_URL",
    "siem": "AUDIT_SIEM_URL",
}

_DEPLOYMENTS: dict[Group, str] = {
    Colour.blue: SERVICE,
    Colour.green: f"{SERVICE}-green",
    BASELINE: f"{SERVICE}-baseline",
}


def deployment_of(group: Group) -> str:
    """The Deployment of a side, or of the fresh baseline; its HPA and PDB are called as it."""
    return _DEPLOYMENTS[group]


def labels_of(group: Group) -> dict[str, str]:
    """What selects the pods of a side, or of the fresh baseline."""
    return {APP: SERVICE, COLOUR: str(group)}
