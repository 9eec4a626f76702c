"""The sinks over HTTP, against servers on loopback that answer as the real ones do."""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import gzip
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.loopback import certificate

from mc_contract.canonical import canonical_json
from mc_contract.siem import SiemFormat
from mc_platform.adapters.siem.elastic import ElasticSiem
from mc_platform.adapters.siem.http import Answer, retry_after_s
from mc_platform.adapters.siem.ocsf import OcsfSiem
from mc_platform.adapters.siem.sink import siem_sink
from mc_platform.adapters.siem.splunk import Acknowledgement, SplunkSiem
from mc_platform.deliver import BatchRejected, Shipment, SinkRefused
from mc_platform.errors import Misconfigured

KEY = "the-key-itself"


def shipments(count, first=0):
    made = []
    for index in range(first, first + count):
        leaf = {
            "v": 1,
            "region": "local-1",
            "id": f"event-{index}",
            "kind": "request.refused",
            "tenant": "TENANT_001",
            "occurred_at": "2026-01-02T03:04:05.678901+00:00",
            "detail": {"subject": f"task-{index}", "principal": "agent@x", "reason": "a=b|c\\d"},
        }
        made.append(Shipment(index, dt.datetime.now(dt.UTC), leaf, canonical_json(leaf)))
    return made


class Siem:
    """Answers what it is told, in turn (the last answer for ever), and remembers the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    async def handle(self, request):
        body = await request.read()
        self.requests.append((request, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(request, body)
        status, said, headers = (*answer, {})[:3]
        return web.json_response(said, status=status, headers=headers)

    @asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        async with TestServer(app) as server:
            yield str(server.make_url("/"))


@asynccontextmanager
async def sink_of(kind, siem, **more):
    async with siem.serving() as url:
        sink = kind(url=url + more.pop("path", ""), key=KEY, version="1.2.3", **more)
        try:
            yield sink
        finally:
            await sink.close()


def ids_of_ocsf(body):
    return [json.loads(line)["metadata"]["uid"] for line in body.splitlines()]


# -- OCSF -----------------------------------------------------------------------------------


async def test_ocsf_posts_gzipped_lines_with_the_key():
    """One POST, JSON lines in order, compressed, with the bearer key."""
    siem = Siem((200, {}))
    async with sink_of(OcsfSiem, siem, path="ingest") as sink:
        assert await sink.take(shipments(3)) == ()
    [(request, body)] = siem.requests
    assert (request.method, request.path) == ("POST", "/ingest")
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Encoding"] == "gzip"
    assert ids_of_ocsf(body) == ["event-0", "event-1", "event-2"]


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 408, 429, 500, 502, 503])
async def test_what_may_heal_is_refused(status):
    """Nothing is taken, nothing is followed: the same is sent again later."""
    siem = Siem((status, {"secret": "content"}, {"Location": "http://127.0.0.1:1/elsewhere"}))
    async with sink_of(OcsfSiem, siem) as sink:
        with pytest.raises(SinkRefused) as caught:
            await sink.take(shipments(1))
    assert not isinstance(caught.value, BatchRejected)
    assert str(status) in caught.value.reason
    assert "content" not in caught.value.reason
    assert len(siem.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_bad_content_is_for_the_shipper_to_split(status):
    """The server objects to the content and does not say to which event's."""
    async with sink_of(OcsfSiem, Siem((status, {}))) as sink:
        with pytest.raises(BatchRejected, match=str(status)):
            await sink.take(shipments(2))


async def test_retry_after_is_passed_on():
    """429 with seconds; the shipper waits that long."""
    async with sink_of(OcsfSiem, Siem((429, {}, {"Retry-After": "7"}))) as sink:
        with pytest.raises(SinkRefused) as caught:
            await sink.take(shipments(1))
    assert caught.value.retry_after_s == 7


def test_retry_after_in_every_form():
    """Seconds or a date, bounded; nonsense is no wish at all."""
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    assert 50 < retry_after_s({"retry-after": email.utils.format_datetime(soon)}) <= 60
    assert retry_after_s({"retry-after": "86400"}) == 300
    assert retry_after_s({"retry-after": "-5"}) == 0
    for nonsense in ("nan", "soon", ""):
        assert retry_after_s({"retry-after": nonsense}) is None
    assert retry_after_s({}) is None


async def test_a_dead_server_is_a_refusal_without_its_address():
    """A connection error names its kind; not the URL, not the key."""
    sink = OcsfSiem(url="http://127.0.0.1:1/ingest", key=KEY, version="1")
    with pytest.raises(SinkRefused) as caught:
        await sink.take(shipments(1))
    await sink.close()
    assert "127.0.0.1" not in caught.value.reason
    assert KEY not in caught.value.reason


