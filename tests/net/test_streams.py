"""gRPC and WebSocket, with the clients and servers that people use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from net.bed import ORIGIN_V4, POLICY, Bed, Gateway, end

pytestmark = pytest.mark.net

STREAMS = POLICY.replace(
    "  rules:\n", "  rules:\n    - {name: streams, to: {domains: [grpc.test, ws.test], ports: [50051, 8765]}}\n", 1
)
SECRET = "AKIA" + "Z7VR5SNQ2LKX4WTD"


@pytest.fixture(scope="module")
def origin(bed: Bed) -> Iterator[subprocess.Popen[bytes]]:
    server = bed.origin.start(
        sys.executable, "-P", str(Path(__file__).with_name("streams_server.py")), ORIGIN_V4,
        f"{bed.folder}/origin.pem", f"{bed.folder}/origin.key", stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    yield server
    end(server)
    server.stdout.close()


@pytest.fixture(scope="module")
def gateway(bed: Bed, origin: subprocess.Popen[bytes]) -> Iterator[Gateway]:
    bed.nft("redirect.nft")
    with bed.gateway(policy=STREAMS) as gateway:
        yield gateway
    bed.flush()


def say(bed: Bed, kind: str, *messages: str) -> list[str]:
    client = str(Path(__file__).with_name("streams_client.py"))
    done = bed.pod.exec(sys.executable, "-P", client, kind, f"{bed.folder}/ca.pem", *messages)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_grpc_streams_both_ways_without_waiting_for_the_end(bed: Bed, gateway: Gateway) -> None:
    assert say(bed, "grpc", "one", "two", "three") == ["echo one", "echo two", "echo three", "ended 0 OK"]
    record = gateway.record(host="grpc.test", path="/test.Echo/Chat")
    assert (record["verdict"], record["coverage"]["request"]) == ("allow", "full")


def test_grpc_calls_in_a_row_use_one_connection_and_leave_a_record_each(bed: Bed, gateway: Gateway) -> None:
    before = len(gateway.records())
    assert say(bed, "unary", "one", "two", "three") == ["echo one", "echo two", "echo three"]
    gateway.record(path="/test.Echo/Say")
    assert len(gateway.records()) == before + 3


def test_a_grpc_message_with_a_secret_ends_the_call_and_does_not_arrive(
    bed: Bed, gateway: Gateway, origin: subprocess.Popen[bytes]
) -> None:
    answers = say(bed, "grpc", "hello", f"the key is {SECRET}")
    assert answers[0] == "echo hello"
    assert answers[1].split()[0] in {"PERMISSION_DENIED", "CANCELLED", "UNAVAILABLE", "INTERNAL", "UNKNOWN"}
    record = gateway.record(path="/test.Echo/Chat", reason="sensitive-data")
    assert record["findings"][0]["location"].startswith("grpc")
    assert SECRET not in gateway.records_file.read_text()


def test_a_unary_grpc_call_with_a_secret_is_told_why(bed: Bed, gateway: Gateway) -> None:
    (answer,) = say(bed, "unary", f"the key is {SECRET}")
    assert answer.startswith("PERMISSION_DENIED")


def test_websocket_messages_pass_both_ways(bed: Bed, gateway: Gateway) -> None:
    assert say(bed, "ws", "one", "two", "x" * 100_000) == ["one", "two", "100000"]
    record = gateway.record(host="ws.test", path="/feed")
    assert (record["verdict"], record["status"]) == ("allow", 101)
    assert record["bytes"]["up"] == record["bytes"]["down"] == 100_006


def test_a_websocket_message_with_a_secret_closes_the_connection(bed: Bed, gateway: Gateway) -> None:
    assert say(bed, "ws", "hello", f"the key is {SECRET}") == ["hello", "closed 1008"]
    record = gateway.record(host="ws.test", reason="sensitive-data")
    assert record["findings"][0]["location"].startswith("ws")
