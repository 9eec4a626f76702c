"""What two regions tell each other is merged to the same state in both, in whatever order it comes.

The databases are real and so are the triggers that tell and take; what carries the rows between them is
the test, so that it can be late, in any order between the two directions, and twice.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb
from tests.examples import examples

from mc_platform.adapters.postgres.migrate import database_url, migrate_schema

BEGIN = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
OPEN = ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")
_MERGED = (
    "operation_resolved, task, task_accepted_before, quotable, credential, credential_version, autonomy_switch, peer_switch, "
    "break_glass, aggregate_charge, aggregate_query, aggregate_turn, peer_charge, "
    "region_change, region_change_refused, ledger_id, ledger_event, ledger_checkpoint"
)


class Region:
    """One region's database, and what it has told of which the other has had so many."""

    def __init__(self, connection, name):
        self.connection = connection
        self.name = name
        self.delivered = 0

    def do(self, statement, *values):
        return self.connection.execute(statement, values)

    def told(self):
        return self.do(
            "SELECT region, number, kind, tenant, key, body, written_at FROM mc.region_change "
            "WHERE region = %s ORDER BY number",
            self.name,
        ).fetchall()

    def take(self, rows):
        """As a subscription would."""
        with self.connection.transaction():
            self.do("SET LOCAL session_replication_role = replica")
            for row in rows:
                self.do(
                    "INSERT INTO mc.region_change (region, number, kind, tenant, key, body, "
                    "written_at) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, %s, %s, %s)",
                    *row[:5],
                    Jsonb(row[5]),
                    row[6],
                )

    def state(self):
        return self.do("SELECT kind, rows, digest FROM mc.replicated_state()").fetchall()

    def refused(self):
        return self.do("SELECT kind, error FROM mc.region_change_refused").fetchall()


@pytest.fixture(scope="module")
def regions(run_postgres):
    with run_postgres() as admin_url:
        host = admin_url.split("@")[1].split("/")[0]
        made = []
        for name, peer in (("local-1", "local-2"), ("local-2", "local-1")):
            database = name.replace("local-", "mc_")
            service_url = f"postgresql://mc_service:pw@{host}/{database}"
            asyncio.run(migrate_schema(admin_url=admin_url, service_url=service_url))
            connection = psycopg.connect(database_url(admin_url, database), autocommit=True)
            connection.execute("SELECT mc.begin_replication(%s, %s)", (name, peer))
            # One has heard that the other reads sets, and the other has not
            if peer == "local-2":
                connection.execute(
                    "INSERT INTO mc.region_copy (region, whole, reads_sets, written_at) "
                    "VALUES (%s, true, true, now())",
                    (peer,),
                )
            made.append(Region(connection, name))
        yield made
        for region in made:
            region.connection.close()


@pytest.fixture
def empty(regions):
    _forget(regions)
    return regions


def _forget(regions):
    for region in regions:
        for table in _MERGED.split(", "):  # they hold little: quicker than to truncate them
            region.do(f"DELETE FROM mc.{table}")
        region.delivered = 0


def _deliver(source, target, most=None):
    rows = source.told()[source.delivered :][:most]
    source.delivered += len(rows)
    target.take(rows)


def _deliver_all(regions):
    one, other = regions
    _deliver(one, other)
    _deliver(other, one)


def _same(regions):
    _deliver_all(regions)
    one, other = regions
    assert one.state() == other.state()
    assert one.refused() == other.refused() == []


# -- what a region may do by itself -----------------------------------------------------------------


def _write_task(region, at, task, state, said="", created_at=None):
    """As `mc.record_batch` writes one; none is submitted again, nor goes on where it was not accepted."""
    region.do(
        """
        INSERT INTO mc.task AS old (id, context_id, tenant, principal, message_id, request_digest,
            state, updated_at, parts, status_text, governance, flow, created_at)
        VALUES (%s, 'c', 'T', 'p', %s, 'd', %s, %s, %s, '', '{}', '{}', %s)
        ON CONFLICT (id) DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at,
            parts = excluded.parts
        WHERE old.state = ANY (%s) AND (excluded.state <> ALL (%s) OR (
            excluded.state <> 'TASK_STATE_SUBMITTED'
            AND NOT EXISTS (SELECT FROM mc.task_accepted a WHERE a.id = old.id)))
        """,
        task,
        task,
        state,
        at,
        f'[{{"text": "{said}\\u0000 by {region.name}"}}]',
        created_at or at,
        list(OPEN),
        list(OPEN),
    )


