"""A privacy red-team over real HTTP: attacks, honest work, and what became of each.

    target = Target(url, tokens=tokens, agent_url=agent_url)
    size = Size(seed=7)
    result = await run(target, size.cases(), Watch(watched(home)), progress)
    told = report(result, size, url)
    write(folder, told, result.rows)

The figures come from the rows alone, by `mc_contract.redteam`, so that evidence can do them again.
"""

from __future__ import annotations

from mc_ops.redteam.case import Case
from mc_ops.redteam.channels import Watch
from mc_ops.redteam.corpus import read_corpus, refuse_repeats
from mc_ops.redteam.families import BY_NAME, FAMILIES, Family
from mc_ops.redteam.report import PICTURE, REPORT, ROWS, lines, prepare, report, write
from mc_ops.redteam.run import (
    DEFAULT_ATTACKS,
    DEFAULT_BENIGN,
    DEFAULT_WORDINGS,
    Result,
    Size,
    run,
    watched,
)
from mc_ops.redteam.target import Target

__all__ = [
    "BY_NAME",
    "DEFAULT_ATTACKS",
    "DEFAULT_BENIGN",
    "DEFAULT_WORDINGS",
    "FAMILIES",
    "PICTURE",
    "REPORT",
    "ROWS",
    "Case",
    "Family",
    "Result",
    "Size",
    "Target",
    "Watch",
    "lines",
    "prepare",
    "read_corpus",
    "refuse_repeats",
    "report",
    "run",
    "watched",
    "write",
]
