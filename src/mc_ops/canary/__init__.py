"""The canary room: drives paired load at two sides, and lets the contract judge what came back.

plan = make_plan([blue_url], [green_url], minutes=10)
result = run_canary(plan, token=token, out_dir=folder, progress=show)
result.promote, result.verdict["reason"]
"""

from mc_ops.canary.files import judge_files
from mc_ops.canary.plan import (
    DEFAULT_RATE,
    Plan,
    Size,
    make_plan,
    read_token,
    size_of,
    token_source,
)
from mc_ops.canary.run import CanaryResult, run_canary

__all__ = [
    "DEFAULT_RATE",
    "CanaryResult",
    "Plan",
    "Size",
    "judge_files",
    "make_plan",
    "read_token",
    "run_canary",
    "size_of",
    "token_source",
]
