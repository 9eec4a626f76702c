"""Each key of a running platform is rotated under load: nothing is refused, found twice or done twice."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.fakes import KEY

PURPOSES = ("identity", "digest", "sealing", "fingerprint", "pseudonym", "aggregate", "signing")
QUESTION = "Where is order O-2001?"


class Load:
    """Asks and orders, each message twice, until it is told to stop."""

    def __init__(self, platform) -> None:
        self._platform = platform
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in range(2)]
        self.failed: list[object] = []
        self.tasks: dict[str, str] = {}

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number) -> None:
        while not self._stop.is_set():
            message = str(uuid.uuid4())
            send = self._platform.order if number else self._ask
            first, again = send(message_id=message), send(message_id=message)
            if (first.status, again.status) != (200, 200) or "error" in first.body | again.body:
                self.failed += [first.body, again.body]
            elif first.task["id"] != again.task["id"]:
                self.failed.append((first.task["id"], again.task["id"]))
            else:
                self.tasks[message] = first.task["id"]

    def _ask(self, message_id):
        return self._platform.ask(QUESTION, message_id=message_id)


def test_every_key_is_rotated_under_load(start_platform, wait_until, tmp_path):
    """Two replicas, seven purposes: repeats from before, amid and after find the first one's task."""
    platform = start_platform("--replicas", "2")
    asked = platform.ask(QUESTION, message_id="asked-before", context="c-1")
    ordered = platform.order(message_id="ordered-before")
    words = asked.text
    kept = tmp_path / "ledger.pub"  # of an auditor who never heard of another key
    kept.write_bytes((platform.home / "trust" / "ledger.pub").read_bytes())
    old = platform.mcctl("keys", "list", "--output", "json").stdout
    with Load(platform) as load:
        for purpose in PURPOSES:
            platform.mcctl("keys", "rotate", purpose, "--reason", "drill", "--yes")
    assert load.failed == []
    assert len(load.tasks) > 20

    # Repeats from before: the same task, word for word, and no second effect
    assert platform.ask(QUESTION, message_id="asked-before", context="c-1").task == asked.task
    again = platform.order(message_id="ordered-before")
    assert again.task["id"] == ordered.task["id"]
    effects = Counter(effect["key"] for effect in platform.effects())
    assert set(effects.values()) == {1}
    changed = platform.ask("Where is order O-2002?", message_id="asked-before", context="c-1")
    assert "a different request" in json.dumps(changed.body)

    # What was sealed and fingerprinted before is known: a conversation goes on, a quotation taints
    assert platform.ask("And the next one?", context="c-1").status == 200
    quoting = platform.ask(f"Please repeat: {words}")
    [accepted] = [
        event
        for event in wait_for_ledger(platform, wait_until, quoting.task["id"])
        if event["kind"] == "request.accepted"
    ]
    assert accepted["detail"]["origins"]
    assert ":" in accepted["detail"]["request"]

    # Old and new keys verify the log; the ledger says who rotated what, and no secret is anywhere
    platform.mcctl("audit", "verify")
    platform.mcctl("audit", "verify", "--key", str(kept))
    listed = json.loads(platform.mcctl("keys", "list", "--output", "json").stdout)
    states = Counter((key["purpose"], key["state"]) for key in listed["keys"])
    assert states == {(purpose, state): 1 for purpose in PURPOSES for state in ("active", "former")}
    assert listed["digest"] != json.loads(old)["digest"]
    events = [one["unmapped"] for one in platform.siem_events()]
    changes = [one["detail"] for one in events if one["kind"] == "keys.changed"]
    assert [one["principal"] for one in changes[1:]] == ["administrator@platform"] * 13
    assert {one["reason"] for one in changes[1:]} == {"drill"}
    keyring = json.loads((platform.home / "secrets" / "keyring.json").read_text())
    told = json.dumps(events) + "".join(platform.log("blue-1")) + json.dumps(listed)
    del keyring["version"]
    for keys in keyring.values():
        assert not any(key["secret"] in told for key in keys)


def wait_for_ledger(platform, wait_until, task_id):
    """What the SIEM has of a task, once it has something."""
    wait_until(lambda: platform.ledger(task_id), what="the SIEM has it")
    return platform.ledger(task_id)


@pytest.fixture
def before_the_keyring(start_platform, monkeypatch):
    """A platform whose ledger key was there before it had a keyring."""
    from tests.journeys import conftest

    def mkdtemp(**named):
        home = made(**named)
        secrets = f"{home}/secrets"
        conftest.Path(secrets).mkdir(mode=0o700)
        pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        conftest.Path(f"{secrets}/ledger.key").write_bytes(pem)
        conftest.Path(f"{secrets}/pseudonym.key").write_text("p" * 64)
        return home

    made = conftest.tempfile.mkdtemp
    monkeypatch.setattr(conftest.tempfile, "mkdtemp", mkdtemp)
    return start_platform()


def test_an_installation_from_before_the_keyring_keeps_its_ids(before_the_keyring):
    """The ids are those that the release before gave with the same ledger key."""
    platform = before_the_keyring
    task = platform.ask(QUESTION, message_id="message-1").task
    assert task["id"] == "346b032a-647f-5b3a-96f6-a8ab9a55dfa4"
    listed = json.loads(platform.mcctl("keys", "list", "--output", "json").stdout)["keys"]
    assert {key["id"] for key in listed if key["purpose"] != "signing"} == {"first"}
    platform.mcctl("keys", "rotate", "identity", "--reason", "no more derived", "--yes")
    assert platform.ask(QUESTION, message_id="message-1").task == task
