"""gRPC bodies as Content reads them; all else of it is tried through Exchange."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

import story
from sluicegate.exchange import Exchange
from sluicegate.verdict import Deny, Permit, Reason
from story import SECRET, Told, head

KEY = SECRET.encode()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with story.told(tmp_path_factory.mktemp("story"), limits={"message": "1KiB"}) as made:
        yield made


def begun(
    told: Told, *fields: tuple[bytes, bytes], kind: bytes = b"application/grpc", version: str = "HTTP/2.0"
) -> Exchange:
    made = told.exchange()
    opening = head((b"Content-Type", kind), *fields, method=b"POST", target=b"/pkg.Service/Method", version=version)
    assert isinstance(made.head(opening, end=False), Permit)
    return made


def message(payload: bytes, *, packed: bool = False) -> bytes:
    return bytes([packed]) + len(payload).to_bytes(4) + payload


def reason(verdict: object) -> Reason | None:
    return verdict.reason if isinstance(verdict, Deny) else None


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"Application/gRPC; charset=x"])
def test_each_message_goes_as_soon_as_it_is_whole(told: Told, kind: bytes):
    made, one, two = begun(told, kind=kind), message(b"one"), message(b"two")

    assert made.ready
    made.data(one + two[:4])
    assert made.take() == one
    made.data(two[4:])
    assert made.take() == two
    assert isinstance(made.end(), Permit)


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        pytest.param(b"application/grpc-web+proto", "HTTP/2.0", id="gRPC-Web has other frames"),
        pytest.param(b"application/grpcish", "HTTP/2.0", id="a longer word"),
        pytest.param(b"application/grpc", "HTTP/1.1", id="not over HTTP/1.1"),
    ],
)
def test_what_is_no_grpc_is_held_as_any_body(told: Told, kind: bytes, version: str):
    made = begun(told, kind=kind, version=version)
    made.data(message(b"one"))

    assert (made.ready, made.take()) == (False, b"")
    made.end()
    assert made.take() == message(b"one")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(message(KEY), Reason.SENSITIVE_DATA, id="a secret"),
        pytest.param(message(b"x" * 1025), Reason.MESSAGE_TOO_LARGE, id="a message above the limit"),
        pytest.param(b"\x02" + bytes(4), Reason.UNSCANNABLE, id="no flag"),
        pytest.param(message(b"x", packed=True), Reason.UNSCANNABLE, id="packed, nobody says how"),
        pytest.param(message(b"x")[:-1], Reason.UNSCANNABLE, id="cut off"),
    ],
)
def test_what_cannot_pass_is_denied(told: Told, body: bytes, why: Reason):
    made = begun(told)
    made.data(body)
    made.end()

    assert reason(made.verdict) is why
    assert made.take() == b""


@pytest.mark.parametrize("coding", [b"identity", b"", b"snappy"])
def test_a_packed_message_of_no_coding_that_we_undo_is_denied(told: Told, coding: bytes):
    made = begun(told, (b"grpc-encoding", coding))

    assert reason(made.data(message(b"x", packed=True))) is Reason.UNSCANNABLE


def test_packed_messages_are_looked_into_each_under_a_budget_of_its_own(told: Told):
    made, clean = begun(told, (b"grpc-encoding", b"gzip")), message(gzip.compress(bytes(100_000)), packed=True)

    for _ in range(50):
        assert isinstance(made.data(clean), Permit)
        assert made.take() == clean
    assert not made._content._scan._bodies  # nothing piles up over the days that a stream may last
    assert reason(made.data(message(gzip.compress(KEY), packed=True))) is Reason.SENSITIVE_DATA


def test_the_messages_before_a_secret_have_gone_and_no_byte_of_it(told: Told):
    made = begun(told)
    made.data(message(b"one") + message(KEY))

    assert made.take() == b""
    assert reason(made.verdict) is Reason.SENSITIVE_DATA
