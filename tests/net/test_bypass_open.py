"""What once stayed open or went on without end: resets, origins that end TLS late, and urgent bytes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hyperframe.frame import RstStreamFrame

from net.attacker import Attacker
from net.frames import Frames

pytestmark = pytest.mark.net
GET = b"GET /x HTTP/1.1\r\nHost: good.test\r\n\r\n"


def test_streams_that_are_opened_and_reset_without_end(attacker: Attacker) -> None:
    client = Frames(attacker)
    for stream in range(1, 4001, 2):
        client.send(client.head(stream, client.block()), RstStreamFrame(stream, error_code=8))
        if client.line.end != "open":
            break
    client.wait_for_the_end()
    assert client.gone == 11 or client.line.end in {"closed", "reset"}, "ENHANCE_YOUR_CALM"
    assert len(attacker.origin.seen) < 300
    assert attacker.ask(GET)[1].status == 200, "others are served"


def test_an_origin_that_wants_a_client_certificate_is_answered_for(attacker: Attacker) -> None:
    """TLS 1.3: the origin's alert comes after our handshake is complete."""
    line, answer = attacker.ask(GET.replace(b"good.test", b"mtls.test"), sni="mtls.test")
    assert answer.status == 502
    # The origin resets the connection right after its alert, and a reset may overtake it: then all that is known is that.
    assert attacker.reason(line) in {"upstream-tls", "upstream-broke"}
    assert attacker.origin.data == b""


def test_an_urgent_byte_does_not_make_a_splice_spin(attacker: Attacker) -> None:
    """splice(2) stops at the urgent mark with EAGAIN, and the socket stays readable."""

    def busy() -> float:
        assert attacker.gateway.process is not None
        fields = Path(f"/proc/{attacker.gateway.process.pid}/stat").read_text().split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    line = attacker.unshaken("sealed.test")
    line.raw(line.hello())
    assert line.read(bool, 5) is not None
    line.raw(b"abc")
    line.urgent(b"!")
    line.raw(b"def")
    before = busy()
    time.sleep(1.0)
    assert busy() - before < 0.2