def _quote(region, at, task, digest):
    region.do(
        "INSERT INTO mc.quotable (tenant, digest, task_id) VALUES ('T', %s, %s) ON CONFLICT DO NOTHING",
        digest,
        task,
    )


def _throw(region, at, scope, halted):
    region.do(
        "INSERT INTO mc.autonomy_switch (id, scope, halted, reason, principal, source, at) "
        "VALUES (%s, %s, %s, 'why', 'p', 'operator', %s)",
        uuid.uuid4(),
        scope,
        halted,
        at,
    )


def _import(region, at, key, principal):
    region.do(
        "INSERT INTO mc.credential AS old (key_id, secret_sha256, tenant, principal) "
        "VALUES (%s, sha256(%s::bytea), 'T', %s) ON CONFLICT (key_id) DO UPDATE SET "
        "principal = excluded.principal, revoked_at = NULL WHERE old.revoked_by IS NULL",
        key,
        key.encode(),
        principal,
    )


def _drop(region, at, key, _):
    region.do(
        "UPDATE mc.credential SET revoked_at = %s WHERE key_id = %s AND revoked_at IS NULL", at, key
    )


def _revoke(region, at, key, who):
    region.do(
        "UPDATE mc.credential SET revoked_at = %s, revoked_by = %s "
        "WHERE key_id = %s AND revoked_by IS NULL",
        at,
        who,
        key,
    )


def _expire(region, at, key, _):
    region.do(
        "UPDATE mc.credential SET expires_at = least(expires_at, %s) WHERE key_id = %s", at, key
    )


def _grant(region, at, number, _):
    region.do(
        "INSERT INTO mc.break_glass (id, tenant, reason, minutes, asked_by, asked_at) "
        "VALUES (%s, 'T', 'why', 5, 'a', %s) ON CONFLICT DO NOTHING",
        uuid.uuid5(uuid.NAMESPACE_OID, f"{number} of {region.name}"),
        at,
    )


def _approve(region, at, number, who):
    region.do(
        "UPDATE mc.break_glass SET approved_by = %s, approved_at = %s, expires_at = %s "
        "WHERE id = %s AND approved_by IS NULL",
        who,
        at,
        at + timedelta(minutes=5),
        uuid.uuid5(uuid.NAMESPACE_OID, f"{number} of local-1"),
    )


def _end(region, at, number, who):
    region.do(
        "UPDATE mc.break_glass SET ended_by = %s, ended_at = %s WHERE id = %s AND ended_by IS NULL",
        who,
        at,
        uuid.uuid5(uuid.NAMESPACE_OID, f"{number} of local-1"),
    )


def _charge(region, at, dataset, amount):
    region.do("INSERT INTO mc.aggregate_turn VALUES ('T', %s) ON CONFLICT DO NOTHING", dataset)
    region.do(
        "INSERT INTO mc.aggregate_charge (tenant, dataset, principal, micro_epsilon, charged_at) "
        "VALUES ('T', %s, 'p', %s, %s)",
        dataset,
        amount,
        at,
    )


def _ask(region, at, dataset, amount):
    _charge(region, at, dataset, amount)
    region.do(
        "INSERT INTO mc.aggregate_query (id, tenant, dataset, principal, fingerprint, condition, "
        "selection, asked_at) VALUES (%s, 'T', %s, 'p', sha256('f'), sha256('c'), '\\x', %s)",
        uuid.uuid4(),
        dataset,
        at,
    )


def _answer(region, at, dataset, amount):
    region.do(
        "UPDATE mc.aggregate_query SET state = 'answered', answer = %s, ended_at = %s "
        "WHERE dataset = %s AND state = 'pending' AND principal = 'p' AND id IN "
        "(SELECT key::uuid FROM mc.region_change WHERE kind = 'query' AND region = %s)",
        f'{{"value": {amount}}}',
        at,
        dataset,
        region.name,
    )


