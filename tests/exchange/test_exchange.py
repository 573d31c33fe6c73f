"""Exchange: whatever happens inside, the answer is Deny; what leaves was permitted; there is one record, without secrets."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import hypothesis.strategies as st
import pytest
import zstandard
from hypothesis import HealthCheck, given
from hypothesis import settings as effort

import story
from sluicegate.exchange import Exchange, RequestHead, ResponseHead, content, exchange, hop
from sluicegate.exchange.content import Content
from sluicegate.exchange.hold import HOLD_BACK
from sluicegate.exchange.note import Note
from sluicegate.facts import Unknown
from sluicegate.records import record
from sluicegate.records.journal import Journal, Slot
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Deny, Permit, Reason, built_in
from story import AWS, SECRET, Told, allow, head

KEY = SECRET.encode()
POLICY = allow("a.test")
ELSEWHERE = allow("b.test")
BUFFER = 1 << 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """For tests that do not look at the records."""
    with story.told(tmp_path_factory.mktemp("story"), POLICY) as told:
        yield told


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with story.told(tmp_path, POLICY) as made:
        yield made


def reason(verdict: object) -> Reason | None:
    return verdict.reason if isinstance(verdict, Deny) else None


def begun(told: Told, *fields: tuple[bytes, bytes], **more: object) -> Exchange:
    """After a head with a body to come."""
    made = told.exchange()
    assert isinstance(made.head(head(*fields, method=b"POST", **more), end=False), Permit)
    return made


class TestAFaultInside:
    """Every step made to raise, once each."""

    def boom(self, *arguments: object, **more: object):
        raise RuntimeError("boom")

    @pytest.mark.parametrize(
        ("where", "what", "step"),
        [
            pytest.param(exchange, "read", "head", id="reading the head"),
            pytest.param(Snapshot, "decide", "head", id="deciding"),
            pytest.param(Content, "head", "head", id="scanning the head"),
            pytest.param(Content, "begin", "head", id="choosing how to read the body"),
            pytest.param(hop, "request_headers", "head", id="writing the head anew"),
            pytest.param(Note, "request", "head", id="noting the request"),
            pytest.param(Note, "asked", "head", id="noting the ask"),
            pytest.param(Note, "decided", "head", id="noting the time"),
            pytest.param(Content, "feed", "data", id="scanning the body"),
            pytest.param(Content, "finish", "end", id="scanning the end"),
            pytest.param(Content, "trailers", "end", id="scanning the trailers"),
            pytest.param(Content, "take", "take", id="taking the body"),
            pytest.param(hop, "response_headers", "response", id="writing the answer's head"),
            pytest.param(Note, "first_byte", "response", id="noting the first byte"),
            pytest.param(Content, "message", "message", id="scanning a message"),
            pytest.param(Snapshot, "decide", "recheck", id="deciding again"),
        ],
    )
    def test_is_a_deny_that_lets_nothing_go_and_is_recorded_once(
        self, told: Told, monkeypatch: pytest.MonkeyPatch, where: object, what: str, step: str
    ):
        made = told.exchange()
        steps = {
            "head": lambda: made.head(head(method=b"POST"), end=False),
            "data": lambda: made.data(b"x" * 100),
            "end": lambda: made.end(((b"x", b"y"),)),
            "take": made.take,
            "response": lambda: made.response(ResponseHead(200, ())),
            "message": lambda: made.message(from_client=True, payload=b"x"),
            "recheck": lambda: made.recheck(told.gate.snapshot),
        }
        for name, run in steps.items():
            if name == step:
                monkeypatch.setattr(where, what, self.boom)
            run()
            if name == step:
                break
        monkeypatch.undo()

        assert reason(made.verdict) is Reason.CRASH
        for run in steps.values():
            run()
        assert reason(made.verdict) is Reason.CRASH
        assert (made.take(), made.ready) == (b"", False)
        assert made.refusal()[0] == 503
        made.close()
        made.close()
        assert (told.record()["verdict"], told.record()["reason"], told.record()["rule"]) == ("deny", "crash", step)
        assert not told.gate.live

    @pytest.mark.parametrize("step", ["response_data", "response_end"])
    def test_is_a_deny_in_the_answer_too(self, told: Told, step: str):
        made = begun(told)

        class Hostile(bytes):
            def __len__(self) -> int:
                raise RuntimeError("boom")

        if step == "response_data":
            made.response_data(Hostile())
            assert reason(made.verdict) is Reason.CRASH
        else:
            assert isinstance(made.response_end(), Permit)  # there is nothing in it that could fail
        made.close()

    def test_in_the_refusal_is_a_refusal_without_words(self, told: Told, monkeypatch: pytest.MonkeyPatch):
        made = told.exchange()
        made.head(head(host=b"b.test"), end=True)
        monkeypatch.setattr(exchange, "render", self.boom)

        assert made.refusal() == (503, [("Content-Length", "0"), ("Connection", "close")], b"")

    def test_in_the_end_still_leaves_a_record(self, told: Told, monkeypatch: pytest.MonkeyPatch):
        made = begun(told)
        monkeypatch.setattr(Content, "close", self.boom)

        made.close()
        assert (told.record()["reason"], told.record()["rule"]) == ("crash", "close")

    def test_in_the_stopping_of_one_is_not_passed_on(self, told: Told):
        made = begun(told)
        made.on_stop = self.boom

        made.recheck(told.read(ELSEWHERE))
        assert reason(made.verdict) is Reason.RELOADED

    def test_in_the_record_leaves_a_poorer_record(self, told: Told, monkeypatch: pytest.MonkeyPatch):
        made = begun(told)
        real, calls = record.build, []

        def build(**facts: object) -> record.Record:
            calls.append(facts)
            return self.boom() if len(calls) == 1 else real(**facts)

        monkeypatch.setattr(record, "build", build)
        made.close()
        assert told.record()["id"] == made.id
        assert "could not be made in full" in told.record()["detail"]

    def test_in_the_record_writer_is_counted(self, told: Told, monkeypatch: pytest.MonkeyPatch):
        made = begun(told)
        monkeypatch.setattr(Slot, "write", self.boom)

        made.close()
        assert told.counted("sluicegate_records_lost_total", cause="build") == 1

    def test_in_the_promise_of_room_permits_nothing(self, told: Told, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(Journal, "reserve", self.boom)

        assert reason(told.exchange().head(head(), end=True)) is Reason.RECORDS_FULL


STEPS = st.one_of(
    st.tuples(st.just("head"), st.sampled_from([b"a.test", b"b.test", b"", b"a.test:1"]), st.booleans()),
    st.tuples(st.just("data"), st.sampled_from([b"", b"x" * 100, b"y" * 700_000, KEY, KEY[:10], KEY[10:], b"\x1f\x8b\x08"])),
    st.tuples(st.just("end"), st.sampled_from([(), ((b"x", b"y"),), ((b"x", KEY),)])),
    st.tuples(st.just("response"), st.sampled_from([100, 101, 200, 403])),
    st.tuples(st.just("response_data"), st.just(b"z" * 10)),
    st.tuples(st.just("response_end")),
    st.tuples(st.just("message"), st.booleans(), st.sampled_from([b"hello", KEY])),
    st.tuples(st.just("fail"), st.sampled_from([Reason.CLIENT_GONE, Reason.UPSTREAM_BROKE])),
    st.tuples(st.just("recheck"), st.sampled_from([POLICY, ELSEWHERE])),
    st.tuples(st.just("refusal")),
    st.tuples(st.just("close")),
)  # fmt: skip


class Conversation:
    """Drives an exchange as no lane would, and checks what must hold after every step."""

    def __init__(self, told: Told, snapshots: dict[str, Snapshot]) -> None:
        self.made = told.exchange()
        self.snapshots = snapshots
        self.fed = self.taken = b""
        self.ended = self.denied = False

    def step(self, name: str, *arguments: object) -> None:
        made = self.made
        match name:
            case "head":
                made.head(head(host=arguments[0]), end=arguments[1])
                self.ended = self.ended or bool(arguments[1])
            case "data":
                if not self.ended:
                    self.fed += arguments[0]
                made.data(*arguments)
            case "end":
                made.end(*arguments)
                self.ended = True
            case "response":
                made.response(ResponseHead(arguments[0], ()))
            case "message":
                made.message(*arguments)
            case "fail":
                made.fail(arguments[0], "why")
            case "recheck":
                made.recheck(self.snapshots[arguments[0]])
            case _:
                getattr(made, name)(*arguments)
        self.check()

    def check(self) -> None:
        made = self.made
        if self.denied:
            assert isinstance(made.verdict, Deny), "a Deny became a Permit"
        self.denied = self.denied or (isinstance(made.verdict, Deny) and made._head is not None)
        taken = made.take()
        self.taken += taken
        if isinstance(made.verdict, Deny):
            assert not taken, "bytes without a Permit"
            assert not made.ready
        if not self.ended and len(self.fed) <= BUFFER:
            assert not self.taken, "bytes of a body that may still be held whole"
        assert KEY not in self.taken, "a secret left"


@given(steps=st.lists(STEPS, max_size=12))
@effort(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_steps_reopens_or_lets_out_what_was_not_permitted(shared: Told, steps: list[tuple[object, ...]]):
    snapshots = {POLICY: shared.read(POLICY), ELSEWHERE: shared.read(ELSEWHERE)}
    conversation = Conversation(shared, snapshots)
    try:
        for step in steps:
            conversation.step(*step)
    finally:
        conversation.made.close()


class TestOrder:
    def test_a_body_before_its_head_is_a_crash(self, shared: Told):
        assert reason(shared.exchange().data(b"x")) is Reason.CRASH

    def test_a_body_after_its_end_is_a_crash(self, shared: Told):
        made = begun(shared)
        made.end()

        assert reason(made.data(b"x")) is Reason.CRASH
        assert made.take() == b""

    def test_a_second_head_is_a_crash(self, shared: Told):
        made = begun(shared)

        assert reason(made.head(head(), end=True)) is Reason.CRASH

    def test_the_first_refusal_is_the_one_that_counts(self, shared: Told):
        made = begun(shared)
        made.fail(Reason.UPSTREAM_BROKE, "first")
        made.refuse(Deny(Reason.LISTED, built_in("dial"), "second"))

        assert reason(made.verdict) is Reason.UPSTREAM_BROKE

    def test_a_client_that_left_gets_nothing_more_through(self, told: Told):
        made = begun(told)
        made.data(b"x" * 2_000_000)
        made.fail(Reason.CLIENT_GONE, "the client left")
        made.data(b"y" * 2_000_000)
        made.end()

        assert (made.take(), made.ready) == (b"", False)
        made.close()
        assert (told.record()["verdict"], told.record()["detail"]) == ("allow", "the client left")


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("request_head", "why"),
        [
            pytest.param(head(host=b"b.test"), Reason.NAMES_DISAGREE, id="another name than the connection's"),
            pytest.param(head(host=b"a.test:1"), Reason.NAMES_DISAGREE, id="another port than the connection's"),
            pytest.param(head(host=None), Reason.BAD_REQUEST, id="no Host"),
            pytest.param(head((b"X", b"y" * 70_000)), Reason.HEAD_TOO_LARGE, id="a head too large"),
        ],
    )
    def test_heads(self, shared: Told, request_head: RequestHead, why: Reason):
        assert reason(shared.exchange().head(request_head, end=True)) is why

    def test_what_no_rule_allows(self, shared: Told):
        made = shared.exchange("b.test")

        assert reason(made.head(head(host=b"b.test"), end=True)) is Reason.NO_RULE

    def test_all_of_an_unknown_workload(self, shared: Told):
        made = shared.exchange(identity=Unknown("nobody"))

        assert reason(made.head(head(), end=True)) is Reason.UNKNOWN_IDENTITY

    def test_all_on_a_connection_that_is_refused(self, shared: Told):
        deny = Deny(Reason.LISTED, built_in("lists"), "listed")

        assert shared.exchange(refused=deny).head(head(), end=True) is deny

    def test_a_101_that_nobody_asked_for(self, shared: Told):
        made = begun(shared)

        assert reason(made.response(ResponseHead(101, ()))) is Reason.UPSTREAM_BROKE

    @pytest.mark.parametrize(
        "field",
        [
            pytest.param((b"X", b"a\r\nSet-Cookie: b"), id="a line break in a value"),
            pytest.param((b"X\r\nSet-Cookie", b"b"), id="a line break in a name"),
            pytest.param((b"X Y", b"b"), id="a space in a name"),
            pytest.param((b"", b"b"), id="no name"),
            pytest.param((b"Content-Length", b"1, 2"), id="two lengths"),
        ],
    )
    def test_an_answer_that_two_clients_may_read_differently(self, shared: Told, field: tuple[bytes, bytes]):
        made = begun(shared)

        assert reason(made.response(ResponseHead(200, (field,)))) is Reason.UPSTREAM_BROKE


class TestSensitiveData:
    @pytest.mark.parametrize(
        "request_head",
        [
            pytest.param(head(target=b"/v1?key=" + KEY), id="query value"),
            pytest.param(head(target=b"/v1?" + KEY + b"=1"), id="query key"),
            pytest.param(head(target=b"/v1/" + KEY + b"/items"), id="path"),
            pytest.param(head(target=b"/v1?key=" + KEY.replace(b"_", b"%5F")), id="percent-encoded in the query"),
            pytest.param(head((b"X-Debug", KEY)), id="field value"),
            pytest.param(head((b"X-Debug", KEY.replace(b"_", b"%5F"))), id="percent-encoded in a field"),
            pytest.param(head((KEY, b"1")), id="field name"),
            pytest.param(head((KEY, KEY)), id="field name and value"),
            pytest.param(head(method=AWS.encode()), id="method"),
        ],
    )
    def test_in_the_head_is_denied_and_not_recorded(self, told: Told, request_head: RequestHead):
        made = told.exchange()

        assert reason(made.head(request_head, end=True)) is Reason.SENSITIVE_DATA
        made.refusal()
        made.close()
        assert told.record()["findings"]
        self.nowhere(told.raw())

    @pytest.mark.parametrize(
        ("name", "request_head"),
        [
            pytest.param(f"{AWS}.a.test".lower(), head(host=f"{AWS}.a.test".encode()), id="Host"),
            pytest.param(
                f"{AWS}.a.test".lower(),
                head(host=None, authority=f"{AWS}.a.test".encode(), version="HTTP/2.0"),
                id="authority of HTTP/2",
            ),
        ],
    )
    def test_in_the_name_is_denied_and_not_recorded(self, tmp_path: Path, name: bytes | str, request_head: RequestHead):
        with story.told(tmp_path, allow("*.a.test")) as told:
            made = told.exchange(name)

            assert reason(made.head(request_head, end=True)) is Reason.SENSITIVE_DATA
            made.close()
            self.nowhere(told.raw())

    @pytest.mark.parametrize(
        ("name", "request_head"),
        [
            pytest.param("b.test", head(host=b"b.test", target=b"/v1/" + KEY), id="path, refused by policy"),
            pytest.param("b.test", head(host=b"b.test", target=b"/?" + KEY), id="query key, refused by policy"),
            pytest.param("b.test", head((b"Content-Type", KEY), host=b"b.test"), id="type, refused by policy"),
            pytest.param("b.test", head(host=b"b.test", method=AWS.encode()), id="method, refused by policy"),
            pytest.param(f"{SECRET}.b.test", head(host=f"{SECRET}.b.test".encode()), id="name, refused by policy"),
            pytest.param("b.test", head(host=KEY + b"!"), id="a host that is none"),
            pytest.param("b.test", head(host=b"b.test", target=KEY), id="a target that is no path"),
            pytest.param("b.test", head((b"X", b"y" * 70_000), host=KEY + b"!"), id="a host in a head too large"),
            pytest.param(
                "b.test", head((b"Content-Type", KEY + b"y" * 70_000), host=b"b.test"), id="a type in a head too large"
            ),
        ],
    )
    def test_in_a_head_that_is_refused_unscanned_is_not_recorded_either(
        self, told: Told, name: bytes | str, request_head: RequestHead
    ):
        made = told.exchange(name)

        assert isinstance(made.head(request_head, end=True), Deny)
        made.close()
        assert told.record()["verdict"] == "deny"
        self.nowhere(told.raw())

    def nowhere(self, text: str) -> None:
        for secret in (SECRET, AWS):
            assert secret[4:].lower() not in text.lower()

    def test_what_the_policy_refuses_is_shown_with_its_clean_path(self, told: Told):
        made = told.exchange("b.test")
        made.head(head(host=b"b.test", target=b"/downloads/0123456789abcdef0123/x"), end=True)
        made.close()

        assert told.record()["path"] == "/downloads/0123456789abcdef0123/x"

    @pytest.mark.parametrize("name", [b"Authorization", b"COOKIE", b"x-api-key", b"Private-Token"])
    def test_in_the_field_made_for_it_passes_and_is_recorded(self, told: Told, name: bytes | str):
        made = told.exchange()

        assert isinstance(made.head(head((name, b"Bearer " + KEY)), end=True), Permit)
        made.close()
        (found,) = told.record()["findings"]
        assert (found["action"], found["location"]) == ("alert", f"header:{name.decode().lower()}")
        self.nowhere(told.raw())

    @pytest.mark.parametrize("cut", [0, 1, 20, len(KEY)])
    def test_in_the_body_is_denied_wherever_it_is_cut(self, told: Told, cut: int):
        made = begun(told)
        made.data(b'{"token": "' + KEY[:cut])
        made.data(KEY[cut:] + b'"}')
        made.end()

        assert reason(made.verdict) is Reason.SENSITIVE_DATA
        assert made.take() == b""
        made.close()
        assert told.record()["reason"] == "sensitive-data"
        self.nowhere(told.raw())

    def test_in_the_trailers_is_denied(self, shared: Told):
        made = begun(shared)
        made.data(b"x")

        assert reason(made.end(((b"x-sum", KEY),))) is Reason.SENSITIVE_DATA
        assert made.take() == b""

    def test_in_a_websocket_message_is_denied(self, shared: Told):
        fields = (
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
        )
        made = shared.exchange()
        made.head(head(*fields), end=True)
        assert isinstance(made.response(ResponseHead(101, ())), Permit)

        assert isinstance(made.message(from_client=True, payload=b"hello"), Permit)
        assert isinstance(made.message(from_client=False, payload=KEY), Permit)
        assert reason(made.message(from_client=True, payload=KEY)) is Reason.SENSITIVE_DATA


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def brotlied(data: bytes) -> bytes:
    return bytes(brotli.compress(data))


class TestBodies:
    @pytest.mark.parametrize(
        ("coding", "pack"),
        [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"br", brotlied), (b"zstd", zstd)],
        ids=["gzip", "deflate", "br", "zstd"],
    )
    def test_that_are_packed_are_looked_into(self, shared: Told, coding: bytes, pack: Callable[[bytes], bytes]):
        clean, dirty = begun(shared, (b"Content-Encoding", coding)), begun(shared, (b"Content-Encoding", coding))
        clean.data(pack(b"nothing here " * 100))
        dirty.data(pack(b"nothing here " * 100 + KEY))
        dirty.end()

        assert isinstance(clean.end(), Permit)
        assert clean.take() == pack(b"nothing here " * 100)
        assert reason(dirty.verdict) is Reason.SENSITIVE_DATA

    @pytest.mark.parametrize(
        ("coding", "body"),
        [
            pytest.param(b"gzip", b"not gzip at all", id="not what it says"),
            pytest.param(b"gzip", gzip.compress(b"x" * 1000)[:-12], id="cut off"),
            pytest.param(b"snappy", b"whatever", id="an unknown coding"),
            pytest.param(b"gzip", gzip.compress(bytes(80 << 20), 9), id="a bomb"),
        ],
    )
    def test_that_cannot_be_scanned_are_denied(self, shared: Told, coding: bytes, body: bytes):
        made = begun(shared, (b"Content-Encoding", coding))
        made.data(body)
        made.end()

        assert reason(made.verdict) is Reason.UNSCANNABLE
        assert made.take() == b""

    def test_up_to_the_buffer_are_held_until_their_end(self, shared: Told):
        made = begun(shared)
        for _ in range(16):
            made.data(b"x" * (BUFFER // 16))
            assert (made.take(), made.ready) == (b"", False)

        made.end()
        assert made.ready
        assert len(made.take()) == BUFFER

    def test_above_the_buffer_flow_with_their_end_held_back(self, shared: Told):
        made = begun(shared)
        made.data(b"x" * (BUFFER + 1))
        assert made.ready
        assert len(made.take()) == BUFFER + 1 - HOLD_BACK

        made.data(KEY + b"\n")
        made.data(b"x" * (2 * HOLD_BACK))
        assert reason(made.verdict) is Reason.SENSITIVE_DATA
        assert made.take() == b""

    def test_are_counted(self, told: Told):
        made = begun(told)
        made.data(b"x" * 10)
        made.end()
        made.response(ResponseHead(201, ()))
        made.response_data(b"y" * 20)
        made.response_end()
        made.close()

        found = told.record()
        assert (found["bytes"], found["status"]) == ({"up": 10, "down": 20}, 201)
        assert found["coverage"] == {"request": "full", "response": "opaque", "why": "responses are not scanned"}


class TestFullRecords:
    def test_permit_nothing_and_say_so(self, tmp_path: Path):
        with story.told(tmp_path, POLICY, records={"file": "v.jsonl", "queue": 10}) as told:
            open_ones = [told.exchange() for _ in range(2)]  # a quarter of ten, rounded down, is one workload's
            refused = told.exchange()

            assert [reason(made.head(head(), end=True)) for made in open_ones] == [None, None]
            assert reason(refused.head(head(), end=True)) is Reason.RECORDS_FULL
            assert refused.refusal()[0] == 503
            for made in (*open_ones, refused):
                made.close()
            assert told.gate.journal.flush()
            assert isinstance(told.exchange().head(head(), end=True), Permit)


class TestReload:
    def test_what_the_new_policy_refuses_ends(self, told: Told):
        made, stopped = begun(told), []
        made.on_stop = lambda: stopped.append(made.verdict)
        assert made in told.gate.live

        made.recheck(told.read(POLICY))
        assert not stopped
        made.recheck(told.read(ELSEWHERE))
        made.recheck(told.gate.snapshot)
        assert len(stopped) == 1
        made.close()
        assert (told.record()["verdict"], told.record()["reason"]) == ("deny", "reloaded")
        assert "a new policy refuses this" in told.record()["detail"]

    def test_it_is_decided_with_the_address_that_was_dialled(self, told: Told, tmp_path: Path):
        made = begun(told)
        made.dialled(story.ip_address("93.184.216.34"))
        (tmp_path / "blocklists" / "bad.txt").write_text("93.184.216.34\n")

        made.recheck(told.read(POLICY))
        assert reason(made.verdict) is Reason.RELOADED

    def test_a_request_under_way_keeps_its_policy(self, told: Told):
        made = told.exchange()
        told.reload(ELSEWHERE)

        assert isinstance(made.head(head(), end=True), Permit)
        assert reason(told.exchange().head(head(), end=True)) is Reason.NO_RULE


def test_the_answer_says_close_while_the_gateway_drains(told: Told):
    made = begun(told)
    told.gate.draining = True

    made.response(ResponseHead(200, ((b"X", b"y"),)))
    assert (b"Connection", b"close") in made.response_headers


def test_findings_are_not_kept_without_bound(shared: Told, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(content, "_MOST_FINDINGS", 3)
    made = shared.exchange()
    made.head(head(*((b"Cookie", f"a={SECRET[:-2]}{number:02}".encode()) for number in range(10))), end=True)

    assert len(made._content.findings) == 3
