"""The bed's DNS server: python dns_server.py ADDRESS LOG. Writes each question it was asked as a line `TYPE name.`"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

ORIGIN = {"A": ["203.0.113.10"], "AAAA": ["2001:db8:9::10"]}
ZONE: dict[str, dict[str, list[str]]] = {
    "private.test.": {"A": ["10.9.9.9"]},
    "meta.test.": {"A": ["169.254.169.254"], "AAAA": ["fd00:ec2::254"]},
    "mixed.test.": {"A": ["127.0.0.1", "203.0.113.10", "169.254.169.254"]},
    "v4.test.": {"A": ["203.0.113.10"]},
    "v6.test.": {"AAAA": ["2001:db8:9::10"]},
    "to-listed.test.": {"A": ["203.0.113.66"], "AAAA": ["2001:db8:9::66"]},
    "cname.test.": {"CNAME": ["paste.test."]},
    "cloaked.test.": {"CNAME": ["paste.test."]},
    "evil.test.": {"A": ["203.0.113.78"]},
    "metadata.google.internal.": {"A": ["203.0.113.78"]},
}
_RAW = {"A": ["203.0.113.77"]}
ZONE |= {f"{name}.test.": _RAW for name in (
    "good", "other", "narrow", "sealed", "veiled", "under_score", "self-signed", "expired", "wrong-host", "strange-ca",
    "mtls", "old",
)}  # fmt: skip
REBINDS = ".rebind.test."
_rebound: set[str] = set()


def rebinding(name: str, kind: str) -> dict[str, list[str]]:
    """The first time the public address, from then on a private one."""
    if kind != "A":
        return {}
    first = name not in _rebound
    _rebound.add(name)
    return _RAW if first else {"A": ["10.9.9.9"]}


def answer(query: dns.message.Message, log: Path) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | dns.flags.RA
    question = query.question[0]
    kind, name = dns.rdatatype.to_text(question.rdtype), question.name.to_text()
    with log.open("a") as file:
        file.write(f"{kind} {name}\n")
    rows = ZONE.get(name, ORIGIN if name.endswith(".test.") else {})
    if name.endswith(REBINDS):
        rows = rebinding(name, kind)
    for alias in rows.get("CNAME", ()):
        response.answer.append(dns.rrset.from_text(question.name, 1, "IN", "CNAME", alias))
        response.answer.append(dns.rrset.from_text(alias, 1, "IN", kind, *ORIGIN[kind]))
        return response
    if kind in rows:
        response.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, *rows[kind]))
    return response


def main() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((sys.argv[1], 53))
    log = Path(sys.argv[2])
    log.touch()
    while True:
        raw, peer = sock.recvfrom(4096)
        sock.sendto(answer(dns.message.from_wire(raw), log).to_wire(), peer)


if __name__ == "__main__":
    main()
