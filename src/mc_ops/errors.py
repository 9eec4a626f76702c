"""Errors of the operations rooms, by what the caller does next.

    OpsError
      Finding          the check ran and found something            exit 1
      UnusableInput    the input cannot be used                     exit 2
      CouldNotTell     a source is down or data is missing          exit 3
      NotAllowed       not authenticated, or rights are missing     exit 4
      Declined         a person said no, or interrupted             exit 5
      Waiting          an approval or a soak is outstanding         exit 8

Rooms raise these; only `mc_ops.cli` turns them into text and an exit code.
"""

from __future__ import annotations

from mc_contract.errors import McError


class OpsError(McError):
    """Root of the tool-chain's errors; `exit_code` is what `mcctl` exits with."""

    exit_code: int = 3


class Finding(OpsError):
    """The check was made, and what it looked at is not as it must be."""

    code = "finding"
    exit_code = 1


class UnusableInput(OpsError):
    """The input is missing, malformed or out of range."""

    code = "unusable-input"
    exit_code = 2


class CouldNotTell(OpsError):
    """No verdict: a source did not answer, or what it answered is incomplete."""

    code = "could-not-tell"
    exit_code = 3
    retryable = True


class NotAllowed(OpsError):
    """The credential is missing or refused, or lacks the right."""

    code = "not-allowed"
    exit_code = 4


class Declined(OpsError):
    """A person declined, or interrupted the run."""

    code = "declined"
    exit_code = 5


class Waiting(OpsError):
    """Nothing is wrong; the run waits for an approval or a soak."""

    code = "waiting"
    exit_code = 8
    retryable = True
