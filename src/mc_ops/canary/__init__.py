"""The canary room: drives paired load at two sides, and lets the contract judge what came back.

plan = make_plan([blue_url], [green_url], minutes=10)
result = run_canary(plan, token=token, out_dir=folder, progress=show)
result.promote, result.verdict["reason"]
"""

from mc_ops.canary.files import judge_files
from mc_ops.canary.plan import DEFAULT_RATE, Plan, make_plan, read_token
from mc_ops.canary.run import CanaryResult, run_canary

__all__ = [
    "DEFAULT_RATE",
    "CanaryResult",
    "Plan",
    "judge_files",
    "make_plan",
    "read_token",
    "run_canary",
]
