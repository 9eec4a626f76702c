"""Who changed a cluster, as annotations, events and the Lease say it."""

from __future__ import annotations

import getpass
import os
import pwd

import pytest

from mc_ops.environments.kubernetes.record import signed, who


def test_who_it_was_is_not_what_a_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can set USER; the system's user is who runs it."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert getpass.getuser() == "somebody-else"
    assert who().startswith(f"{pwd.getpwuid(os.getuid()).pw_name}@")
    assert "somebody-else" not in str(signed("cutover"))


def test_a_user_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a container, with which the lock could not be taken."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert who().startswith(f"{os.getuid()}@")
