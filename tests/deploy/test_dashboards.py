"""The dashboards: made of their short form, and each query asks for what is exposed."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess

import pytest
import yaml
from tests.deploy.dashboards import FOLDER, dashboards, filled_queries
from tests.deploy.exposed import faults
from tests.deploy.test_rules import CLOSED, TENANTS, _recorded

from mc_platform.observe import metrics


def _build():
    spec = importlib.util.spec_from_file_location("build_dashboards", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build()


def test_what_is_checked_in_is_what_the_short_form_makes():
    """Else: python deploy/dashboards/build.py."""
    made = _build()
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == made


def test_panels_ask_for_what_is_exposed():
    """Names, labels and closed values of every query."""
    metrics.begin(TENANTS)
    found = [
        fault
        for title, query in filled_queries()
        for fault in faults(title, query, _recorded(), CLOSED)
    ]
    assert found == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_every_query_parses(tmp_path):
    """By Prometheus' own parser, as rules of a file that is never loaded."""
    rules = [
        {"record": f"x:panel:{number}", "expr": query}
        for number, (_, query) in enumerate(filled_queries())
    ]
    path = tmp_path / "panels.rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_panels_lie_side_by_side_and_name_no_data_source(name):
    """Grafana gets ids, places without overlap, and a data source that is chosen, not fixed."""
    dashboard = dashboards()[name]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
    assert dashboard["uid"] == f"mc-{name.removesuffix('.json')}"


def test_every_exposed_metric_of_ours_is_on_a_dashboard_or_in_a_rule():
    """A figure that nobody looks at is a figure that nobody misses."""
    from tests.deploy.exposed import asked, series
    from tests.deploy.test_rules import _rules

    expressions = [query for _, query in filled_queries()]
    expressions += [rule["expr"] for kind in ("alert", "record") for rule in _rules(kind)]
    used = {name for expression in expressions for name in asked(expression).names}
    bases = {name for name in series() if name.startswith("mc_")}
    unused = {name for name in bases - used if not name.endswith(("_bucket", "_count", "_sum"))}
    assert unused == set()
