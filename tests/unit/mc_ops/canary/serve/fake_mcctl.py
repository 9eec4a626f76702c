"""A stand-in for `mcctl`: ends as the file that `FAKE_MCCTL` names says, and notes each start.

The file is JSON: `exit`, `verdict` (what verdict.json holds; none without), `says` (its last line), and
`waits_for`, a path that it waits for before it ends.
"""

import json
import os
import sys
import time
from pathlib import Path

told = Path(os.environ["FAKE_MCCTL"])
how = json.loads(told.read_text())
with told.with_suffix(".starts").open("a") as starts:
    starts.write(json.dumps({"pid": os.getpid(), "args": sys.argv[1:]}) + "\n")
out = Path(sys.argv[sys.argv.index("--out-dir") + 1])
out.mkdir()
while "waits_for" in how and not Path(how["waits_for"]).exists():
    time.sleep(0.01)
if "verdict" in how:
    (out / "verdict.json").write_text(json.dumps(how["verdict"]))
sys.stderr.write(how.get("says", "") + "\n")
sys.exit(how["exit"])
