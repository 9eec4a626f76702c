#!/usr/bin/env python3
"""`python3 tools/mc.py ARGS` is `mcctl ARGS` of this repository, started by any Python 3."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> int:
    """Become `mcctl`; return only when there is none to become."""
    own = REPOSITORY / ".venv" / "bin" / "mcctl"
    found = str(own) if own.is_file() else shutil.which("mcctl")
    if found is None:
        sys.stderr.write(
            f"✘ error mcctl is not set up: neither {own} nor an mcctl on PATH\n"
            f"  → make -C {REPOSITORY} setup\n"
        )
        return 3
    state = REPOSITORY / ".mc"
    if not os.environ.get("MC_HOME") and state.is_dir():
        # This repository's platform is meant, from whatever folder it is called.
        os.environ["MC_HOME"] = str(state)
    try:
        os.execv(found, [found, *sys.argv[1:]])  # noqa: S606 - our own program, no shell
    except OSError as error:
        sys.stderr.write(
            f"✘ error {found} can't be started: {error.strerror}\n"
            f"  → remove .venv, then: make -C {REPOSITORY} setup\n"
        )
        return 3


if __name__ == "__main__":
    sys.exit(main())
