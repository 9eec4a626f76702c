"""Make prometheus-rule.yaml of the rules in deploy/prometheus/rules, which stay the one source.

python deploy/kubernetes/monitoring/build.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "prometheus" / "rules"
TARGET = HERE / "prometheus-rule.yaml"
_HEAD = """\
# Made by build.py of deploy/prometheus/rules: change those, and make it again.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: agent-workbench
  labels: {app.kubernetes.io/part-of: mc-platform}
spec:
  groups:
"""


def built() -> str:
    """The object's text: the groups of all files, with their comments, two columns further in."""
    groups = []
    for path in sorted(RULES.glob("*.rules.yml")):
        _, found, text = path.read_text(encoding="utf-8").partition("\ngroups:\n")
        if not found:
            raise SystemExit(f"{path} has no line `groups:`")
        groups.append("".join(f"  {line}\n" if line else "\n" for line in text.splitlines()))
    return _HEAD + "".join(groups)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(built() != TARGET.read_text(encoding="utf-8"))
    TARGET.write_text(built(), encoding="utf-8")
