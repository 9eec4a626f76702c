"""The platform on a PostgreSQL of the user's own, by `MC_DATABASE_URL`."""

from __future__ import annotations

import json


def test_a_server_of_ones_own_is_used_instead_of_the_embedded_one(run_postgres, start_platform):
    """`mcctl up` brings the server to the schema, starts none of its own, and serves."""
    with run_postgres() as admin_url:
        platform = start_platform(MC_DATABASE_URL=admin_url)
        assert platform.ask("What is the status of order O-2001?").status == 200
        status = json.loads(platform.mcctl("status", "--output", "json").stdout)
        assert "postgres" not in {process["name"] for process in status["processes"]}
        for log in (platform.home / "log").iterdir():
            assert admin_url not in log.read_text()
        platform.mcctl("down")
