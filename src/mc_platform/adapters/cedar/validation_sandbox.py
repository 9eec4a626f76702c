"""A sandbox that validates a policy set in a process of its own, before the service takes it in hand.

Cedar parses and evaluates by recursion, natively: a condition that nests too deeply overruns the
stack, and the process is gone with no error to catch. So a set that is new to a running service is
first loaded and asked its tables' questions by a child, on a stack that is an eighth of the usual.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from dataclasses import asdict

from mc_platform.adapters.cedar.decision_point import PolicyFiles, checked_point
from mc_platform.errors import Misconfigured

_TIMEOUT_S = 60.0
_STACK_BYTES = 1 << 20
_BROKE_DOWN = "the policy engine breaks down on it: a condition nests too deeply, or is too long"


async def validate_apart(files: PolicyFiles) -> str:
    """What is wrong with a set; empty if it could come into force."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _ = await asyncio.wait_for(
            child.communicate(json.dumps(asdict(files)).encode()), _TIMEOUT_S
        )
    except TimeoutError:
        return f"it could not be judged in {_TIMEOUT_S:g} s"
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        return str(json.loads(said)["problem"])
    except (ValueError, KeyError):
        return _BROKE_DOWN


def _judge() -> None:
    files = PolicyFiles(**json.load(sys.stdin))
    try:
        checked_point(files)
        problem = ""
    except Misconfigured as error:
        problem = error.message
    except Exception as error:  # noqa: BLE001 - whatever it is, the set cannot come into force
        problem = f"it cannot be judged: {type(error).__name__}"
    sys.stdout.write(json.dumps({"problem": problem}))


def main() -> None:
    """Judge the set on standard input; tell the finding on standard output."""
    threading.stack_size(_STACK_BYTES)
    judge = threading.Thread(target=_judge)
    judge.start()
    judge.join()


if __name__ == "__main__":
    main()
