"""Makes Grafana's JSON of `panels.yml`; a test holds what is checked in against it.

    python deploy/dashboards/build.py

The JSON is of the schema that Grafana 10 and later read. Ids are by place, so a change of one
panel changes one place of the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _STAT_WIDTH, _GRID = 12, 4, 24
_HEIGHT, _STAT_HEIGHT = 8, 4
_SCHEMA = 39


def build() -> dict[str, str]:
    """The text of each dashboard's file, by the file's name."""
    short = yaml.safe_load((FOLDER / "panels.yml").read_text(encoding="utf-8"))
    return {
        f"{name}.json": json.dumps(_dashboard(name, told), indent=2) + "\n"
        for name, told in short.items()
    }


def _dashboard(name: str, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": f"mc-{name}",
        "title": told["title"],
        "description": told["about"],
        "tags": ["mc-platform"],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": _variables()},
        "links": [
            {
                "type": "dashboards",
                "title": "MC Platform",
                "tags": ["mc-platform"],
                "asDropdown": True,
                "keepTime": True,
            }
        ],
        "panels": _panels(told["panels"]),
    }


def _variables() -> list[dict[str, Any]]:
    tenants = "label_values(mc_a2a_requests_total, tenant)"
    return [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "tenant",
            "type": "query",
            "label": "Tenant",
            "datasource": _SOURCE,
            "definition": tenants,
            "query": {"query": tenants, "refId": "tenants"},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _panels(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The panels, laid out from left to right and downwards."""
    x = y = row = 0
    made = []
    for number, panel in enumerate(panels, start=1):
        stat = panel.get("kind") == "stat"
        width, height = (_STAT_WIDTH, _STAT_HEIGHT) if stat else (_WIDTH, _HEIGHT)
        if x + width > _GRID or (row and height != row):
            x, y, row = 0, y + row, 0
        place = {"x": x, "y": y, "w": width, "h": height}
        made.append(_panel(number, panel, place, stat=stat))
        x, row = x + width, height
    return made


def _panel(
    number: int, panel: dict[str, Any], place: dict[str, int], *, stat: bool
) -> dict[str, Any]:
    queries = panel.get("queries") or [
        {"query": panel["query"], "legend": panel.get("legend", panel["title"])}
    ]
    return {
        "id": number,
        "type": "stat" if stat else "timeseries",
        "title": panel["title"],
        "description": panel.get("about", ""),
        "gridPos": place,
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _SOURCE,
                "expr": one["query"],
                "legendFormat": one["legend"],
                **({"instant": True, "range": False} if stat else {}),
            }
            for at, one in enumerate(queries)
        ],
        "fieldConfig": {"defaults": _field(panel, stat=stat), "overrides": []},
        "options": _options(stat=stat),
    }


def _field(panel: dict[str, Any], *, stat: bool) -> dict[str, Any]:
    limits = panel.get("limits", {})
    lines = {"custom": {"thresholdsStyle": {"mode": "line" if limits else "off"}}}
    return {
        "unit": panel["unit"],
        "noValue": "no data",
        "thresholds": {"mode": "absolute", "steps": _steps(limits)},
        **({} if stat else lines),
    }


def _steps(limits: dict[str, float]) -> list[dict[str, Any]]:
    """Colours from the lowest value upwards; Grafana wants the first step without a value."""
    if "red_below" in limits:
        return [{"color": "red", "value": None}, {"color": "green", "value": limits["red_below"]}]
    above = [
        {"color": name.removesuffix("_above"), "value": value} for name, value in limits.items()
    ]
    return [{"color": "green", "value": None}, *above]


def _options(*, stat: bool) -> dict[str, Any]:
    if stat:
        return {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "value",
            "graphMode": "none",
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def main() -> int:
    """Write the files."""
    for name, text in build().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