# -- Splunk ---------------------------------------------------------------------------------


class Hec:
    """A collector that acknowledges after `polls` questions; it follows the documented answers."""

    def __init__(self, *, polls=1, offers=True, bad=()):
        self.polls, self.offers, self.bad = polls, offers, set(bad)
        self.indexed, self.posts, self.asked, self.channels = [], 0, {}, set()

    def answer(self, request, body):
        assert request.headers["Authorization"] == f"Splunk {KEY}"
        self.channels.add(request.headers["X-Splunk-Request-Channel"])
        if request.path == "/services/collector/ack":
            if not self.offers:
                return 400, {"text": "ACK is disabled", "code": 14}
            return 200, {"acks": {str(one): self._ack(one) for one in json.loads(body)["acks"]}}
        assert request.path == "/services/collector/event"
        self.posts += 1
        events = [json.loads(line) for line in body.splitlines()]
        ids = [event["event"]["metadata"]["uid"] for event in events]
        for number, one in enumerate(ids):
            if one in self.bad:
                text = {"text": "Invalid data format", "code": 6, "invalid-event-number": number}
                return 400, text
        self.indexed += ids
        said = {"text": "Success", "code": 0}
        return 200, {**said, "ackId": self.posts} if self.offers else said

    def _ack(self, one):
        self.asked[one] = self.asked.get(one, 0) + 1
        return self.polls is not None and one > 0 and self.asked[one] >= self.polls


async def test_hec_waits_until_the_indexers_acknowledge():
    """A 200 is not enough: the batch is taken when /ack says true for its id."""
    hec = Hec(polls=4)
    async with sink_of(SplunkSiem, Siem(hec.answer)) as sink:
        assert await sink.take(shipments(3)) == []
        assert hec.asked[1] == 4
        await sink.take(shipments(2, first=3))
    assert hec.indexed == [f"event-{i}" for i in range(5)]
    assert len(hec.channels) == 1


async def test_hec_that_never_acknowledges_is_refused_and_sent_again():
    """Without an acknowledgement in time nothing counts as taken; the repeat has the same ids."""
    hec = Hec(polls=None)
    wait = Acknowledgement(wait_s=0.2)
    async with sink_of(SplunkSiem, Siem(hec.answer), acknowledgement=wait) as sink:
        with pytest.raises(SinkRefused, match=r"did not acknowledge within 0\.2 s"):
            await sink.take(shipments(1))
        hec.polls = 1
        assert await sink.take(shipments(1)) == []
    assert hec.indexed == ["event-0", "event-0"]


async def test_hec_without_acknowledgement_is_refused_before_anything_is_sent():
    """Where it is required and not offered, the reason says what to do, and no event travels."""
    hec = Hec(offers=False)
    async with sink_of(SplunkSiem, Siem(hec.answer)) as sink:
        with pytest.raises(SinkRefused, match="AUDIT_SIEM_HEC_ACK=off"):
            await sink.take(shipments(1))
    assert hec.posts == 0


async def test_hec_200_without_an_ack_id_is_not_taken():
    """A collector that answers /ack but gives no id has not promised anything."""
    answers = [(200, {"acks": {"0": False}}), (200, {"text": "Success", "code": 0})]
    async with sink_of(SplunkSiem, Siem(*answers)) as sink:
        with pytest.raises(SinkRefused, match="does not acknowledge"):
            await sink.take(shipments(1))


async def test_hec_acknowledgement_can_be_waived():
    """`off` takes the collector's 200 for it; /ack is not asked."""
    hec = Hec(offers=False)
    off = Acknowledgement(required=False)
    async with sink_of(SplunkSiem, Siem(hec.answer), acknowledgement=off) as sink:
        assert await sink.take(shipments(2)) == []
    assert (hec.posts, hec.asked) == (1, {})


@pytest.mark.parametrize("said", [{}, {"code": 9}, {"code": True}, {"code": "0"}, ["x"]])
@pytest.mark.parametrize("required", [True, False])
async def test_a_200_that_is_no_hecs_success_is_not_taken(required, said):
    """A login page or another service answers 200, too; nothing is lost to it."""
    answers = [(200, {"acks": {}}), (200, said)] if required else [(200, said)]
    with_ack = Acknowledgement(required=required, wait_s=0.1)
    async with sink_of(SplunkSiem, Siem(*answers), acknowledgement=with_ack) as sink:
        with pytest.raises(SinkRefused):
            await sink.take(shipments(2))