def _resolve(region, at, task, _):
    region.do(
        "INSERT INTO mc.operation_resolved SELECT id FROM mc.task WHERE id = %s ON CONFLICT DO NOTHING",
        task,
    )


STATES = st.sampled_from([*OPEN, "TASK_STATE_COMPLETED", "TASK_STATE_FAILED"])
PEOPLE = st.sampled_from(["b", "c"])


def _any_of(acts, keys, values):
    return st.tuples(st.sampled_from(acts), st.sampled_from(keys), values)


# Apart and with few keys, so that most examples have two acts that meet
ACTS = {
    "tasks": _any_of([_write_task], ["t1"], STATES)
    | _any_of([_resolve], ["t1"], st.none())
    | _any_of([_write_task], ["t2"], STATES),
    "quotations": _any_of([_quote], ["t1", "t2", "t3"], st.just(1)),
    "switches": _any_of([_throw], ["*", "T"], st.booleans()),
    "credentials": _any_of([_import, _import, _drop, _revoke, _expire], ["0" * 12], PEOPLE),
    "grants": _any_of([_grant, _approve, _end], [1], PEOPLE),
    "budgets": _any_of([_charge, _ask, _answer], ["d1"], st.integers(1, 9)),
}


def _steps(acts):
    one = st.tuples(st.just("act"), st.integers(0, 1), acts)
    deliver = st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(1, 4))
    again = st.tuples(st.just("again"), st.integers(0, 1), st.integers(1, 8))
    return st.lists(one | one | deliver | again, min_size=4, max_size=24)


@pytest.mark.parametrize("kind", ACTS)
def test_any_interleaving_of_both_regions_changes_gives_both_the_same_state(regions, kind):
    """Acts of both, deliveries in both directions in any order and some twice, clocks that differ."""

    @settings(max_examples=examples(160))
    @given(steps=_steps(ACTS[kind]), skew_s=st.integers(-3, 3))
    def law(steps, skew_s):
        _forget(regions)
        for number, (what, side, detail) in enumerate(steps):
            region, other = regions[side], regions[1 - side]
            if what == "act":
                act, *values = detail
                act(region, BEGIN + timedelta(seconds=number + side * skew_s), *values)
            elif what == "deliver":
                _deliver(region, other, detail)
            else:
                other.take(region.told()[: region.delivered][-detail:])
        _same(regions)

    law()


@pytest.mark.parametrize("kind", ["tasks", "quotations", "switches", "credentials", "grants"])
def test_changes_may_be_merged_in_any_order(regions, kind):
    """Of one region's changes the last may come first: those of a lost slot are told anew beside it."""

    @settings(max_examples=examples(80))
    @given(
        acts=st.lists(st.tuples(st.integers(0, 1), ACTS[kind]), min_size=2, max_size=12),
        order=st.randoms(use_true_random=False),
    )
    def law(acts, order):
        _forget(regions)
        for number, (side, (act, *values)) in enumerate(acts):
            if act is not _resolve:  # follows the task that it is about, in the same stream
                act(regions[side], BEGIN + timedelta(seconds=number), *values)
        rows = [region.told() for region in regions]
        for region, of_other in zip(regions, reversed(rows), strict=True):
            order.shuffle(of_other)
            region.take(of_other)
        one, other = regions
        assert one.state() == other.state()

    law()


# -- each rule by itself ------------------------------------------------------------------------


def test_of_two_acceptances_of_one_message_the_earlier_holds_in_both(empty):
    """Whichever came first was accepted, however late the other region hears of it."""
    one, other = empty
    _write_task(one, BEGIN + timedelta(seconds=9), "t1", "TASK_STATE_COMPLETED", "late")
    _write_task(other, BEGIN + timedelta(seconds=5), "t1", "TASK_STATE_COMPLETED", "early")
    _same(empty)
    for region in empty:
        (parts,) = region.do("SELECT parts::text FROM mc.task").fetchone()
        assert "early" in parts
    (where,) = one.do("SELECT region FROM mc.task_accepted").fetchone()
    assert where == "local-2"
    assert other.do("SELECT * FROM mc.task_accepted").fetchone() is None


