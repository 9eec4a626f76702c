"""`make drills`: the home region killed under load, again and again, on alternating sides.

Two regions of their own, with one tenant that does not wait for the other region and one that does. The table of
all, and the exit code, are those of `mcctl drill run --times N`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import forked, ports
from tests.journeys.conftest import ROOT, Platform, platforms

TENANTS = ("TENANT_001", "TENANT_002")
WAITS = "TENANT_002"


def catalogue(folder: Path) -> Path:
    """The sample catalogue, in which one tenant's answers wait for the other region.

    Questions are answered within the gateway: what is drilled is two regions, and at 100 requests/s the sample
    agent's own server took a quarter of a machine of two cores.
    """
    text = (ROOT / "deploy/local/catalogue.toml").read_text(encoding="utf-8")
    head = f"[tenants.{WAITS}]\n"
    changes = {
        # Degraded rather than refused: else the survivor would serve it only when the other one is back
        head: f'{head}replication = "sync"\npeer_away = "degrade"\n',
        'url = "${MC_RECORDS_AGENT_URL}"': 'agent = "python:mc_samples.records_agent:answer_parts"',
    }
    for one, another in changes.items():
        assert one in text
        text = text.replace(one, another)
    path = folder / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    return path


def packing(platform: Platform, out: Path, pack: Path) -> tuple[str, ...]:
    """The command that packs a drill of what serves now."""
    version = platform.mcctl("--version").stdout.strip()
    return (
        "evidence", "pack", "--run", str(out), "--out", str(pack), "--force", "--release", f"v{version}",
    )  # fmt: skip


def packed(platform: Platform, out: Path, pack: Path) -> dict[str, Any]:
    """The claims of a drill, by id, as they follow from the rows in a pack that verifies."""
    platform.mcctl(*packing(platform, out, pack))
    report = json.loads(platform.mcctl("evidence", "verify", str(pack)).stdout)
    assert report["ok"]
    return {one["id"]: one["recomputed"] for one in report["claims"]}


def main() -> int:
    """Drill, and return mcctl's exit code."""
    parser = argparse.ArgumentParser(prog="make drills")
    parser.add_argument("--times", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests/s, of all tenants")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = {"MC_CATALOGUE": str(catalogue(options.out).absolute())}
    with platforms(lambda: ports.free_block(2)) as start:
        platform = start("--regions", "2", **settings)
        command = [
            forked.MCCTL, "drill", "run", "--scenario", "region-kill", "--times", str(options.times),
            *(word for name in TENANTS for word in ("--tenant", name)), "--rate", str(options.rate / len(TENANTS)),
            "--operations", "2", "--out", str(options.out), "--results", str(options.out / "dr-drill-results.txt"),
            "--yes",
        ]  # fmt: skip
        return subprocess.run(command, env=platform.env, cwd=platform.cwd, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
