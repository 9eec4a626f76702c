"""What runs, told by digests: two looks at it agree, or each difference is named."""

from __future__ import annotations

from typing import Any

import pytest

from mc_contract.running import (
    FACTS,
    MalformedRecord,
    NotRecorded,
    Record,
    changes,
    code_digest,
    facts_of,
    read_record,
    release_changes,
    untold,
)


def replica(name: str, instance: str = "", **more: str | None) -> dict[str, str | None]:
    """A replica that tells everything, but for what is said otherwise."""
    told = {fact: f"{fact}-1" for fact in FACTS}
    return {**told, "replica": name, "instance": instance or f"instance-of-{name}", **more}


def test_the_same_processes_with_the_same_digests_are_unchanged() -> None:
    """Their order is nothing, nor what tells no release apart."""
    two = [replica("green-1"), replica("green-2")]
    again = [replica("green-2"), replica("green-1", started_at="later", pid="7")]
    assert changes(two, again) == []


@pytest.mark.parametrize("fact", ["code", "policy_set", "catalogue", "configuration"])
def test_a_digest_that_differs_is_named_with_both_values(fact: str) -> None:
    """In the same process, as when a policy set comes into force; null is a difference, too."""
    told = changes([replica("green-1")], [replica("green-1", **{fact: "0" * 64})])
    assert told == [f"green-1: {fact.replace('_', ' ')} was {f'{fact}-1'[:12]}, is {'0' * 12}"]
    assert "is not told" in release_changes(replica("a"), replica("a", **{fact: None}))[0]


def test_another_process_a_gone_and_an_added_replica_are_each_named() -> None:
    """A restart with the same code is another process all the same."""
    before = [replica("green-1"), replica("green-2"), replica("green-3")]
    now = [replica("green-1"), replica("green-2", "another", code="c2"), replica("green-4")]
    assert changes(before, now) == [
        "green-2 is another process: instance was instance-of-, is another, code was code-1, is c2",
        "green-3 is gone",
        "green-4 was added",
    ]
    assert changes(before, []) == ["green-1 is gone", "green-2 is gone", "green-3 is gone"]


def test_a_record_tells_what_was_exchanged_between_its_two_looks() -> None:
    """Each group by its name."""
    start = {"baseline": [replica("b")], "candidate": [replica("g")]}
    end = {"baseline": [replica("b")], "candidate": [replica("g", "anew")]}
    [told] = Record(start, end).changed()
    assert told.startswith("candidate: g is another process: instance was instance-of-")
    assert Record(start, start).changed() == []


def test_a_record_is_read_as_it_was_written() -> None:
    """And nothing that has another form."""
    record = Record({"candidate": [replica("g")]}, {"candidate": [replica("g", commit=None)]})
    assert read_record({"running": record.as_dict()}, "x") == record
    with pytest.raises(NotRecorded, match="the verdict does not record"):
        read_record({}, "the verdict")
    good: Any = record.as_dict()
    look = good["at_start"]
    one = look["candidate"][0]
    for bad in (
        [],
        "x",
        {"at_start": look},
        {**good, "more": 1},
        {**good, "at_end": {}},
        {**good, "at_end": {"candidate": {}}},
        {**good, "at_end": {"candidate": [{**one, "more": "x"}]}},
        {**good, "at_end": {"candidate": [{**one, "code": 5}]}},
        {**good, "at_end": {"candidate": [{**one, "code": ""}]}},
        {**good, "at_end": {"candidate": [{**one, "code": "x" * 300}]}},
        {**good, "at_end": {"candidate": [{"code": "x"}]}},
    ):
        with pytest.raises(MalformedRecord, match="x:"):
            read_record({"running": bad}, "x")


def test_a_health_answer_that_does_not_tell_leaves_nothing_made_up() -> None:
    """An older release, another server, a lie about a type: null, and it is known what is missing."""
    health = {"replica": "green-1", "colour": "green", "version": "1", "running": {"code": "c"}}
    told = facts_of(health)
    assert (told["replica"], told["code"], told["instance"]) == ("green-1", "c", None)
    assert untold([told]) == ["green-1: instance, policy_set, catalogue, configuration"]
    for other in (None, [], "x", {"running": []}, {"running": {"code": 7}}):
        assert set(facts_of(other).values()) == {None}
    assert untold([replica("a")]) == []


def test_a_code_digest_is_of_names_and_contents() -> None:
    """Bytes that move from one file to the next, or to another name, are other code."""
    files = [("a", b"1"), ("b", b"2")]
    assert code_digest(files) == code_digest(list(files))
    others = (
        [("a", b"12"), ("b", b"")],
        [("a", b"1"), ("c", b"2")],
        [("a", b"1")],
        [("ab", b"12")],
    )
    assert len({code_digest(files), *map(code_digest, others)}) == 5