def test_of_a_task_of_before_the_former_table_tells_where_it_was_accepted(empty):
    """Until the peer changes it; then its own row does, and both regions have the same."""
    one, other = empty
    _write_task(one, BEGIN, "t1", "TASK_STATE_WORKING", "begun")
    _write_task(other, BEGIN, "t2", "TASK_STATE_WORKING", "begun")
    _same(empty)
    other.do("UPDATE mc.task SET accepted_in = NULL WHERE id = 't1'")
    other.do("INSERT INTO mc.task_accepted_before VALUES ('t1', 'local-1')")
    assert other.do("SELECT * FROM mc.task_accepted").fetchall() == [("t1", "local-1")]
    assert one.state() == other.state()
    _write_task(one, BEGIN + timedelta(seconds=1), "t1", "TASK_STATE_COMPLETED", "ended")
    _same(empty)
    assert other.do("SELECT accepted_in FROM mc.task ORDER BY id").fetchall() == [
        ("local-1",),
        (None,),
    ]


def test_an_end_holds_over_an_open_task_that_was_accepted_earlier(empty):
    """What a client was told is not taken back by a question that still waits elsewhere."""
    one, other = empty
    _write_task(one, BEGIN, "t1", "TASK_STATE_SUBMITTED")
    _write_task(other, BEGIN + timedelta(seconds=5), "t1", "TASK_STATE_COMPLETED", "done")
    _same(empty)
    for region in empty:
        assert region.do("SELECT state FROM mc.task").fetchone() == ("TASK_STATE_COMPLETED",)


def test_of_two_ends_of_a_credential_the_earlier_holds_and_a_revocation_for_good_is_for_good(empty):
    """Neither a later change of the other region nor an import takes an end back."""
    one, other = empty
    _import(one, BEGIN, "0" * 12, "b")
    _same(empty)
    _expire(one, BEGIN + timedelta(hours=1), "0" * 12, None)
    _revoke(one, BEGIN, "0" * 12, "admin")
    _expire(other, BEGIN + timedelta(hours=2), "0" * 12, None)
    _drop(other, BEGIN, "0" * 12, None)
    _import(other, BEGIN, "0" * 12, "c")
    _same(empty)
    for region in empty:
        (row,) = region.do("SELECT expires_at, revoked_by, principal FROM mc.credential").fetchall()
        assert row == (BEGIN + timedelta(hours=1), "admin", "c")


def test_what_cannot_be_merged_is_set_aside_without_a_value_and_stalls_nothing(empty):
    """A kind of a later version, and a message id that another task has: two tasks, one message."""
    one, other = empty
    one.do(
        "INSERT INTO mc.region_change (region, kind, tenant, key, body) "
        "VALUES ('local-1', 'from-the-future', 'T', 'k', '{}')"
    )
    _write_task(one, BEGIN, "t1", "TASK_STATE_SUBMITTED")
    other.do("SET session_replication_role = replica")
    _write_task(other, BEGIN, "t9", "TASK_STATE_SUBMITTED")
    other.do("UPDATE mc.task SET message_id = 't1'")
    other.do("RESET session_replication_role")
    _throw(one, BEGIN, "*", True)
    _deliver(one, other)
    assert other.refused() == [
        ("from-the-future", "P0001 this version does not know the kind"),
        ("task", "23505 task_tenant_message_id_key"),
    ]
    assert other.do("SELECT halted FROM mc.peer_switch").fetchone() == (True,)
    other.do("DELETE FROM mc.task")
    assert other.do("SELECT mc.merge_refused()").fetchone() == (1,)  # the future's is left
    assert other.do("SELECT id FROM mc.task").fetchone() == ("t1",)


