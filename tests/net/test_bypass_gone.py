"""The gateway is killed in the middle of its work: from then on nothing passes, whatever was open and permitted."""

from __future__ import annotations

import signal
import socket

import pytest

from net.attacker import GOOD_V4, POLICY, SETTINGS, Attacker, inside
from net.bed import POD_V4, POD_V6, Bed, queries, syns
from net.raw_origin import RawOrigin

pytestmark = pytest.mark.net

GET = b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n"
OPEN = """
---
apiVersion: sluicegate.dev/v1alpha1
kind: EgressPolicy
metadata: {name: everything, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules: [{name: all, to: {ports: [80, 443]}}]
"""


@pytest.mark.parametrize("rules", ["redirect", "tproxy"])
def test_after_a_kill_nothing_passes(bed: Bed, raw_origin: RawOrigin, rules: str) -> None:
    if rules == "tproxy":
        bed.tproxy_routes()
    bed.nft(f"{rules}.nft")
    with bed.gateway(policy=POLICY + OPEN, extra=SETTINGS, tproxy=rules == "tproxy") as gateway:
        attacker = Attacker(bed, gateway, raw_origin)
        raw_origin.forget()
        kept, spliced = attacker.tcp(), attacker.unshaken("sealed.test")
        kept.send(GET % b"good.test")
        assert kept.answers()[0].status == 200
        spliced.raw(spliced.hello())
        spliced.sock.settimeout(5)
        assert spliced.sock.recv(1)
        assert gateway.process is not None
        before = raw_origin.data
        with bed.capture("tcp or udp or icmp") as seen:
            gateway.process.send_signal(signal.SIGKILL)
            gateway.process.wait()
            kept.send(GET % b"good.test")
            spliced.raw(b"more")
            for address, port in ((GOOD_V4, 80), (GOOD_V4, 443), (GOOD_V4, 22), ("2001:db8:9::10", 443)):
                with pytest.raises(OSError):
                    inside(bed.pod.name, lambda to=(address, port): socket.create_connection(to, 1))
        assert raw_origin.data == before
        assert not [line for line in seen if POD_V4 in line or POD_V6 in line]
        assert syns(seen) == []
        assert queries(seen) == []
        attacker.close()
    bed.flush()
    if rules == "tproxy":
        bed.tproxy_routes_off()
