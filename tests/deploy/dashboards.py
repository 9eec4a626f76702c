"""The queries of the delivered dashboards, as Grafana would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "deploy" / "dashboards"
# What Grafana puts in: a choice of every tenant is the pattern `.+`
VARIABLES = {"$tenant": ".+", "$__rate_interval": "1m"}


def dashboards() -> dict[str, dict[str, Any]]:
    """Each dashboard by its file's name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def filled_queries() -> Iterator[tuple[str, str]]:
    """Title and query of each panel's targets, with the variables replaced."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"]
                for variable, value in VARIABLES.items():
                    query = query.replace(variable, value)
                yield f"{name}: {panel['title']}", query