def test_one_bad_task_of_a_set_sets_no_other_aside(empty):
    """What one flush wrote is one change; what cannot be merged of it is refused by itself."""
    one, other = empty
    for number in range(1, 4):
        _write_task(one, BEGIN, f"t{number}", "TASK_STATE_SUBMITTED")
    one.do("DELETE FROM mc.region_change")
    one.do("UPDATE mc.task SET state = 'TASK_STATE_COMPLETED'")
    [told] = one.told()
    assert (told[2], len(told[5])) == ("tasks", 3)
    other.do("SET session_replication_role = replica")
    _write_task(other, BEGIN, "t9", "TASK_STATE_SUBMITTED")
    other.do("UPDATE mc.task SET message_id = 't2'")
    other.do("RESET session_replication_role")
    for _ in range(2):  # it may come twice
        other.take([told])
    assert {*other.refused()} == {("task", "23505 task_tenant_message_id_key")}
    merged = other.do("SELECT id FROM mc.task WHERE state = 'TASK_STATE_COMPLETED' ORDER BY id")
    assert merged.fetchall() == [("t1",), ("t3",)]


@pytest.mark.parametrize("kind", ["tasks", "task"])
def test_what_changes_a_task_reads_no_other_though_its_plan_was_made_while_there_was_none(
    empty, kind
):
    """Nothing has counted the tables of a new region yet; a plan that reads all of one is as cheap as any."""
    one, other = empty
    for region in empty:
        region.do("VACUUM mc.task")  # of what tests before left, so that no index leads to it
    _write_task(one, BEGIN, "first", "TASK_STATE_SUBMITTED")
    one.do("UPDATE mc.task SET state = 'TASK_STATE_COMPLETED'")
    _deliver(one, other)
    with other.connection.transaction():
        other.do("SET LOCAL session_replication_role = replica")
        other.do(
            "INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state, parts, "
            "status_text, governance, flow, updated_at) SELECT n, 'c', 'T', 'p', n, 'd', 'TASK_STATE_COMPLETED', '[]', '', "
            "'{}', '{}', now() FROM generate_series(1, 2000) AS n"
        )
    _write_task(one, BEGIN, "last", "TASK_STATE_SUBMITTED")
    _deliver(one, other)
    one.do("UPDATE mc.task SET state = 'TASK_STATE_COMPLETED' WHERE id = 'last'")
    [told] = one.told()[one.delivered :]
    if kind == "task":  # as of a peer that tells no sets
        told = (*told[:2], kind, "T", "last", told[5][0], told[6])
    with other.connection.transaction():
        read = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'task'"
        [before] = other.do(read).fetchone()
        other.take([told])
        assert other.do(read).fetchone()[0] - before < 20
    assert other.refused() == []
    assert other.do("SELECT state FROM mc.task WHERE id = 'last'").fetchone() == (
        "TASK_STATE_COMPLETED",
    )


def test_large_tasks_and_many_digests_are_told_by_themselves(empty):
    """So that no flush makes a row that its transaction could not write."""
    one, other = empty
    _write_task(one, BEGIN, "small", "TASK_STATE_COMPLETED", "x")
    _write_task(one, BEGIN, "large", "TASK_STATE_COMPLETED", "x" * 20_000)
    assert [row[2] for row in one.told()] == ["tasks", "task"]
    one.do(
        "INSERT INTO mc.quotable (tenant, digest, task_id) "
        "SELECT 'T', n, 'small' FROM generate_series(1, 65) n"
    )
    one.do("INSERT INTO mc.quotable (tenant, digest, task_id) VALUES ('T', 99, 'large')")
    assert [row[2] for row in one.told()][2:] == ["quotation", "quotations"]
    _same(empty)
    assert other.do("SELECT count(*) FROM mc.task").fetchone() == (2,)


def test_what_was_there_before_the_peer_is_told_in_batches_and_merges_to_the_same(empty):
    """Also if it was told in part before, and if the peer's own is told back."""
    one, other = empty
    one.do("SET session_replication_role = replica")  # the triggers did not stand yet
    for number in range(7):
        _write_task(one, BEGIN, f"t{number}", "TASK_STATE_COMPLETED", "before")
    _quote(one, BEGIN, "t1", 7)
    _import(one, BEGIN, "0" * 12, "b")
    _throw(one, BEGIN, "T", True)
    _grant(one, BEGIN, 1, None)
    _ask(one, BEGIN, "d1", 3)
    _resolve(one, BEGIN, "t1", None)
    one.do("RESET session_replication_role")
    assert one.told() == []
    for region in (one, other, one):
        behind = ""
        while behind is not None:
            (behind,) = region.do("SELECT mc.tell_what_is_there(%s, 3)", behind).fetchone()
        _same(empty)
    assert other.do("SELECT count(*) FROM mc.task").fetchone() == (7,)
    assert other.do("SELECT sum(micro_epsilon) FROM mc.aggregate_charge").fetchone() == (3,)


