#!/usr/bin/env python3
"""The runbook's name for `mcctl redteam privacy`; takes its options, exits with its code."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.argv[1:1] = ["redteam", "privacy"]
    runpy.run_path(
        str(Path(__file__).resolve().parent.parent / "tools" / "mc.py"), run_name="__main__"
    )
