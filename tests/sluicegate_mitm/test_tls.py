from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from sluicegate.facts import Hello, Wire
from sluicegate.names import HostName
from sluicegate_mitm import handler as handlers
from sluicegate_mitm.tls import TlsHooks, choose_alpn

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def hello(reader: Any, writer: Any):
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()


def get(port: int, host: str = "origin.test", more: str = "Connection: close\r\n") -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n{more}\r\n".encode()


async def opened(bed: Any, port: int, name: str = "origin.test", alpn: tuple[str, ...] = ()):
    return await asyncio.open_connection("127.0.0.1", port, ssl=bed.client_context(alpn), server_hostname=name)


async def rest(reader: Any, writer: Any, within: float = 3) -> bytes:
    """All until the end; a reset is one."""
    out = b""
    try:
        async with asyncio.timeout(within):
            while data := await reader.read(65536):
                out += data
    except (ConnectionError, ssl.SSLError):
        out += b"<reset>"
    writer.transport.abort()
    return out


async def test_https_goes_through_with_a_leaf_for_the_name_alone(bed: Any):
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        shown = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(get(origin.port))
        answer = await rest(reader, writer)
        await bed.settle()
    assert answer.endswith(b"\r\n\r\nhello")  # and no reset: the end is a close_notify
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["origin.test"]
    record = bed.record()
    assert (record["verdict"], record["sni"], record["protocol"]) == ("allow", "origin.test", "https")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        pytest.param([b"h2", b"http/1.1"], b"http/1.1", id="both: http/1.1"),
        pytest.param([b"h2"], b"h2", id="h2 alone"),
        pytest.param([b"grpc-exp", b"h2"], b"h2", id="gRPC"),
        pytest.param([b"http/1.1"], b"http/1.1", id="http/1.1 alone"),
        pytest.param([b"ssh"], None, id="neither"),
        pytest.param([], None, id="none"),
    ],
)
def test_alpn_is_http_1_1_wherever_it_is_taken(offered: Any, chosen: Any):
    assert choose_alpn(offered) == chosen


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 6, 60])
async def test_a_hello_in_two_pieces_is_inspected(bed: Any, cut: int):
    """Stock mitmproxy relays the connection as raw TCP when its first segment has one or two bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = bed.client_context().wrap_bio(incoming, outgoing, server_hostname="origin.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    first = outgoing.read()
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first[:cut])
        await writer.drain()
        await asyncio.sleep(0.02)  # a segment of its own; nothing depends on how long
        writer.write(first[cut:])
        while True:
            incoming.write(await reader.read(65536))
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
        assert origin.connections == 0
        assert x509.load_der_x509_certificate(client.getpeercert(binary_form=True)).issuer.rfc4514_string() != ""
        writer.transport.abort()
        await bed.settle()


@pytest.mark.parametrize(
    ("pieces", "seen"),
    [
        pytest.param([b"\x00\x01secret"], b"<reset>", id="binary"),
        pytest.param([b"\x16", b"\x03\x01\x00\xff\x01\x00"], b"<reset>", id="TLS in TLS, byte by byte"),
        pytest.param([b"SSH-2.0-x\r\n"], b"<reset>", id="SSH"),
        pytest.param([b"G", b"\x00"], b"<reset>", id="a letter, then binary"),
    ],
)
async def test_what_is_not_http_inside_tls_is_reset(bed: Any, pieces: Any, seen: Any):
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert await rest(reader, writer) == seen
        await bed.settle()
    assert origin.connections == 0
    assert bed.record()["reason"] == "not-http"


async def test_silence_inside_tls_ends(bed: Any):
    bed.gate.limits = replace(bed.gate.limits, hello_timeout_s=0.2)
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        assert await rest(reader, writer) == b"<reset>"
        await bed.settle()
    assert origin.connections == 0
    assert bed.record()["reason"] == "hello-timeout"


async def test_an_idle_connection_ends(bed: Any):
    bed.gate.limits = replace(bed.gate.limits, idle_timeout_s=0.2)
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        writer.write(get(origin.port, more=""))
        assert (await rest(reader, writer)).endswith(b"hello")
        await bed.settle()
    assert bed.record()["verdict"] == "allow"


async def test_an_origin_that_never_answers_ends_in_a_timeout(bed: Any):
    async def silent(reader: Any, _writer: Any):
        await reader.read()

    bed.gate.limits = replace(bed.gate.limits, idle_timeout_s=0.3)
    async with bed.origin(silent, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        writer.write(get(origin.port))
        assert await rest(reader, writer) == b"<reset>"
        await bed.settle()
    assert bed.record()["reason"] == "timeout"


async def test_another_host_than_the_sni_is_421(bed: Any):
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        writer.write(get(origin.port, more="") + get(origin.port, "other.test"))
        answer = await rest(reader, writer)
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 421 " in answer
    assert b"other.test" not in origin.received
    assert [record["reason"] for record in bed.records(2)] == ["rule", "names-disagree"]


async def test_a_client_that_does_not_trust_us_is_recorded(bed: Any):
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        at = f"origin.test:{port}"
        curl = await asyncio.create_subprocess_exec("curl", "-s", "--resolve", f"{at}:127.0.0.1", f"https://{at}/")
        assert await curl.wait() == 60  # curl: the peer's certificate cannot be authenticated
        await bed.settle()
    record = bed.record()
    assert (record["reason"], record["detail"]) == ("client-tls", "the client does not trust the gateway's CA")
    assert origin.connections == 0


async def test_an_origin_with_another_name_is_not_believed(bed: Any):
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port, "other.test")
        writer.write(get(origin.port, "other.test"))
        answer = await rest(reader, writer)
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"GET" not in origin.received
    record = bed.record()
    assert record["reason"] == "upstream-tls"
    assert "another name than other.test" in record["detail"]


@pytest.mark.parametrize("says", [b"220 smtp ready\r\n", b""], ids=["another protocol", "nothing"])
async def test_an_origin_without_tls_is_not_believed(bed: Any, monkeypatch: pytest.MonkeyPatch, says: bytes):
    async def talk(reader: Any, writer: Any):
        await reader.read(1)
        writer.write(says)
        await reader.read()

    monkeypatch.setattr(handlers, "HANDSHAKE_S", 0.3)
    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        writer.write(get(origin.port))
        answer = await rest(reader, writer)
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert bed.record()["reason"] == "upstream-tls"


async def test_tls_1_1_is_not_taken(bed: Any):
    context = bed.client_context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):  # noqa: PT031 - the very same for both
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        with pytest.raises(ssl.SSLError, match="protocol version"):
            await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="origin.test")
        await bed.settle()
    record = bed.record()
    assert (record["reason"], record["detail"]) == ("client-tls", "the client offers no version of TLS from 1.2 on")


async def test_a_hello_that_is_not_the_one_decided_on_ends_the_connection(bed: Any):
    bed.may_crash = True
    other = Hello(Wire.TLS, sni=HostName.parse("other.test"))
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port, hello=other) as port:
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await opened(bed, port)
        await bed.settle()
    assert origin.connections == 0
    assert bed.record()["reason"] == "crash"


async def test_an_answer_that_ends_without_close_notify_is_seen_to_break_off(bed: Any):
    async def cut(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end?")
        await writer.drain()
        writer.get_extra_info("socket").shutdown(2)

    async with bed.origin(cut, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await opened(bed, port)
        writer.write(get(origin.port))
        assert (await rest(reader, writer)).endswith(b"<reset>")
        await bed.settle()
    assert bed.record()["reason"] == "upstream-broke"


# -- every hook fails once ---------------------------------------------------------------------------------------

HOOKS = ["tls_clienthello", "tls_start_client", "tls_established_client", "tls_start_server", "tls_established_server"]


async def attempt(bed: Any, port: int, origin_port: int) -> bytes:
    try:
        reader, writer = await opened(bed, port)
    except (ConnectionError, ssl.SSLError):
        return b"<reset>"
    writer.write(get(origin_port))
    return await rest(reader, writer, within=1)


@pytest.mark.parametrize("how", ["raises", "hangs"])
@pytest.mark.parametrize("name", HOOKS)
async def test_a_hook_that_fails_ends_the_connection(bed: Any, monkeypatch: pytest.MonkeyPatch, name: str, how: str):
    bed.may_crash = True

    async def fails(_self: Any, _data: Any):
        if how == "hangs":
            await asyncio.Event().wait()
        raise RuntimeError(bed.secret)

    monkeypatch.setattr(TlsHooks, name, fails)
    monkeypatch.setattr(handlers, "HOOK_S", 0.2)
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        async with asyncio.timeout(1):
            assert await attempt(bed, port, origin.port) == b"<reset>"
        await bed.settle()
    assert b"GET" not in origin.received
    assert bed.record()["reason"] == "crash"


@pytest.mark.parametrize("name", ["tls_failed_client", "tls_failed_server"])
async def test_a_hook_for_a_failure_that_fails_ends_the_connection(
    bed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
):
    bed.may_crash = True

    def fails(_self: Any, _data: Any):
        raise RuntimeError(bed.secret)

    monkeypatch.setattr(TlsHooks, name, fails)
    async with bed.origin(hello, tls=True) as origin, bed.door(origin.port) as port:
        if name == "tls_failed_client":
            with pytest.raises(ssl.SSLError):
                await asyncio.open_connection(
                    "127.0.0.1", port, ssl=ssl.create_default_context(), server_hostname="origin.test"
                )
        else:
            reader, writer = await opened(bed, port, "other.test")
            writer.write(get(origin.port, "other.test"))
            assert await rest(reader, writer) == b"<reset>"
        await bed.settle()
    assert bed.record()["reason"] == "crash"
    assert bed.secret not in "".join(capsys.readouterr())