def _holding(region, said):
    """Tables in which something of a tenant's words stands."""
    tables = ("task", "operation_record", "region_change", "region_change_refused")
    return [
        table
        for table in tables
        if region.do(
            f"SELECT count(*) FROM mc.{table} AS t WHERE strpos(t::text, %s) > 0", said
        ).fetchone()
        != (0,)
    ]


def _erase(region):
    [erased] = region.do("SELECT erased FROM mc.erase_tenant('T', 'os-user:x', 'asked')").fetchone()
    return erased


def test_an_erasure_takes_the_tenants_part_of_sets_and_leaves_the_others(empty):
    """A set tells tasks of several tenants in one row, which is of no tenant itself."""
    one, other = empty
    for number in range(1, 4):
        _write_task(one, BEGIN, f"t{number}", "TASK_STATE_SUBMITTED", "canary")
    one.do("UPDATE mc.task SET tenant = 'U' WHERE id = 't2'")
    one.do("DELETE FROM mc.region_change")
    one.do("UPDATE mc.task SET state = 'TASK_STATE_COMPLETED' WHERE id <> 't3'")
    one.do("UPDATE mc.task SET status_text = 'under way' WHERE id = 't3'")
    one.do(
        "INSERT INTO mc.quotable (tenant, digest, task_id) VALUES ('T', 1, 't1'), ('U', 2, 't2')"
    )
    assert [row[2] for row in one.told()] == ["tasks", "tasks", "quotations"]
    other.take(one.told())
    assert _erase(one)["changes"] == 2  # its part of two sets
    left = one.do(
        "SELECT kind, e ->> 'id' FROM mc.region_change c, jsonb_array_elements(c.body) e "
        "WHERE kind IN ('tasks', 'quotations') ORDER BY 1 DESC, 2"
    ).fetchall()
    assert left == [("tasks", "t2"), ("tasks", "t3"), ("quotations", "t2")]
    assert other.do("SELECT count(*) FROM mc.region_change").fetchone() == (0,)  # it keeps none


def test_what_was_on_its_way_while_both_regions_erased_goes_when_the_erasure_comes(empty):
    """Of a cut link: what the other region had not heard of is in its log of writes, and comes after all."""
    one, other = empty
    _write_task(one, BEGIN, "t0", "TASK_STATE_SUBMITTED", "canary")
    _deliver(one, other)
    _write_task(one, BEGIN, "t0", "TASK_STATE_COMPLETED", "canary")
    _write_task(one, BEGIN, "t1", "TASK_STATE_COMPLETED", "canary")
    _write_task(one, BEGIN, "large", "TASK_STATE_COMPLETED", "canary" * 5_000)
    _quote(one, BEGIN, "t1", 7)
    on_its_way = one.told()[one.delivered :]
    assert _erase(one)["tasks"] == 3
    assert _erase(other)["left_open"] == 1  # it has not heard of its end
    other.take(on_its_way)
    other.do(
        "INSERT INTO mc.operation_record (region, tenant, operation_id, step, sealed) "
        "VALUES ('local-1', 'T', 't1', 'input', 'canary')"
    )
    assert {"task", "operation_record"} <= {*_holding(other, "canary")}
    erasure = [row for row in one.told() if row[2] == "erasure"]
    for _ in range(2):  # it may come twice
        other.take(erasure)
    for region in empty:
        assert _holding(region, "canary") == []
        assert region.do("SELECT count(*) FROM mc.quotable").fetchone() == (0,)
        assert region.refused() == []