async def test_hec_names_the_bad_event_and_the_rest_is_sent_again():
    """Each event that the collector names is refused for good; the others are indexed."""
    hec = Hec(bad=["event-1", "event-4"])
    async with sink_of(SplunkSiem, Siem(hec.answer)) as sink:
        rejected = await sink.take(shipments(6))
    assert [one.index for one in rejected] == [1, 4]
    assert "code 6" in rejected[0].reason
    assert hec.indexed == ["event-0", "event-2", "event-3", "event-5"]


async def test_hec_with_many_bad_events_is_split():
    """More than a few bad ones in a batch are not worked off one request at a time."""
    hec = Hec(bad=[f"event-{i}" for i in range(40)])
    async with sink_of(SplunkSiem, Siem(hec.answer)) as sink:
        with pytest.raises(BatchRejected, match="more than 16"):
            await sink.take(shipments(40))


@pytest.mark.parametrize(
    ("status", "said", "told", "split"),
    [
        (403, {"text": "Invalid token", "code": 4}, "code 4: the token is not known", False),
        (503, {"text": "Server is busy", "code": 9}, "code 9: the server is busy", False),
        (400, {"text": "Incorrect index", "code": 7}, "code 7", False),
        (400, {"text": "Data channel is missing", "code": 10}, "code 10", False),
        (400, {"text": "Query string authorization is not enabled", "code": 16}, "code 16", False),
        (400, {"text": "what no version has yet", "code": 99}, "code 99", False),
        (400, {"text": "No data", "code": 5}, "code 5", True),
        (400, {"text": "Invalid data format", "code": 6}, "code 6", True),
        (400, {"code": 6, "invalid-event-number": 99}, "code 6", True),
        (413, "too large", "HEC HTTP 413", True),
        (500, "oops", "HEC HTTP 500", False),
    ],
)
async def test_hec_codes_mean_what_they_say(status, said, told, split):
    """What is about our set-up or their load is refused; what is about content is split."""
    off = Acknowledgement(required=False)
    answer = (status, said, {"Retry-After": "3"})
    async with sink_of(SplunkSiem, Siem(answer), acknowledgement=off) as sink:
        with pytest.raises(SinkRefused) as caught:
            await sink.take(shipments(2))
    assert told in caught.value.reason
    assert isinstance(caught.value, BatchRejected) is split
    if not split:
        assert caught.value.retry_after_s == 3


# -- Elastic --------------------------------------------------------------------------------


def bulk_answer(statuses, error="document_parsing_exception"):
    def one(status):
        failed = {"error": {"type": error, "reason": "quotes content"}} if status >= 400 else {}
        return {"create": {"status": status, **failed}}

    return 200, {"errors": any(s >= 400 for s in statuses), "items": [one(s) for s in statuses]}


async def test_elastic_creates_each_event_by_its_id():
    """The bulk lines are `create` with `_id`, then an ECS document with the leaf under `mc`."""
    siem = Siem(bulk_answer([201, 201]))
    batch = shipments(2)
    async with sink_of(ElasticSiem, siem, index="audit-x") as sink:
        assert await sink.take(batch) == []
    [(request, body)] = siem.requests
    assert request.path == "/audit-x/_bulk"
    assert request.headers["Authorization"] == f"ApiKey {KEY}"
    lines = [json.loads(line) for line in body.splitlines()]
    assert [line["create"]["_id"] for line in lines[::2]] == ["event-0", "event-1"]
    document = lines[1]
    assert document["@timestamp"] == batch[0].leaf["occurred_at"]
    assert document["mc"] == batch[0].leaf
    assert document["ecs"]["version"]
    assert document["organization"]["id"] == "TENANT_001"
    assert document["user"]["id"] == "agent@x"
    assert document["cloud"]["region"] == "local-1"
    assert document["event"]["id"] == "event-0"
    assert document["event"]["sequence"] == 0
    assert document["event"]["kind"] == "alert"
    assert document["event"]["category"] == ["api"]
    assert document["event"]["type"] == ["access", "denied"]
    assert document["event"]["outcome"] == "failure"


async def test_elastic_that_has_an_event_already_counts_it_as_taken():
    """409 is what a repeat is answered: the event is there."""
    async with sink_of(ElasticSiem, Siem(bulk_answer([409, 201, 409]))) as sink:
        assert await sink.take(shipments(3)) == []


async def test_elastic_refuses_one_document_for_good():
    """An event that cannot be mapped is named with the kind of error; the others are taken."""
    async with sink_of(ElasticSiem, Siem(bulk_answer([201, 400, 201]))) as sink:
        [rejected] = await sink.take(shipments(3))
    assert rejected.index == 1
    assert rejected.reason == "bulk item 400 document_parsing_exception"


