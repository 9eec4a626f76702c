"""`mcctl` whose rehearsal may be late, as on a machine that runs other tests: a program for the tests."""

from __future__ import annotations

import mc_ops.cli.main as mcctl
from mc_ops.canary import plan

if __name__ == "__main__":
    plan.REHEARSAL_LATENESS_LIMIT_S = 30.0
    mcctl.main()