def test_an_erasure_hashes_its_ids_where_plans_are_generic(empty):
    """A generic plan compares each fingerprint of the tenant with every id, and nothing else comes meanwhile."""
    one, _ = empty
    for function, mode in (
        ("take_change()", "force_generic_plan"),
        ("merge_erasure(mc.region_change)", "force_custom_plan"),
    ):
        [settings] = one.do(
            "SELECT proconfig FROM pg_proc WHERE oid = %s::regprocedure", f"mc.{function}"
        ).fetchone()
        assert f"plan_cache_mode={mode}" in settings


def test_no_erasure_of_the_peer_takes_another_tenants_task(empty):
    """It names a tenant and its tasks; an id that is another's here stays."""
    one, other = empty
    _write_task(other, BEGIN, "t1", "TASK_STATE_COMPLETED", "canary")
    other.do("UPDATE mc.task SET tenant = 'U'")
    _write_task(one, BEGIN, "t1", "TASK_STATE_COMPLETED", "canary")
    _erase(one)
    other.take(one.told())
    assert other.do("SELECT id FROM mc.task").fetchone() == ("t1",)


def test_a_set_that_was_set_aside_as_a_whole_is_merged_later(empty):
    """As a version that knew no sets did."""
    one, other = empty
    _write_task(one, BEGIN, "t1", "TASK_STATE_COMPLETED")
    _quote(one, BEGIN, "t1", 7)
    for row in one.told():
        other.do(
            "INSERT INTO mc.region_change_refused VALUES (%s, %s, %s, %s, %s, %s, %s, 'not known then')",
            *row[:5],
            Jsonb(row[5]),
            row[6],
        )
    assert other.do("SELECT mc.merge_refused()").fetchone() == (0,)
    assert other.do(
        "SELECT q.digest FROM mc.task t JOIN mc.quotable q ON q.task_id = t.id"
    ).fetchone() == (7,)


def test_what_was_merged_is_not_told_back(empty):
    """The peer's rows go round no loop."""
    one, other = empty
    _write_task(one, BEGIN, "t1", "TASK_STATE_SUBMITTED")
    _import(one, BEGIN, "0" * 12, "b")
    _deliver(one, other)
    assert other.told() == []