@pytest.mark.parametrize("status", [403, 404, 429, 503])
async def test_elastic_with_an_item_that_may_heal_is_refused_whole(status):
    """What was taken meanwhile answers 409 next time: nothing stands twice."""
    answers = [bulk_answer([201, status, 400]), bulk_answer([409, 201, 400])]
    async with sink_of(ElasticSiem, Siem(*answers)) as sink:
        with pytest.raises(SinkRefused, match=f"bulk item {status}"):
            await sink.take(shipments(3))
        assert [one.index for one in await sink.take(shipments(3))] == [2]


LIMIT = "Limit of total fields [1000] has been exceeded while adding new fields [1]"
OF_THE_SINK = [
    {"type": "index_closed_exception"},
    {"type": "index_closed_exception", "reason": "closed", "index": "x"},
    {"type": "index_not_found_exception", "reason": "no such index [audit]"},
    {"type": "cluster_block_exception", "reason": "blocked by: [FORBIDDEN/8/index write (api)];"},
    {"type": "illegal_argument_exception", "reason": LIMIT},
    {"type": "illegal_argument_exception", "reason": "no write index is defined for alias [audit]"},
    {"type": "illegal_argument_exception", "reason": "pipeline with id [nosuch] does not exist"},
    {"type": "illegal_argument_exception", "reason": "only write ops with an op_type of create are "
     "allowed in data streams"},
    {"type": "document_parsing_exception", "reason": "[1:2] failed to parse: x",
     "caused_by": {"type": "illegal_argument_exception", "reason": LIMIT}},
    {"type": "mapper_parsing_exception", "reason": "Limit of mapping depth [20] has been exceeded"},
    {"type": "validation_exception", "reason": "this action would add [2] shards"},
    {"type": "security_exception", "reason": "action is unauthorized"},
    {"type": "invalid_index_name_exception", "reason": "must be lowercase"},
    {"type": "unavailable_shards_exception", "reason": "primary shard is not active"},
]  # fmt: skip
OF_THE_DOCUMENT = [
    {"type": "document_parsing_exception", "reason": "failed to parse field [mc.x] in the index"},
    {"type": "mapper_parsing_exception", "reason": "failed to parse",
     "caused_by": {"type": "number_format_exception", "reason": "For input string: blocked"}},
    {"type": "strict_dynamic_mapping_exception", "reason": "introduction of [x] is not allowed"},
    {"type": "illegal_argument_exception", "reason": "Document contains at least one immense term"},
    {"type": "illegal_argument_exception",
     "reason": "mapper [mc.x] cannot be changed from type [long] to [text]"},
    {"type": "x_content_parse_exception"},
    {},
    None,
]  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("error", OF_THE_SINK)
async def test_elastic_that_speaks_of_its_index_is_at_fault(error, whole):
    """Each 400 is the sink's, of an item or of the request: no event is refused for good."""
    items = [{"create": {"status": 400, "error": error}}] * 3
    answer = (400, {"error": error}) if whole else (200, {"errors": True, "items": items})
    async with sink_of(ElasticSiem, Siem(answer)) as sink:
        with pytest.raises(SinkRefused, match=f"400 {error['type']}") as caught:
            await sink.take(shipments(3))
    assert not isinstance(caught.value, BatchRejected)


@pytest.mark.parametrize("error", OF_THE_DOCUMENT)
async def test_elastic_that_speaks_of_a_document_refuses_that_one(error):
    """Whatever words the document brings into the text."""
    items = [{"create": {"status": 201}}, {"create": {"status": 400, "error": error}}]
    async with sink_of(ElasticSiem, Siem((200, {"errors": True, "items": items}))) as sink:
        assert [one.index for one in await sink.take(shipments(2))] == [1]


async def test_elastic_that_speaks_of_the_requests_path_is_at_fault():
    """Where nothing listens under that path, an error is a text; no event is split for it."""
    error = "no handler found for uri [/audit/_bulk] and method [POST]"
    async with sink_of(ElasticSiem, Siem((400, {"error": error, "status": 400}))) as sink:
        with pytest.raises(SinkRefused, match="HTTP 400") as caught:
            await sink.take(shipments(3))
    assert not isinstance(caught.value, BatchRejected)


async def test_elastic_that_names_other_events_is_refused():
    """An item that speaks of an event in another place tells nothing of the one that was sent."""
    items = [
        {"create": {"_id": f"event-{at}", "status": status}} for at, status in ((1, 400), (0, 201))
    ]
    async with sink_of(ElasticSiem, Siem((200, {"items": items}))) as sink:
        with pytest.raises(SinkRefused, match="does not tell of every event"):
            await sink.take(shipments(2))