def test_the_service_adds_nothing_to_what_regions_tell(empty):
    """Neither of its roles can write a change or a heartbeat, of its own region or the other's."""
    one, _ = empty
    for role, table in itertools.product(
        ("mc_service", "mc_recorder"),
        (
            "region_change",
            "region_heartbeat",
            "region_peer",
            "peer_switch",
            "task_accepted_before",
            "task (accepted_in)",
        ),
    ):
        with one.connection.transaction(force_rollback=True):
            one.do(f"SET LOCAL ROLE {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                one.do(f"INSERT INTO mc.{table} SELECT NULL WHERE false")


def test_what_the_peer_tells_in_this_regions_name_is_set_aside(empty):
    """Who owns the peer's database chooses what it publishes: no entry of this region's log, no halt of its."""
    one, other = empty
    entry = (
        "INSERT INTO mc.ledger_event (region, index, event_id, tenant, kind, occurred_at, recorded_at, "
        "leaf, leaf_hash) VALUES (%s, 0, 'forged', 'T', 'k', now(), now(), '', sha256('f'))"
    )
    one.do("SELECT mc.ensure_ledger_partitions()")
    with one.connection.transaction():
        one.do("SET LOCAL session_replication_role = replica")
        for region in ("local-1", "local-1/e2", "local-3"):
            one.do(entry, region)
            one.do(
                "INSERT INTO mc.ledger_id (region, recorded_at, index, event_id) "
                "VALUES (%s, now(), 0, 'forged')",
                region,
            )
        one.do(entry, "local-2/e2")
    other.do(
        "INSERT INTO mc.autonomy_switch (id, scope, halted, reason, principal, source) "
        "VALUES (gen_random_uuid(), 'ALL', false, 'r', 'p', 'operator')"
    )
    [told] = other.told()
    one.take([("local-1", *told[1:])])
    assert one.do("SELECT region FROM mc.ledger_event").fetchall() == [("local-2/e2",)]
    assert one.do("SELECT count(*) FROM mc.ledger_id").fetchone() == (0,)
    assert one.do("SELECT count(*) FROM mc.peer_switch").fetchone() == (0,)
    one.do("SELECT mc.merge_refused()")  # nor does a repair take them
    assert one.do("SELECT count(*) FROM mc.peer_switch").fetchone() == (0,)
    refused = one.refused()
    assert sorted(kind for kind, _ in refused) == ["event"] * 3 + ["id"] * 3 + ["switch"]
    assert all("the peer told it in the name of another region" in error for _, error in refused)


def _take_log(region, *rows, own_ids=False):
    """Rows of the peer's log, each an index, an id and what its leaf's hash is made of, in one transaction.

    With `own_ids` an entry has another id than its row of ids if that one is not by its index.
    """
    with region.connection.transaction():
        region.do("SET LOCAL session_replication_role = replica")
        for index, event_id, said in rows:
            region.do(
                "INSERT INTO mc.ledger_event (region, recorded_at, index, event_id, tenant, kind, occurred_at, "
                "leaf, leaf_hash) VALUES ('local-2', now(), %s, %s, 'T', 'k', now(), '', sha256(%s::bytea))",
                *(index, f"e-{index}" if own_ids else event_id, said),
            )
        for index, event_id, _ in rows:
            region.do(
                "INSERT INTO mc.ledger_id (region, recorded_at, index, event_id) VALUES ('local-2', now(), %s, %s)",
                *(index, event_id),
            )


@pytest.mark.parametrize("own_ids", [False, True])
def test_of_the_peers_log_each_entry_is_added_once_wherever_it_stands_in_a_transaction(
    empty, own_ids
):
    """Behind all that is here, among it, again, or as another history with an index or an id that is here."""
    one, _ = empty
    _take_log(one, *((n, f"e-{n}", f"{n}") for n in range(10)))
    _take_log(one, *((n, f"e-{n}", f"{n}") for n in range(5, 15)))
    assert one.refused() == []
    others = [(15, "e-15", "15"), (16, "e-2", "16"), (3, "e-3", "another")]
    _take_log(one, *others, own_ids=own_ids)
    assert one.refused() == [
        (kind, "another history of this region is here") for kind in ("event", "id")
    ]
    counts = "SELECT (SELECT count(*) FROM mc.ledger_event), (SELECT count(*) FROM mc.ledger_id)"
    assert one.do(counts).fetchone() == (17, 16)
    _take_log(one, *((n, f"e-{n}", f"{n}") for n in (20, 17, 18, 19)))
    assert one.do(counts).fetchone() == (21, 20)
    assert len(one.refused()) == 2


def test_a_log_of_another_name_is_looked_up_in_a_session_that_knows_the_first(empty):
    """What a session remembers is of one log: of a new epoch, or a forged name, each first entry is looked up."""
    one, _ = empty
    entry = (
        "INSERT INTO mc.ledger_event (region, recorded_at, index, event_id, tenant, kind, occurred_at, leaf, leaf_hash) "
        "VALUES (%s, '2026-03-02', %s, %s, 'T', 'k', now(), '', sha256(%s::bytea))"
    )
    checkpoint = "INSERT INTO mc.ledger_checkpoint (region, size, note) VALUES (%s, %s, 'n')"
    one.do("SELECT mc.make_ledger_partition('2026-03-02')")
    told = [("local-2", 1), ("local-2", 2), ("local-1", 1), ("local-2/e2", 1), ("local-2/e2", 2)]
    for _ in range(2):  # the second time in another session, in which each comes again
        one.do("RESET ALL")
        for region, index in told:
            with one.connection.transaction():
                one.do("SET LOCAL session_replication_role = replica")
                one.do(entry, region, index, f"{region}-{index}", f"{index}")
                one.do(checkpoint, region, index)
    for held in (
        "SELECT region, index FROM mc.ledger_event ORDER BY region, index",
        "SELECT region, size FROM mc.ledger_checkpoint ORDER BY region, size",
    ):
        assert one.do(held).fetchall() == [told[0], told[1], *told[3:]]
    assert {error for _, error in one.refused()} == {
        "the peer told it in the name of another region"
    }