async def test_what_elastic_calls_an_error_brings_no_secret_into_a_reason():
    """A type is lower-case words; a key or a token that stands there is left out."""
    async with sink_of(
        ElasticSiem, Siem(bulk_answer([201, 400], error="VuaCfGcBCdbkQm2e5aOx"))
    ) as sink:
        [rejected] = await sink.take(shipments(2))
    assert rejected.reason == "bulk item 400"


@pytest.mark.parametrize(
    "said", [{}, {"items": []}, {"items": [1, 2]}, {"items": [{"index": {}}] * 2}, ["x"]]
)
async def test_elastic_that_does_not_tell_of_every_event_is_refused(said):
    """An answer that cannot be matched with the batch proves nothing."""
    async with sink_of(ElasticSiem, Siem((200, said))) as sink:
        with pytest.raises(SinkRefused, match="does not tell"):
            await sink.take(shipments(2))


@pytest.mark.parametrize("status", [True, -400, 0, 999, 10**30, 400.0, "400", None])
async def test_what_elastic_calls_a_status_is_one_or_brings_nothing_into_a_reason(status):
    """A number of any length would carry whatever the SIEM likes into a log and the database."""
    said = {"items": [{"create": {"status": status}}]}
    async with sink_of(ElasticSiem, Siem((200, said))) as sink:
        with pytest.raises(SinkRefused, match=r"^the bulk answer does not tell of every event$"):
            await sink.take(shipments(1))


# -- TLS ------------------------------------------------------------------------------------


@asynccontextmanager
async def https(siem, context):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", siem.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"https://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/ingest"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("days", "host", "trusted", "told"),
    [
        (1, "127.0.0.1", True, None),
        (1, "127.0.0.1", False, "self-signed"),
        (-1, "127.0.0.1", True, "expired"),
        (1, "127.0.0.9", True, "another address"),
    ],
)
async def test_the_servers_certificate_is_verified(tmp_path, days, host, trusted, told):
    """A trusted CA, a date and a name that fit: else no key and no event travels."""
    siem = Siem((200, {}))
    context, ca = certificate(tmp_path, days=days, host=host)
    async with https(siem, context) as url:
        sink = siem_sink(
            url=url,
            key=KEY,
            format=SiemFormat.ocsf,
            version="1",
            ca_file=ca if trusted else None,
        )
        if told is None:
            assert await sink.take(shipments(1)) == ()
        else:
            with pytest.raises(SinkRefused, match=told) as caught:
                await sink.take(shipments(1))
            assert "127.0.0" not in caught.value.reason
            assert siem.requests == []
        await sink.close()


def test_a_ca_file_that_cannot_be_used_is_a_misconfiguration(tmp_path):
    """It is said at the start, by the setting's name."""
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(Misconfigured, match="AUDIT_SIEM_CA_FILE"):
            siem_sink(
                url="https://siem.example",
                key=KEY,
                format=SiemFormat.ocsf,
                version="1",
                ca_file=tmp_path / name,
            )


async def test_the_factory_makes_each_format():
    """Every format of the setting has a sink, and each is `siem` to the cursor."""
    urls = {SiemFormat.cef: "syslog+tcp://127.0.0.1:1"}
    for one in SiemFormat:
        sink = siem_sink(url=urls.get(one, "http://127.0.0.1:1"), key="k", format=one, version="1")
        assert (sink.name, sink.most > 0) == ("siem", True)
        with pytest.raises(SinkRefused):
            await asyncio.wait_for(sink.take(shipments(1)), 10)
        await sink.close()


def test_bodies_are_the_same_for_the_same_events():
    """Compression adds no time of its own."""
    from mc_platform.adapters.siem.http import compressed

    lines = [b"%d: of many bytes\n" % n * 20 for n in range(1000)]  # several pieces
    assert gzip.decompress(compressed(lines)) == b"".join(lines)
    assert compressed(lines) == compressed(lines)
    assert gzip.decompress(compressed([])) == b""


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 99 Foo 2026 25:61:61 GMT",
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 99999999999999999999:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 2026 00:00:00 +999999999999",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "\N{SUPERSCRIPT TWO}",
    ],
)
def test_a_malformed_retry_after_is_none(date):
    """Whatever a SIEM writes there, no error comes of it."""
    assert retry_after_s({"retry-after": date}) in (None, 0.0)


def test_an_answer_nested_beyond_reading_is_no_object():
    """A body of 100,000 brackets is read as empty."""
    assert Answer(200, b'{"a":' + b"[" * 100_000, None).json() == {}
